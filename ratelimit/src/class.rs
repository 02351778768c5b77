//! What a table must know of a counter besides its word: how to tell its age and its count.
//!
//! A place of the table has no room for an algorithm and a period, so it names them by a class of 12 bits.
//! A window's class is its place in a small table of (algorithm, period), filled as they come and never
//! emptied. GCRA's is the interval of one hit, as a float.

use crate::algorithm::{fixed, gcra, sliding};
use crate::limit::{Algorithm, Limit};
use crate::sync::{AtomicU64, Ordering};

/// The bits of a class.
pub(crate) const CLASS_BITS: u32 = 12;

/// The classes of windows: from 1, below [`FIRST_GCRA`]. Class 0 is that of a place never used.
const WINDOWS: usize = if cfg!(ratelimit_loom) { 2 } else { 2048 };
/// The class of windows that came when the table was full: nothing is known of them.
const UNKNOWN: u16 = 2049;
/// The classes of GCRA: 512 floats of an interval.
const FIRST_GCRA: u16 = 2560;

/// A number for each (algorithm, period).
#[derive(Debug)]
pub(crate) struct Classes {
    windows: Vec<AtomicU64>,
}

/// How heavy a counter is, and how new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Weight {
    /// Hits that count now, rounded up.
    pub(crate) hits: u64,
    /// Milliseconds ago of the window in which it was last hit (not of the hit): of equally heavy
    /// counters the older one is kept.
    pub(crate) age: u64,
}

impl Classes {
    pub(crate) fn new() -> Classes {
        Classes { windows: (0..WINDOWS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The class of a limit.
    pub(crate) fn of(&self, limit: &Limit) -> u16 {
        match limit.algorithm() {
            Algorithm::Sliding => self.intern(limit.period_ms() << 1),
            Algorithm::Fixed => self.intern(limit.period_ms() << 1 | 1),
            Algorithm::Gcra => FIRST_GCRA + gcra::float(limit.interval()),
        }
    }

    /// The place of an entry, put there if it is new.
    #[expect(clippy::cast_possible_truncation, reason = "the table has 2048 places")]
    fn intern(&self, entry: u64) -> u16 {
        let start = (entry.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize;
        for step in 0..WINDOWS {
            let at = (start + step) % WINDOWS;
            let found = match self.windows[at].load(Ordering::Acquire) {
                0 => self.windows[at]
                    .compare_exchange(0, entry, Ordering::AcqRel, Ordering::Acquire)
                    .map_or_else(|other| other, |_| entry),
                found => found,
            };
            if found == entry {
                return at as u16 + 1;
            }
        }
        UNKNOWN
    }

    /// How heavy a counter of a class is at `now`. One of unknown class, whose age
    /// nobody can tell, weighs as the newest with one hit: it goes before others, and is counted as evicted.
    pub(crate) fn weight(&self, class: u16, payload: u64, now: u64) -> Weight {
        if class >= FIRST_GCRA {
            return gcra::weight(payload, class - FIRST_GCRA, now);
        }
        let entry = usize::from(class)
            .checked_sub(1)
            .and_then(|at| self.windows.get(at))
            .map_or(0, |window| window.load(Ordering::Acquire));
        match (entry >> 1, entry & 1) {
            (0, _) => Weight { hits: 1, age: 0 },
            (period, 0) => sliding::weight(payload, period, now),
            (period, _) => fixed::weight(payload, period, now),
        }
    }

    /// What a save says of a class, to be read by [`Classes::restored`]: the entry of a window (even if
    /// sliding, odd if fixed), or for GCRA the class itself with the highest bit set.
    pub(crate) fn saved(&self, class: u16) -> Option<u64> {
        if class >= FIRST_GCRA {
            return Some(1 << 63 | u64::from(class - FIRST_GCRA));
        }
        let entry = self.windows.get(usize::from(class).checked_sub(1)?)?.load(Ordering::Acquire);
        (entry != 0).then_some(entry)
    }

    /// The class that a save spoke of; `None` if it makes no sense.
    pub(crate) fn restored(&self, saved: u64) -> Option<u16> {
        if saved >> 63 == 1 {
            let float = u16::try_from(saved & !(1 << 63)).ok()?;
            return (float < 1 << gcra::FLOAT_BITS).then(|| FIRST_GCRA + float);
        }
        let period = saved >> 1;
        (1..=crate::limit::MAX_PERIOD_MS).contains(&period).then(|| self.intern(saved))
    }
}

#[cfg(all(test, not(ratelimit_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_saved_class_of_any_number_makes_sense_or_is_refused() {
        let classes = Classes::new();
        let highest = (1 << gcra::FLOAT_BITS) - 1;
        assert!(classes.restored(1 << 63 | highest).is_some());
        for float in [highest + 1, u64::from(u16::MAX), u64::from(u16::MAX) + 1] {
            assert_eq!(classes.restored(1 << 63 | float), None);
        }
        assert_eq!(classes.restored(0), None);
    }

    #[test]
    fn a_counter_of_a_period_too_many_still_weighs_something() {
        let classes = Classes::new();
        for period in 1..=WINDOWS as u64 {
            assert_ne!(classes.intern(period << 1), UNKNOWN);
        }
        assert_eq!(classes.intern(1_000_000 << 1), UNKNOWN);
        assert_eq!(classes.weight(UNKNOWN, 1, 0), Weight { hits: 1, age: 0 });
        assert_eq!(classes.saved(UNKNOWN), None);
    }
}
