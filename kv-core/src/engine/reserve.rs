//! The reserve: room that a disk keeps for a store that has filled it.
//!
//! An engine writes new pages even for a delete. On a full disk it could therefore never make room again. So a file takes a
//! part of the disk while there is room. Where a write of the engine finds none, the file is cut, a step at a time, and
//! the write is repeated: the engine does not fail, and its file need not be reopened. The engine writes no values
//! until there is room again, so that what is left of the reserve serves what makes room.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::storage::{Directory, DiskFile, RESERVE};

/// The largest reserve, in bytes: enough for the pages of a few commits of some thousand rows each.
const MAX_BYTES: u64 = 64 << 20;

/// The reserve takes at most this part of its disk.
const SHARE: u64 = 16;

/// The reserve is cut in at most this many steps.
const CUTS: u64 = 256;

/// The reserve is made in this many steps.
const STEPS: u64 = 16;

/// Room on a disk that only a full disk uses.
#[derive(Debug)]
pub(super) struct Reserve {
    /// Has the file.
    directory: Arc<dyn Directory>,
    /// The size of a whole reserve, in bytes; 0 if the disk is never full.
    full: u64,
    /// How much is left, in bytes.
    left: AtomicU64,
    /// The file, once it is open. Its lock is held while its size changes.
    file: Mutex<Option<Arc<dyn DiskFile>>>,
}

impl Reserve {
    /// Opens the reserve of a directory as the last process has left it, and does not extend it.
    pub(super) fn open(directory: &Arc<dyn Directory>) -> Arc<Reserve> {
        let full = directory.capacity().map_or(0, size_of_reserve);
        let reserve = Reserve {
            directory: Arc::clone(directory),
            full,
            left: AtomicU64::new(0),
            file: Mutex::new(None),
        };
        if full > 0
            && let Err(error) = reserve.find()
        {
            tracing::debug!(%error, "there is no reserve for a full disk yet");
        }
        Arc::new(reserve)
    }

    /// Opens the file, if there is one. A copy of a data directory may have a file with holes, which takes no room.
    fn find(&self) -> io::Result<()> {
        let file = self.directory.open(RESERVE)?;
        let left = file.size()?.min(self.full);
        file.set_len(left)?;
        let left = match file.allocate(left) {
            Ok(()) => left,
            Err(_no_room) => file.set_len(0).map(|()| 0)?,
        };
        self.left.store(left, Ordering::Release);
        *self.file() = Some(file);
        Ok(())
    }

    fn file(&self) -> MutexGuard<'_, Option<Arc<dyn DiskFile>>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The size of a whole reserve, in bytes; 0 if the disk is never full.
    pub(super) fn full(&self) -> u64 {
        self.full
    }

    /// How much is left, in bytes.
    pub(super) fn left(&self) -> u64 {
        self.left.load(Ordering::Acquire)
    }

    /// Gives up a part of the reserve: at least this many bytes, if it has them. Returns whether it had any.
    fn cut(&self, bytes: u64) -> bool {
        let file = self.file();
        let left = self.left();
        let Some(file) = file.as_ref().filter(|_| left > 0) else { return false };
        let less = left.saturating_sub(bytes.max(self.full / CUTS));
        if let Err(error) = file.set_len(less) {
            tracing::warn!(%error, "the reserve for a full disk can't be used");
            return false;
        }
        if left == self.full {
            tracing::error!(
                "the disk is full: values are refused from now on; deletes use a reserve of {} KiB",
                self.full >> 10
            );
        }
        self.left.store(less, Ordering::Release);
        true
    }

    /// Extends the reserve as far as there is room. Returns whether it is whole.
    pub(super) fn refill(&self) -> bool {
        if self.left() >= self.full {
            return true;
        }
        let refilled = self.extend();
        match &refilled {
            Ok(()) => tracing::info!("the disk has a reserve of {} KiB", self.full >> 10),
            Err(error) => tracing::debug!(%error, "the reserve for a full disk is not whole"),
        }
        refilled.is_ok()
    }

    fn extend(&self) -> io::Result<()> {
        let mut open = self.file();
        let file = match &*open {
            Some(file) => Arc::clone(file),
            None => {
                let file = match self.directory.create(RESERVE) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        self.directory.open(RESERVE)?
                    }
                    created => created?,
                };
                file.set_len(0)?;
                Arc::clone(open.insert(file))
            }
        };
        let mut left = self.left();
        while left < self.full {
            let more = (left + self.full.div_ceil(STEPS)).min(self.full);
            if let Err(error) = file.allocate(more) {
                file.set_len(left)?;
                return Err(error);
            }
            left = more;
            self.left.store(left, Ordering::Release);
        }
        Ok(())
    }

    /// The file of an engine on this disk, whose writes use the reserve.
    pub(super) fn behind(self: &Arc<Self>, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(Reserved { file, reserve: Arc::clone(self) })
    }
}

/// The size of the reserve on a disk of this size.
fn size_of_reserve(capacity: u64) -> u64 {
    (capacity / SHARE).min(MAX_BYTES)
}

/// A file whose writes use the reserve where there is no other room.
#[derive(Debug)]
struct Reserved {
    file: Arc<dyn DiskFile>,
    reserve: Arc<Reserve>,
}

impl Reserved {
    /// Makes a call that needs room for this many bytes, again while the reserve can be cut for it.
    fn with_room(&self, bytes: u64, call: impl Fn() -> io::Result<()>) -> io::Result<()> {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        loop {
            match call() {
                Err(error)
                    if matches!(error.kind(), StorageFull | QuotaExceeded)
                        && self.reserve.cut(bytes) => {}
                result => return result,
            }
        }
    }
}

impl DiskFile for Reserved {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with_room(data.len() as u64, || self.file.write_at(offset, data))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        // A file grows without room for its bytes, which are zeros, so that the length of the growth says nothing.
        self.with_room(0, || self.file.set_len(len))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn forget_cached(&self) {
        self.file.forget_cached();
    }
}

#[cfg(test)]
mod tests;
