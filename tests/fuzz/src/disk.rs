//! A disk in memory whose bytes a target can read and change without the store.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kv_core::engine::disk::{OpenDisk, StorageBackend};

/// The bytes of one file. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Vec<u8>>>);

impl Disk {
    /// A disk with these bytes.
    pub fn holding(bytes: Vec<u8>) -> Disk {
        Disk(Arc::new(Mutex::new(bytes)))
    }

    /// Opens it for a store.
    pub fn open(&self) -> OpenDisk {
        let disk = self.clone();
        Box::new(move || Ok(Arc::new(disk.clone())))
    }

    /// A copy of its current bytes: the state after a crash.
    pub fn image(&self) -> Vec<u8> {
        self.bytes().clone()
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn range(offset: u64, len: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    let end = start.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(start..end)
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes();
        let stored = bytes.get(range(offset, out.len())?);
        out.copy_from_slice(stored.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    /// Full at 64 MiB: a damaged length must not exhaust the fuzzer's memory.
    fn set_len(&self, len: u64) -> io::Result<()> {
        match usize::try_from(len) {
            Ok(len) if len <= 64 << 20 => self.bytes().resize(len, 0),
            _ => return Err(io::ErrorKind::StorageFull.into()),
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let range = range(offset, data.len())?;
        if range.end > self.bytes().len() {
            self.set_len(range.end as u64)?;
        }
        self.bytes()[range].copy_from_slice(data);
        Ok(())
    }
}
