//! The gate before an engine's disk: it remembers what failed, and can be shut.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::disk::StorageBackend;

/// What the disk last refused.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    Sync(String),
    Full,
    Other(String),
}

/// Stands before the disk: remembers its first failure (or its failed sync), and can be shut for good, so that nothing
/// of an engine that was given up touches the file again.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) disk: Arc<dyn StorageBackend>,
    shut: AtomicBool,
    failure: Mutex<Option<Failure>>,
}

impl Gate {
    pub(super) fn new(disk: Arc<dyn StorageBackend>) -> Arc<Gate> {
        Arc::new(Gate { disk, shut: AtomicBool::new(false), failure: Mutex::new(None) })
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note<T>(&self, is_sync: bool, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.is_shut() {
            return Err(io::Error::other("this engine was given up after a failure of the disk"));
        }
        call().inspect_err(|error| {
            let failure = match error.kind() {
                _ if is_sync => Failure::Sync(error.to_string()),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::Full,
                _ => Failure::Other(error.to_string()),
            };
            let mut first = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            // The first failure says what became of the file, but none is worse than a failed sync.
            if is_sync || first.is_none() {
                *first = Some(failure);
            }
        })
    }

    /// Lets nothing more through to the disk.
    pub(super) fn shut(&self) {
        self.shut.store(true, Ordering::Release);
    }

    /// Whether the engine behind this gate was given up.
    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }
}

#[derive(Debug)]
pub(super) struct Gated(pub(super) Arc<Gate>);

impl StorageBackend for Gated {
    fn len(&self) -> io::Result<u64> {
        self.0.note(false, || self.0.disk.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.note(false, || self.0.disk.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.note(false, || self.0.disk.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.note(true, || self.0.disk.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.note(false, || self.0.disk.write(offset, data))
    }
}
