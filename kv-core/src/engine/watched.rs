//! A wrapper of an engine's file that remembers the first failure of its disk.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::storage::DiskFile;

/// How the disk failed.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// A sync failed: the state of the disk is not known.
    Sync(String),
    /// There is no room.
    Full,
    /// Another call failed.
    Other(String),
}

/// Remembers the first failure of a disk, or its failed sync. It can be shut for good, so that a
/// database that was given up never touches the file again.
#[derive(Debug)]
pub(super) struct FirstFailure {
    /// The disk that is watched.
    pub(super) disk: Arc<dyn DiskFile>,
    /// Whether all further calls are refused.
    shut: AtomicBool,
    /// The first failure, or a failed sync, which replaces any other.
    failure: Mutex<Option<Failure>>,
}

impl FirstFailure {
    /// Watches a disk that has not failed yet.
    pub(super) fn new(disk: Arc<dyn DiskFile>) -> Arc<FirstFailure> {
        Arc::new(FirstFailure { disk, shut: AtomicBool::new(false), failure: Mutex::new(None) })
    }

    /// Returns the first failure of the disk, if there was one.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a call, and remembers its failure if it is the first or that of a sync.
    fn note<T>(&self, is_sync: bool, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.is_shut() {
            return Err(io::Error::other("this database was closed after a disk failure"));
        }
        call().inspect_err(|error| {
            let failure = match error.kind() {
                _ if is_sync => Failure::Sync(error.to_string()),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::Full,
                _ => Failure::Other(error.to_string()),
            };
            let mut first = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            // The first failure decides what happens to the file, but a failed sync is worse than any.
            if is_sync || first.is_none() {
                *first = Some(failure);
            }
        })
    }

    /// Rejects all further access to the disk.
    pub(super) fn shut(&self) {
        self.shut.store(true, Ordering::Release);
    }

    /// Whether the database over this disk was given up.
    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }
}

impl DiskFile for FirstFailure {
    fn size(&self) -> io::Result<u64> {
        self.note(false, || self.disk.size())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.note(false, || self.disk.read_at(offset, out))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.note(false, || self.disk.write_at(offset, data))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.note(false, || self.disk.set_len(len))
    }

    fn sync(&self) -> io::Result<()> {
        self.note(true, || self.disk.sync())
    }

    fn forget_cached(&self) {
        self.disk.forget_cached();
    }
}
