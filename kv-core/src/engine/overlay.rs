//! A file that keeps all writes in memory.
//!
//! After a failed sync nothing may write to the file, but redb writes when it opens a file that was
//! not closed. Over this disk it can, and reads continue.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::storage::DiskFile;

/// The unit in which writes are kept, in bytes.
const BLOCK: u64 = 4096;

/// A file that shows the base with the writes on top. The base is never written.
#[derive(Debug)]
pub(super) struct Overlay {
    /// The file below.
    base: Arc<dyn DiskFile>,
    /// The writes so far.
    written: Mutex<Written>,
}

/// What was written since the overlay was made.
#[derive(Debug)]
struct Written {
    /// The length of the file with the writes, in bytes.
    len: u64,
    /// How much of the base is still part of the file. Bytes that were cut off read as zeros.
    base_len: u64,
    blocks: HashMap<u64, Box<[u8]>>,
}

impl Overlay {
    /// An overlay without any writes.
    pub(super) fn new(base: Arc<dyn DiskFile>) -> io::Result<Overlay> {
        let len = base.size()?;
        Ok(Overlay {
            base,
            written: Mutex::new(Written { len, base_len: len, blocks: HashMap::new() }),
        })
    }

    /// Locks what was written.
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a block of the base, with zeros past its end.
    fn base_block(&self, base_len: u64, block: u64) -> io::Result<Box<[u8]>> {
        let start = block * BLOCK;
        let available = base_len.saturating_sub(start).min(BLOCK);
        let mut bytes = vec![0; to_usize(BLOCK)].into_boxed_slice();
        if available > 0 {
            self.base.read_at(start, &mut bytes[..to_usize(available)])?;
        }
        Ok(bytes)
    }
}

/// Converts an offset in a block or the length of a slice, which always fit.
fn to_usize(n: u64) -> usize {
    usize::try_from(n).expect("at most a block")
}

/// Calls `each` with (block, offset in it, range of the slice) for every block that a slice covers.
fn for_blocks(
    offset: u64,
    len: usize,
    mut each: impl FnMut(u64, usize, std::ops::Range<usize>) -> io::Result<()>,
) -> io::Result<()> {
    let mut done = 0;
    while done < len {
        let at = offset + done as u64;
        let inside = to_usize(at % BLOCK);
        let n = (to_usize(BLOCK) - inside).min(len - done);
        each(at / BLOCK, inside, done..done + n)?;
        done += n;
    }
    Ok(())
}

impl DiskFile for Overlay {
    fn size(&self) -> io::Result<u64> {
        Ok(self.written().len)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset + out.len() as u64 > written.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for_blocks(offset, out.len(), |block, inside, range| {
            let n = range.len();
            match written.blocks.get(&block) {
                Some(bytes) => out[range].copy_from_slice(&bytes[inside..inside + n]),
                None => {
                    out[range].copy_from_slice(
                        &self.base_block(written.base_len, block)?[inside..inside + n],
                    );
                }
            }
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written();
        written.len = len;
        written.base_len = written.base_len.min(len);
        let first_gone = len.div_ceil(BLOCK);
        written.blocks.retain(|block, _| *block < first_gone);
        // The rest of a block that is cut in the middle reads as zeros too.
        if let Some(bytes) = written.blocks.get_mut(&(len / BLOCK)) {
            bytes[to_usize(len % BLOCK)..].fill(0);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn forget_cached(&self) {
        self.base.forget_cached();
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        let base_len = written.base_len;
        for_blocks(offset, data.len(), |block, inside, range| {
            let bytes = match written.blocks.entry(block) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(self.base_block(base_len, block)?),
            };
            bytes[inside..inside + range.len()].copy_from_slice(&data[range]);
            Ok(())
        })?;
        written.len = written.len.max(offset + data.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::memory::memory, *};

    #[test]
    fn writes_are_read_back_and_the_base_is_unchanged() {
        let base = memory().create("base").unwrap();
        base.set_len(10_000).unwrap();
        base.write_at(0, &[7; 10_000]).unwrap();
        let overlay = Overlay::new(base.clone()).unwrap();
        overlay.write_at(4_090, &[1; 20]).unwrap();
        overlay.set_len(5_000).unwrap();
        overlay.set_len(20_000).unwrap();
        let mut read = vec![9; 20_000];
        overlay.read_at(0, &mut read).unwrap();
        let mut expected = vec![7; 5_000];
        expected[4_090..4_110].fill(1);
        expected.resize(20_000, 0);
        assert!(read == expected);
        let mut read = vec![9; 10_000];
        base.read_at(0, &mut read).unwrap();
        assert!(read == [7; 10_000]);
        assert!(overlay.read_at(19_999, &mut [0; 2]).is_err());
    }
}
