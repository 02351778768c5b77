//! The names in a directory: those that a process sees, those that are durable, and the pending changes between
//! both.

use std::collections::{BTreeMap, BTreeSet};

use super::media::Keep;
use crate::rng::Rng;

/// A file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(pub(super) u64);

/// A creation or removal that no sync of the directory has covered yet.
#[derive(Clone, Debug)]
struct Change {
    name: String,
    /// The file that has the name from then on.
    file: Option<FileId>,
}

/// The names in a directory with a cache.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// What processes see.
    seen: BTreeMap<String, FileId>,
    /// What is durable.
    durable: BTreeMap<String, FileId>,
    /// The changes between both, in order. After a failed sync the difference can be greater than these.
    pending: Vec<Change>,
}

impl Names {
    pub(super) fn find(&self, name: &str) -> Option<FileId> {
        self.seen.get(name).copied()
    }

    pub(super) fn seen(&self) -> &BTreeMap<String, FileId> {
        &self.seen
    }

    pub(super) fn durable(&self) -> &BTreeMap<String, FileId> {
        &self.durable
    }

    /// Gives a name to a file, or to none.
    pub(super) fn set(&mut self, name: &str, file: Option<FileId>) {
        let change = Change { name: name.to_owned(), file };
        apply(&mut self.seen, &change);
        self.pending.push(change);
    }

    /// Makes all pending changes durable.
    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            apply(&mut self.durable, &change);
        }
    }

    /// Makes some pending changes durable. The others are lost but still visible. Returns how many were lost.
    /// Changes of different names survive without each other; those of one name do in their order.
    pub(super) fn lose(&mut self, keep: Keep, rng: &mut Rng) -> usize {
        if self.pending.is_empty() {
            return 0;
        }
        let keep = keep.for_one(rng);
        let pending = std::mem::take(&mut self.pending);
        let cut = match keep {
            Keep::Prefix => rng.index(pending.len() + 1),
            _ => pending.len(),
        };
        let mut lost = BTreeSet::new();
        let mut count = 0;
        for (i, change) in pending.iter().enumerate() {
            let is_kept = match keep {
                Keep::Nothing => false,
                Keep::All | Keep::Prefix | Keep::Mixed => i < cut,
                Keep::Writes(percent) | Keep::Sectors(percent) => rng.chance(percent),
            };
            if is_kept && !lost.contains(&change.name) {
                apply(&mut self.durable, change);
            } else {
                lost.insert(&change.name);
                count += 1;
            }
        }
        count
    }

    /// Drops everything from the cache that is not on the disk, except pending changes.
    pub(super) fn evict(&mut self) {
        self.seen.clone_from(&self.durable);
        for change in &self.pending {
            apply(&mut self.seen, change);
        }
    }

    /// Whether the file has a name, had one that may come back, or may still get one.
    pub(super) fn may_have_name(&self, file: FileId) -> bool {
        let names = [&self.seen, &self.durable].into_iter().flat_map(BTreeMap::values);
        let pending = self.pending.iter().filter_map(|change| change.file.as_ref());
        names.chain(pending).any(|named| *named == file)
    }
}

fn apply(names: &mut BTreeMap<String, FileId>, change: &Change) {
    match change.file {
        Some(file) => names.insert(change.name.clone(), file),
        None => names.remove(&change.name),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with one durable file, of which a process removes that one and creates another twice.
    fn changed() -> Names {
        let mut names = Names::default();
        names.set("old", Some(FileId(0)));
        names.sync();
        names.set("old", None);
        names.set("new", Some(FileId(1)));
        names.set("new", None);
        names.set("new", Some(FileId(2)));
        names
    }

    #[test]
    fn creations_and_removals_that_were_not_synced_are_undone() {
        let mut names = changed();
        assert_eq!((names.find("old"), names.find("new")), (None, Some(FileId(2))));
        assert_eq!(names.lose(Keep::Nothing, &mut Rng::new(1)), 4);
        assert_eq!(names.find("new"), Some(FileId(2)), "it is visible until it is evicted");
        names.evict();
        assert_eq!((names.find("old"), names.find("new")), (Some(FileId(0)), None));
        assert!(!names.may_have_name(FileId(2)));
    }

    #[test]
    fn names_survive_without_each_other_and_each_has_one_of_its_states() {
        let mut found = BTreeSet::new();
        for seed in 0..200 {
            let mut names = changed();
            names.lose(Keep::Writes(50), &mut Rng::new(seed));
            names.evict();
            found.insert((names.find("old").is_some(), names.find("new")));
        }
        let states = [None, Some(FileId(1)), Some(FileId(2))];
        let all = [false, true].into_iter().flat_map(|old| states.map(|new| (old, new)));
        assert_eq!(found, all.collect());
    }

    #[test]
    fn a_sync_keeps_all() {
        let mut names = changed();
        names.sync();
        assert_eq!(names.lose(Keep::Nothing, &mut Rng::new(1)), 0);
        names.evict();
        assert_eq!((names.find("old"), names.find("new")), (None, Some(FileId(2))));
    }
}
