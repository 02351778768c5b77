//! The disk below an engine: a directory of files.
//!
//! All file access of a store goes through [`Directory`] and [`DiskFile`], so that a test can substitute a
//! failing disk for everything that a store writes.

use std::{fmt, io, sync::Arc};

/// The name of redb's file in the directory.
pub(super) const FILE: &str = "waypost.redb";

/// The name of the file that is locked.
pub(super) const LOCK: &str = "LOCK";

/// The name of the file that keeps room for a full disk.
pub(super) const RESERVE: &str = "reserve";

/// The directory of one store. Names are plain names of files, without separators.
///
/// A file that was created or removed is so for this process at once, but only [`Directory::sync`] makes that
/// survive a power failure.
pub trait Directory: fmt::Debug + Send + Sync {
    /// Opens a file for reads and writes.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none of this name. Any other error is a failure of the disk.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates an empty file and opens it. The next process finds it after a power failure only if
    /// [`Directory::sync`] has succeeded, whatever was synced of the file itself.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if there is one of this name. Any other error is a failure of the disk.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Removes a file. Those who have it open still read and write it. Until [`Directory::sync`] has succeeded, a
    /// power failure may bring it back.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none of this name. Any other error is a failure of the disk.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Returns the names of everything in the directory, in no order, including files of others. Names that are
    /// not UTF-8 are left out, because no file of a store has such a name.
    ///
    /// # Errors
    /// If the disk fails.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes durable which files there are. It does not cover their bytes: see [`DiskFile::sync`].
    ///
    /// # Errors
    /// If the disk fails. Which of the changes since the last sync survive is then unknown.
    fn sync(&self) -> io::Result<()>;

    /// Returns the size in bytes of the disk that the files share; 0 if it has no bound, so that it is never full.
    ///
    /// # Errors
    /// If the disk fails.
    fn capacity(&self) -> io::Result<u64> {
        Ok(0)
    }
}

/// A file that is open for reads and writes. It closes when the last handle is dropped. Several threads may use
/// it at once.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Returns the length in bytes.
    ///
    /// # Errors
    /// If the disk fails.
    fn size(&self) -> io::Result<u64>;

    /// Fills `out` with the bytes at an offset.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the file ends before the last of them. Any other error is a failure of
    /// the disk.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all bytes at an offset. The file grows if it ends before, with zeros in between.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] or [`io::ErrorKind::QuotaExceeded`] if there is no room. Any other error is
    /// a failure of the disk. A part of the bytes may be written.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Cuts the file, or extends it with zeros, to this length in bytes.
    ///
    /// # Errors
    /// As for [`DiskFile::write_at`].
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Extends the file with zeros to this length in bytes, if it is shorter, and takes room on the disk for all of them, so
    /// that a write within that length finds room.
    ///
    /// # Errors
    /// As for [`DiskFile::write_at`]. The file may be extended in part.
    fn allocate(&self, len: u64) -> io::Result<()> {
        allocate_by_writing(self, len)
    }

    /// Makes all writes and changes of length durable that returned before.
    ///
    /// # Errors
    /// If the disk fails. What of them survives is then unknown, and a later sync does not cover them.
    fn sync(&self) -> io::Result<()>;

    /// Makes the next reads come from the disk, as far as the system allows. After a failed sync its cache may
    /// show bytes that never reach the disk, and a store that relied on them would not survive a crash. Writes
    /// that wait for a sync are not lost.
    fn forget_cached(&self);
}

/// Takes room for the part of a file beyond its end by writing it. The bytes do not compress: a file system that stores
/// zeros as nothing would take no room.
pub(super) fn allocate_by_writing<F: DiskFile + ?Sized>(file: &F, len: u64) -> io::Result<()> {
    const BLOCK_BYTES: usize = 64 << 10;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = vec![0; BLOCK_BYTES];
    let mut at = file.size()?;
    while at < len {
        for bytes in noise.chunks_exact_mut(8) {
            // Xorshift: cheap, and nothing in it repeats.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.copy_from_slice(&state.to_le_bytes());
        }
        let n = usize::try_from(len - at).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
        file.write_at(at, &noise[..n])?;
        at += n as u64;
    }
    Ok(())
}
