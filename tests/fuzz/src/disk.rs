//! A disk in memory whose bytes a target can read and change without the store.

use std::{collections::BTreeMap, io, sync::Arc};

use kv_core::engine::disk::{Directory, DiskFile, memory};

/// The longest file, in bytes: a damaged length must not exhaust the fuzzer's memory.
const MOST_BYTES: u64 = 64 << 20;

/// The bytes of each file of a directory, by its name.
pub type Image = BTreeMap<String, Vec<u8>>;

/// A directory with files of a bounded length. Clones share it.
#[derive(Clone, Debug)]
pub struct Disk(Arc<dyn Directory>);

impl Default for Disk {
    fn default() -> Disk {
        Disk(memory())
    }
}

impl Disk {
    /// A disk with these files.
    ///
    /// # Panics
    /// Never: memory does not fail.
    pub fn holding(image: Image) -> Disk {
        let disk = Disk::default();
        for (name, bytes) in image {
            let written = disk.0.create(&name).and_then(|file| file.write_at(0, &bytes));
            written.expect("memory does not fail");
        }
        disk
    }

    /// The directory for a store.
    pub fn open(&self) -> Arc<dyn Directory> {
        Arc::new(self.clone())
    }

    /// A copy of its current bytes: the state after a crash.
    ///
    /// # Panics
    /// Never: memory does not fail.
    pub fn image(&self) -> Image {
        let names = self.0.list().expect("memory does not fail");
        names.into_iter().map(|name| (name.clone(), self.bytes(&name))).collect()
    }

    /// The bytes of a file.
    fn bytes(&self, name: &str) -> Vec<u8> {
        let file = self.0.open(name).expect("it is listed");
        let size = file.size().expect("memory does not fail");
        let mut bytes = vec![0; usize::try_from(size).expect("it is in memory")];
        file.read_at(0, &mut bytes).expect("memory does not fail");
        bytes
    }
}

impl Directory for Disk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(Bounded(self.0.open(name)?)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(Bounded(self.0.create(name)?)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

/// A file of at most [`MOST_BYTES`].
#[derive(Debug)]
struct Bounded(Arc<dyn DiskFile>);

fn check(end: Option<u64>) -> io::Result<()> {
    match end {
        Some(end) if end <= MOST_BYTES => Ok(()),
        _ => Err(io::ErrorKind::StorageFull.into()),
    }
}

impl DiskFile for Bounded {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        check(offset.checked_add(data.len() as u64))?;
        self.0.write_at(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        check(Some(len))?;
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn forget_cached(&self) {
        self.0.forget_cached();
    }
}
