//! The bytes of a file: those that a process reads, those that are durable, and the pending changes
//! between both.

use std::ops::AddAssign;

use crate::rng::Rng;

/// The unit that a disk writes atomically.
pub const SECTOR_BYTES: usize = 512;

/// A change that no sync has covered yet.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

/// Which pending changes survive a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// None.
    Nothing,
    /// All of them.
    All,
    /// A random prefix.
    Prefix,
    /// Each write with this probability, in percent.
    Writes(u64),
    /// Each sector of each write with this probability, in percent: writes are torn.
    Sectors(u64),
    /// Of each file, and of the names, what one of the others keeps, at random.
    Mixed,
}

impl Keep {
    /// A random choice.
    pub fn random(rng: &mut Rng) -> Keep {
        rng.weighted(&[
            (5, Keep::Nothing),
            (2, Keep::All),
            (3, Keep::Prefix),
            (3, Keep::Writes(50)),
            (1, Keep::Writes(90)),
            (3, Keep::Sectors(50)),
            (2, Keep::Sectors(95)),
            (1, Keep::Sectors(10)),
            (4, Keep::Mixed),
        ])
    }

    /// The choice for one file, or for the names.
    pub(super) fn for_one(self, rng: &mut Rng) -> Keep {
        let mut keep = self;
        while keep == Keep::Mixed {
            keep = Keep::random(rng);
        }
        keep
    }
}

/// The effect of a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// The number of writes that were lost completely.
    pub lost: usize,
    /// The number of writes that survived in part.
    pub torn: usize,
    /// The number of writes that survived completely.
    pub kept: usize,
    /// The number of creations and removals of files that were lost.
    pub names: usize,
}

impl AddAssign for Loss {
    fn add_assign(&mut self, other: Loss) {
        self.lost += other.lost;
        self.torn += other.torn;
        self.kept += other.kept;
        self.names += other.names;
    }
}

/// A file on a disk with a cache.
#[derive(Debug, Default)]
pub(super) struct Media {
    /// The bytes that reads return: the system's page cache over the disk.
    seen: Vec<u8>,
    /// The bytes that are durable.
    durable: Vec<u8>,
    /// The changes between both, in order. After a failed sync the difference can be greater than
    /// these.
    pending: Vec<Change>,
}

impl Media {
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    pub(super) fn durable(&self) -> &[u8] {
        &self.durable
    }

    pub(super) fn from_durable(bytes: Vec<u8>) -> Media {
        Media { seen: bytes.clone(), durable: bytes, pending: Vec::new() }
    }

    /// The bytes of a range; none if it exceeds the file.
    pub(super) fn read(&self, offset: usize, len: usize) -> Option<&[u8]> {
        self.seen.get(offset..offset.checked_add(len)?)
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if end > self.seen.len() {
            self.set_len(end);
        }
        self.seen[offset..end].copy_from_slice(bytes);
        self.pending.push(Change::Write { offset, bytes: bytes.to_vec() });
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.seen.resize(len, 0);
        self.pending.push(Change::SetLen(len));
    }

    /// Makes all pending changes durable.
    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            apply(&mut self.durable, &change);
        }
    }

    /// Makes some pending changes durable. The others are lost but still visible to reads, as on
    /// Linux after a failed sync.
    pub(super) fn lose(&mut self, keep: Keep, rng: &mut Rng) -> Loss {
        let keep = keep.for_one(rng);
        let pending = std::mem::take(&mut self.pending);
        let cut = match keep {
            Keep::Nothing => 0,
            Keep::All => pending.len(),
            Keep::Prefix | Keep::Writes(_) | Keep::Sectors(_) | Keep::Mixed => {
                rng.index(pending.len() + 1)
            }
        };
        let mut loss = Loss::default();
        for (i, change) in pending.iter().enumerate() {
            let Change::Write { offset, bytes } = change else {
                // A journaling file system orders changes of length: none survives without the
                // earlier ones.
                if i < cut {
                    apply(&mut self.durable, change);
                }
                continue;
            };
            let mut kept = 0;
            let pieces = sectors(*offset, bytes);
            let count = pieces.len();
            let whole = match keep {
                Keep::Nothing | Keep::All | Keep::Prefix | Keep::Mixed => Some(i < cut),
                Keep::Writes(percent) => Some(rng.chance(percent)),
                Keep::Sectors(_) => None,
            };
            for (at, piece) in pieces {
                let is_kept = whole.unwrap_or_else(|| match keep {
                    Keep::Sectors(percent) => rng.chance(percent),
                    _ => false,
                });
                if is_kept {
                    kept += 1;
                    put(&mut self.durable, at, piece);
                }
            }
            match kept {
                0 => loss.lost += 1,
                _ if kept == count => loss.kept += 1,
                _ => loss.torn += 1,
            }
        }
        loss
    }

    /// Drops everything from the cache that is not on the disk, except pending changes.
    pub(super) fn evict(&mut self) {
        self.seen.clone_from(&self.durable);
        for change in &self.pending {
            apply(&mut self.seen, change);
        }
    }

    /// Whether a write to the first sector waits for a sync.
    pub(super) fn is_first_sector_pending(&self) -> bool {
        self.pending
            .iter()
            .any(|change| matches!(change, Change::Write { offset, .. } if *offset < SECTOR_BYTES))
    }

    /// Flips one bit, on the disk and in the cache.
    pub(super) fn flip(&mut self, offset: usize, bit: u8) {
        for bytes in [&mut self.seen, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// The sectors of the disk that are not all zeros.
    pub(super) fn used_sectors(&self) -> Vec<usize> {
        let is_used = |sector: &[u8]| sector.iter().any(|byte| *byte != 0);
        let sectors = self.durable.chunks(SECTOR_BYTES).enumerate();
        sectors.filter(|(_, sector)| is_used(sector)).map(|(i, _)| i).collect()
    }
}

/// Splits a write at sector boundaries.
fn sectors(offset: usize, bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut pieces = Vec::new();
    let (mut at, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(rest.len().min(SECTOR_BYTES - at % SECTOR_BYTES));
        pieces.push((at, piece));
        at += piece.len();
        rest = tail;
    }
    pieces
}

fn apply(file: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, bytes } => put(file, *offset, bytes),
        Change::SetLen(len) => file.resize(*len, 0),
    }
}

/// Writes the bytes that fit: bytes beyond the end of a file whose new length was lost do not
/// exist.
fn put(file: &mut [u8], offset: usize, bytes: &[u8]) {
    if offset < file.len() {
        let end = file.len().min(offset + bytes.len());
        file[offset..end].copy_from_slice(&bytes[..end - offset]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn synced(bytes: &[u8]) -> Media {
        Media::from_durable(bytes.to_vec())
    }

    #[test]
    fn synced_writes_survive_and_unsynced_ones_are_lost() {
        let mut media = Media::default();
        media.write(0, b"one");
        media.sync();
        media.write(0, b"two");
        assert_eq!(media.read(0, 3), Some(&b"two"[..]));
        let loss = media.lose(Keep::Nothing, &mut Rng::new(1));
        assert_eq!(loss, Loss { lost: 1, ..Loss::default() });
        media.evict();
        assert_eq!(media.read(0, 3), Some(&b"one"[..]));
    }

    #[test]
    fn a_write_is_torn_only_at_sector_boundaries() {
        let mut rng = Rng::new(2);
        let mut torn = 0;
        for _ in 0..100 {
            let mut media = synced(&[0; 4096]);
            media.write(100, &[1; 3000]);
            torn += media.lose(Keep::Sectors(50), &mut rng).torn;
            media.evict();
            let bytes = media.read(0, 4096).unwrap();
            for sector in bytes.chunks(SECTOR_BYTES) {
                let ones = sector.iter().filter(|byte| **byte == 1).count();
                assert!([0, SECTOR_BYTES, SECTOR_BYTES - 100, 3100 - 3072].contains(&ones));
            }
        }
        assert!(torn > 90);
    }

    #[test]
    fn later_writes_may_survive_without_earlier_ones() {
        let mut rng = Rng::new(3);
        let mut alone = 0;
        for _ in 0..100 {
            let mut media = synced(&[0; 2048]);
            media.write(0, b"first");
            media.write(1024, b"second");
            media.lose(Keep::Writes(50), &mut rng);
            media.evict();
            let is_there = |at, text: &[u8]| media.read(at, text.len()) == Some(text);
            alone += usize::from(is_there(1024, b"second") && !is_there(0, b"first"));
        }
        assert!(alone > 10);
    }

    #[test]
    fn bytes_beyond_a_lost_length_are_lost() {
        let mut media = synced(&[7; 10]);
        media.set_len(2048);
        media.write(1024, b"far");
        media.lose(Keep::Nothing, &mut Rng::new(4));
        media.evict();
        assert_eq!(media.len(), 10);
    }

    #[test]
    fn writes_lost_by_a_failed_sync_are_visible_until_evicted() {
        let mut media = synced(b"old");
        media.write(0, b"new");
        media.lose(Keep::Nothing, &mut Rng::new(5));
        assert_eq!(media.read(0, 3), Some(&b"new"[..]));
        media.sync();
        assert_eq!(media.durable(), b"old");
        media.evict();
        assert_eq!(media.read(0, 3), Some(&b"old"[..]));
    }

    #[test]
    fn a_file_that_shrinks_and_grows_reads_as_zeros() {
        let mut media = synced(&[7; 100]);
        media.set_len(10);
        media.set_len(100);
        media.sync();
        assert_eq!(media.read(9, 3), Some(&[7, 0, 0][..]));
        assert_eq!(media.read(99, 2), None);
    }
}
