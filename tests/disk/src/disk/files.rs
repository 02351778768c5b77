//! The files of a disk and their names.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    media::{Keep, Loss, Media, SECTOR_BYTES},
    names::{FileId, Names},
};
use crate::rng::Rng;

/// The bytes of each file of a directory, by its name.
pub type Image = BTreeMap<String, Vec<u8>>;

/// A directory and its files, each with a cache.
#[derive(Debug, Default)]
pub(super) struct Files {
    names: Names,
    /// All files with names, and those that lost theirs since the last crash: a process may have them open.
    media: BTreeMap<FileId, Media>,
    /// The number of files that were created.
    created: u64,
    /// The files that a process has opened since the last crash.
    opened: BTreeSet<FileId>,
}

impl Files {
    pub(super) fn from_durable(image: Image) -> Files {
        let mut files = Files::default();
        for (name, bytes) in image {
            let id = files.create(&name);
            files.media.insert(id, Media::from_durable(bytes));
        }
        files.names.sync();
        files.opened.clear();
        files
    }

    /// The bytes and names that survive a power failure now, if nothing that is pending survives.
    pub(super) fn durable(&self) -> Image {
        let names = self.names.durable().iter();
        names.map(|(name, id)| (name.clone(), self.media[id].durable().to_vec())).collect()
    }

    /// The file of this name.
    pub(super) fn find(&self, name: &str) -> Option<FileId> {
        self.names.find(name)
    }

    /// Opens the file of this name. Returns it, and whether it was not open since the last crash.
    pub(super) fn open(&mut self, name: &str) -> Option<(FileId, bool)> {
        let id = self.names.find(name)?;
        Some((id, self.opened.insert(id)))
    }

    /// Creates a file in place of any that has the name.
    pub(super) fn create(&mut self, name: &str) -> FileId {
        let id = FileId(self.created);
        self.created += 1;
        self.media.insert(id, Media::default());
        self.names.set(name, Some(id));
        self.opened.insert(id);
        id
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.names.set(name, None);
    }

    pub(super) fn list(&self) -> Vec<String> {
        self.names.seen().keys().cloned().collect()
    }

    pub(super) fn media(&self, id: FileId) -> &Media {
        &self.media[&id]
    }

    pub(super) fn media_mut(&mut self, id: FileId) -> &mut Media {
        self.media.get_mut(&id).expect("a file stays until no handle is valid")
    }

    pub(super) fn sync_names(&mut self) {
        self.names.sync();
    }

    /// A failed sync of a file.
    pub(super) fn lose(&mut self, id: FileId, keep: Keep, evict: bool, rng: &mut Rng) -> Loss {
        let media = self.media_mut(id);
        let loss = media.lose(keep, rng);
        if evict {
            media.evict();
        }
        loss
    }

    /// A failed sync of the directory.
    pub(super) fn lose_names(&mut self, keep: Keep, evict: bool, rng: &mut Rng) -> Loss {
        let names = self.names.lose(keep, rng);
        if evict {
            self.names.evict();
        }
        Loss { names, ..Loss::default() }
    }

    /// A power failure: of the names and of each file some pending changes survive.
    pub(super) fn lose_power(&mut self, keep: Keep, rng: &mut Rng) -> Loss {
        let mut loss = self.lose_names(keep, true, rng);
        for media in self.media.values_mut() {
            loss += media.lose(keep, rng);
            media.evict();
        }
        loss
    }

    /// All handles are invalid: the files without names are gone.
    pub(super) fn end_process(&mut self) {
        // No process can make the system forget a name that it shows.
        self.names.evict();
        self.opened.clear();
        self.media.retain(|id, _| self.names.may_have_name(*id));
    }

    /// Flips a bit in a sector with data, on the disk and in the cache. Returns its file and offset.
    pub(super) fn flip(&mut self, rng: &mut Rng) -> Option<(String, usize)> {
        let mut used = Vec::new();
        for (name, id) in self.names.seen() {
            used.extend(
                self.media[id].used_sectors().into_iter().map(|sector| (name, *id, sector)),
            );
        }
        let (name, id, sector) = used.get(rng.index(used.len()))?;
        let (name, id, at) =
            (String::clone(name), *id, sector * SECTOR_BYTES + rng.index(SECTOR_BYTES));
        self.media_mut(id).flip(at, u8::try_from(rng.below(8)).expect("below 8"));
        Some((name, at))
    }
}
