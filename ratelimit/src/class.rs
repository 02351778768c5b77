//! The class of a counter: the part of its limit that the table needs to compute its age and its cost.
//!
//! A slot of the table has no room for an algorithm and a period, so it names them by a class of 12 bits.
//! The class of a window algorithm is an index into a small table of (algorithm, period), which is filled
//! as limits arrive and never emptied. The class of GCRA is the interval of a cost of 1, as a float.

use crate::algorithm::{MAX_PERIOD_MS, Weight, fixed, gcra, sliding};
use crate::limit::{Algorithm, Limit};
use crate::sync::{AtomicU64, Ordering};

/// The bits of a class.
pub(crate) const CLASS_BITS: u32 = 12;

/// The number of window classes: from 1 to this. Class 0 marks a slot that was never used.
const WINDOWS: usize = if cfg!(ratelimit_loom) { 2 } else { 2048 };
/// The class of windows that arrived when the table of classes was full: their period is not known.
const UNKNOWN: u16 = 2049;
/// The first of the 512 classes of GCRA, one for each float of an interval.
const FIRST_GCRA: u16 = 2560;

/// Assigns a class to each (algorithm, period).
#[derive(Debug)]
pub(crate) struct Classes {
    windows: Vec<AtomicU64>,
}

impl Classes {
    pub(crate) fn new() -> Classes {
        Classes { windows: (0..WINDOWS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Returns the class of a limit.
    pub(crate) fn of(&self, limit: &Limit) -> u16 {
        match limit.algorithm() {
            Algorithm::Sliding => self.intern(limit.period_ms() << 1),
            Algorithm::Fixed => self.intern(limit.period_ms() << 1 | 1),
            Algorithm::Gcra => FIRST_GCRA + gcra::float(limit.interval()),
        }
    }

    /// Returns the class of an entry, and adds the entry if it is new.
    #[expect(clippy::cast_possible_truncation, reason = "the table has 2048 entries")]
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

    /// Returns the weight of a counter at `now`. A counter of unknown class has no known age, so it
    /// weighs as the newest with a cost of 1: it is evicted before others, and counted as an eviction.
    pub(crate) fn weight(&self, class: u16, payload: u64, now: u64) -> Weight {
        if class >= FIRST_GCRA {
            return gcra::weight(payload, class - FIRST_GCRA, now);
        }
        let entry = usize::from(class)
            .checked_sub(1)
            .and_then(|at| self.windows.get(at))
            .map_or(0, |window| window.load(Ordering::Acquire));
        match (entry >> 1, entry & 1) {
            (0, _) => Weight { cost: 1, age: 0 },
            (period, 0) => sliding::weight(payload, period, now),
            (period, _) => fixed::weight(payload, period, now),
        }
    }

    /// Returns the form of a class in a save, for [`Classes::restored`]: the entry of a window (even for
    /// sliding, odd for fixed), or for GCRA the float with the highest bit set. `None` for an unknown class.
    pub(crate) fn saved(&self, class: u16) -> Option<u64> {
        if class >= FIRST_GCRA {
            return Some(1 << 63 | u64::from(class - FIRST_GCRA));
        }
        let entry = self.windows.get(usize::from(class).checked_sub(1)?)?.load(Ordering::Acquire);
        (entry != 0).then_some(entry)
    }

    /// Returns the class of its form in a save, or `None` if the form is not valid.
    pub(crate) fn restored(&self, saved: u64) -> Option<u16> {
        if saved >> 63 == 1 {
            let float = u16::try_from(saved & !(1 << 63)).ok()?;
            return (float < 1 << gcra::FLOAT_BITS).then(|| FIRST_GCRA + float);
        }
        let period = saved >> 1;
        (1..=MAX_PERIOD_MS).contains(&period).then(|| self.intern(saved))
    }
}

#[cfg(all(test, not(ratelimit_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_saved_class_is_restored_if_it_is_valid_and_refused_if_not() {
        let classes = Classes::new();
        let highest = (1 << gcra::FLOAT_BITS) - 1;
        assert!(classes.restored(1 << 63 | highest).is_some());
        for float in [highest + 1, u64::from(u16::MAX), u64::from(u16::MAX) + 1] {
            assert_eq!(classes.restored(1 << 63 | float), None);
        }
        assert_eq!(classes.restored(0), None);
    }

    #[test]
    fn a_counter_whose_period_has_no_class_still_has_a_weight() {
        let classes = Classes::new();
        for period in 1..=WINDOWS as u64 {
            assert_ne!(classes.intern(period << 1), UNKNOWN);
        }
        assert_eq!(classes.intern(1_000_000 << 1), UNKNOWN);
        assert_eq!(classes.weight(UNKNOWN, 1, 0), Weight { cost: 1, age: 0 });
        assert_eq!(classes.saved(UNKNOWN), None);
    }
}
