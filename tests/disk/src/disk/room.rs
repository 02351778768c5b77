//! The room on a disk that has a size.

use std::collections::{BTreeMap, BTreeSet};

use super::names::FileId;

/// The unit in which files take room, in bytes.
const BLOCK_BYTES: usize = 4096;

/// Which blocks the files take. A file has holes where nothing was written.
#[derive(Debug)]
pub(super) struct Room {
    /// The size of the disk, in bytes.
    pub(super) capacity: usize,
    taken: BTreeMap<FileId, BTreeSet<usize>>,
}

impl Room {
    pub(super) fn new(capacity: usize) -> Room {
        Room { capacity, taken: BTreeMap::new() }
    }

    /// Takes the blocks of a range of a file, unless the disk has too few.
    pub(super) fn take(&mut self, file: FileId, offset: usize, len: usize) -> bool {
        let blocks = offset / BLOCK_BYTES..(offset + len).div_ceil(BLOCK_BYTES);
        let used: usize = self.taken.values().map(BTreeSet::len).sum();
        let taken = self.taken.entry(file).or_default();
        let more = blocks.clone().filter(|block| !taken.contains(block)).count();
        if (used + more) * BLOCK_BYTES > self.capacity {
            return false;
        }
        taken.extend(blocks);
        true
    }

    /// A file was cut, or extended by a hole.
    pub(super) fn set_len(&mut self, file: FileId, len: usize) {
        self.taken.entry(file).or_default().retain(|block| *block < len.div_ceil(BLOCK_BYTES));
    }
}
