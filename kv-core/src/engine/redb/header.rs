//! The header of redb's file: what it shows before redb opens it.

use crate::engine::{
    api::EngineError,
    storage::{DiskFile, FILE},
};

/// The magic number at the start of redb's files.
const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";

/// The longest file that redb leaves if a crash interrupts its creation.
const UNBORN_BYTES: u64 = 4 << 20;

/// The page size in redb's header, after the magic number and the flags.
pub(super) const PAGE_SIZE: [u8; 4] = 4096_u32.to_le_bytes();
pub(super) const PAGE_SIZE_OFFSET: usize = 12;

/// redb's header is in the first sector.
const SECTOR_BYTES: usize = 512;

/// Whether the last process that had the file open closed it. If not, a sync may have failed.
pub(super) fn was_closed(file: &dyn DiskFile) -> bool {
    // redb's header has flags after its magic number; this one is set for as long as it is open.
    const FLAGS_OFFSET: u64 = 9;
    const RECOVERY_REQUIRED: u8 = 2;
    let mut flags = [0];
    file.read_at(FLAGS_OFFSET, &mut flags).is_ok() && flags[0] & RECOVERY_REQUIRED == 0
}

/// Empties a file whose creation was interrupted by a crash. redb writes its magic number last, and
/// treats a file without one as another program's. A file counts as unfinished only if nothing was ever
/// stored in it: it is short, and zeros except for redb's header in the first sector, which lacks its
/// magic number.
pub(super) fn forget_unborn(file: &dyn DiskFile) -> Result<(), EngineError> {
    let len = file.size()?;
    if !(1..=UNBORN_BYTES).contains(&len) || begins_with(file, &MAGIC)? {
        return Ok(());
    }
    let mut bytes = vec![0; usize::try_from(len).expect("a short file")];
    file.read_at(0, &mut bytes)?;
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let (first, rest) = bytes.split_at(SECTOR_BYTES.min(bytes.len()));
    let is_begun = first.get(..MAGIC.len()).is_some_and(is_zero)
        && first.get(PAGE_SIZE_OFFSET..).is_some_and(|header| header.starts_with(&PAGE_SIZE));
    if is_zero(rest) && (is_zero(first) || is_begun) {
        file.set_len(0)?;
    }
    Ok(())
}

/// Rejects a file that is not redb's. redb itself would report a disk failure.
pub(super) fn refuse_foreign(file: &dyn DiskFile) -> Result<(), EngineError> {
    if file.size()? == 0 || begins_with(file, &MAGIC)? {
        return Ok(());
    }
    Err(EngineError::Corrupt(format!(
        "{FILE} does not start like a store's file, and was not changed. Move it away or name another \
         data directory; if it was a store, restore it from a copy"
    )))
}

/// Whether a file begins with these bytes. A file that is shorter does not.
fn begins_with(file: &dyn DiskFile, expected: &[u8]) -> Result<bool, EngineError> {
    let mut beginning = vec![0; expected.len()];
    if file.size()? < expected.len() as u64 {
        return Ok(false);
    }
    file.read_at(0, &mut beginning)?;
    Ok(beginning == expected)
}
