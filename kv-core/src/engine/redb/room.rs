//! Whether a disk that was full has room for values.
//!
//! redb reuses the pages that deletes free, but does not report how many there are, and its file seldom gets shorter. So a
//! disk that a store itself has filled stays full whatever is deleted. What commits have removed tells instead how much
//! may be written again. It is an estimate: rows that lie scattered free no pages. Where it was wrong, the reserve is cut
//! again, and more must be removed before the next attempt.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::{api, reserve::Reserve};

/// The room on the disk of an engine.
#[derive(Debug)]
pub(super) struct Room {
    /// What the disk keeps for the time when it is full.
    reserve: Arc<Reserve>,
    removed: Mutex<Removed>,
}

/// What commits have removed while the disk was full.
#[derive(Debug)]
struct Removed {
    /// Bytes of rows that were removed, less those that were added.
    bytes: i64,
    /// What was left of the reserve at the last look, in bytes.
    left: u64,
    /// Commits have added more than they removed since the last look.
    has_added: bool,
}

impl Room {
    /// The room at the start of an engine. If the disk is full, one attempt to write values is made.
    pub(super) fn new(reserve: Arc<Reserve>) -> Room {
        let left = reserve.left();
        let bytes = signed(2 * reserve.full().saturating_sub(left));
        Room { removed: Mutex::new(Removed { bytes, left, has_added: false }), reserve }
    }

    fn removed(&self) -> MutexGuard<'_, Removed> {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The room as users of the engine see it.
    pub(super) fn seen(&self) -> api::Room {
        let (left, full) = (self.reserve.left(), self.reserve.full());
        let takes_values = left >= full || self.removed().bytes >= needed(left, full);
        api::Room { takes_values, reserve_bytes: left }
    }

    /// Whether the disk has a reserve, so that it is worth while to open a file that was full.
    pub(super) fn has_reserve(&self) -> bool {
        self.reserve.full() > 0
    }

    /// Whether the reserve is whole, so that nothing is counted.
    pub(super) fn is_whole(&self) -> bool {
        self.reserve.left() >= self.reserve.full()
    }

    /// Takes note of a commit that has removed so many bytes of rows more than it added.
    pub(super) fn committed(&self, removed: i64) {
        let mut sum = self.removed();
        sum.bytes = sum.bytes.saturating_add(removed);
        sum.has_added |= removed < 0;
        self.note_cuts(&mut sum);
    }

    /// Takes note of a sync, which writes what commits have left in memory.
    pub(super) fn synced(&self) {
        let mut sum = self.removed();
        self.note_cuts(&mut sum);
        sum.has_added = false;
    }

    /// Begins to count once the reserve is cut for the first time. Where values found no room, what was removed counts less.
    fn note_cuts(&self, sum: &mut Removed) {
        let (left, full) = (self.reserve.left(), self.reserve.full());
        if left < sum.left && sum.left >= full {
            sum.bytes = 0;
        } else if left < full / 2 && left < sum.left && sum.has_added {
            sum.bytes = sum.bytes.min(0);
        } else if left < sum.left && sum.has_added {
            sum.bytes -= signed(8 * (sum.left - left));
        }
        sum.left = left;
    }

    /// Makes the reserve whole again, if the disk has room for it.
    pub(super) fn refill(&self) {
        if !self.is_whole() && self.reserve.refill() {
            self.removed().left = self.reserve.left();
        }
    }
}

/// How many bytes must have been removed before values are written: the more, the more of the reserve was used. Its last
/// quarter is for deletes, unless very much was removed.
fn needed(left: u64, full: u64) -> i64 {
    if left >= full / 4 { signed(2 * (full - left)) } else { signed(8 * full) }
}

/// Converts a number of bytes, of which no disk has too many.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
