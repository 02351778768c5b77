//! The class of a counter: the part of its limit that the table needs to compute what the counter holds and
//! how much that is of its limit.
//!
//! A slot of the table has no room for a limit, so it names it by a class of 12 bits. The class of a window
//! algorithm is an index into a small table of (algorithm, period, count), which is filled as limits arrive
//! and never emptied. The class of GCRA is the time in which a full bucket drains, as a float.
//!
//! Guests ([`Limit::guest`]) have a part of the table of classes of their own, so that they leave room for
//! the others.

use std::ops::Range;

use crate::algorithm::{Holding, MAX_PERIOD_MS, Window, fixed, gcra, sliding};
use crate::calendar::{self, Calendar};
use crate::limit::{Algorithm, Limit};
use crate::sync::{AtomicU64, Ordering};

/// The bits of a class.
pub(crate) const CLASS_BITS: u32 = 12;

/// The number of window classes of limits that are not guests: from 1 to this. Class 0 marks a slot that was
/// never used.
const OWN: usize = if cfg!(ratelimit_loom) { 2 } else { 2558 };
/// Of these, the ones for an algorithm, a period and a count. Each of the rest is of an algorithm and a period, with the
/// count that came first: a caller who varies the count of a known period can't use up the classes of other periods.
const EXACT: usize = OWN / 2;
/// The number of window classes of guests. They follow the ones above.
const GUESTS: usize = if cfg!(ratelimit_loom) { 2 } else { 1024 };
/// The class of windows that arrived when the table of classes was full: their period is not known.
const UNKNOWN: u16 = 3583;
/// The first of the 512 classes of GCRA, one for each float of a drain.
const FIRST_GCRA: u16 = 3584;

/// The bit of an entry that global limits have: their counters are saved apart, with those of other locations.
const GLOBAL: u64 = 1 << 62;

/// The bits of an entry without those of the count.
const WITHOUT_COUNT: u64 = !(((1 << COUNT_BITS) - 1) << 1);

/// The bits of a count as a float: five of exponent, two of mantissa.
const COUNT_BITS: u32 = 7;

/// A counter that is this many times above its limit weighs as much as one that is further above it.
const FULL: f64 = 2.0;

/// How much is lost with a counter. The table evicts the counter with the least weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Weight {
    /// The bits of a float that is not negative, which have its order: the square of the share that the
    /// counter holds of its limit, times the milliseconds that it still lasts. The square lets a counter
    /// at its limit outweigh one that holds a tenth of its limit for 99 times as long.
    value: u64,
    /// Milliseconds since the start of the window in which the counter last changed. Of counters of equal
    /// value the table keeps the older one.
    age: u64,
}

impl Weight {
    pub(crate) fn new(held: Holding, count: f64) -> Weight {
        #[expect(clippy::cast_precision_loss, reason = "a weight is approximate")]
        let (cost, lasts) = (held.cost as f64, held.lasts_ms as f64);
        let share = (cost / count).min(FULL);
        Weight { value: (share * share * lasts).to_bits(), age: held.age_ms }
    }

    /// Returns whether the counter holds nothing.
    pub(crate) fn is_zero(self) -> bool {
        self.value == 0
    }
}

/// Assigns a class to each (algorithm, period, count).
#[derive(Debug)]
pub(crate) struct Classes {
    windows: Vec<AtomicU64>,
}

impl Classes {
    pub(crate) fn new() -> Classes {
        Classes { windows: (0..OWN + GUESTS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Returns the class of a limit.
    pub(crate) fn of(&self, limit: &Limit) -> u16 {
        let fixed = match limit.algorithm() {
            Algorithm::Sliding => 0,
            Algorithm::Fixed => 1,
            Algorithm::Gcra => {
                let drain = limit.interval().saturating_mul(u64::from(limit.burst()));
                return FIRST_GCRA + gcra::float(drain);
            }
        };
        let entry = (limit.window_id() << COUNT_BITS | float(limit.count())) << 1 | fixed;
        let global = if limit.is_global() { GLOBAL } else { 0 };
        self.intern(entry | global, limit.is_guest())
    }

    /// Returns the class of an entry, and adds the entry if it is new.
    fn intern(&self, entry: u64, is_guest: bool) -> u16 {
        let class = match is_guest {
            true => self.intern_in(OWN..OWN + GUESTS, entry, u64::MAX),
            false => (self.intern_in(0..EXACT, entry, u64::MAX))
                .or_else(|| self.intern_in(EXACT..OWN, entry, WITHOUT_COUNT)),
        };
        class.unwrap_or(UNKNOWN)
    }

    /// Returns the class within a range of an entry that equals this one in the bits of the mask, and adds this one if there
    /// is none; `None` if the range is full.
    #[expect(clippy::cast_possible_truncation, reason = "the table has fewer than 4096 entries")]
    fn intern_in(&self, range: Range<usize>, entry: u64, mask: u64) -> Option<u16> {
        let start = ((entry & mask).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize;
        for step in 0..range.len() {
            let at = range.start + (start + step) % range.len();
            let found = match self.windows[at].load(Ordering::Acquire) {
                0 => self.windows[at]
                    .compare_exchange(0, entry, Ordering::AcqRel, Ordering::Acquire)
                    .map_or_else(|other| other, |_| entry),
                found => found,
            };
            if (found ^ entry) & mask == 0 {
                return Some(at as u16 + 1);
            }
        }
        None
    }

    /// Returns the entry of a window class; zero if its period is not known.
    fn entry(&self, class: u16) -> u64 {
        let at = usize::from(class).checked_sub(1);
        at.and_then(|at| self.windows.get(at)).map_or(0, |entry| entry.load(Ordering::Acquire))
    }

    /// Returns the weight of a counter at `now`. A counter of unknown class has no known age, so it
    /// weighs the least of all that count: it is evicted before others, and counted as an eviction.
    pub(crate) fn weight(&self, class: u16, payload: u64, now: u64) -> Weight {
        if class >= FIRST_GCRA {
            let held = gcra::holding(payload, class - FIRST_GCRA, now);
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            return Weight::new(held, gcra::PARTS as f64);
        }
        let entry = self.entry(class) & !GLOBAL;
        let (period, count) = (entry >> (COUNT_BITS + 1), unfloat(entry >> 1));
        if calendar::is_code(period) {
            // One of a save whose calendar nobody has used yet has no known end.
            return Calendar::of_code(period).map_or(Weight { value: 1, age: 0 }, |calendar| {
                Weight::new(fixed::holding(payload, calendar.window(now)), count)
            });
        }
        match (period, entry & 1) {
            (0, _) => Weight { value: 1, age: 0 },
            (_, 0) => Weight::new(sliding::holding(payload, period, now), count),
            (_, _) => Weight::new(fixed::holding(payload, Window::aligned(period, now)), count),
        }
    }

    /// Whether a class is of windows of a calendar.
    #[cfg(feature = "calendar")]
    pub(crate) fn is_calendar(&self, class: u16) -> bool {
        class < FIRST_GCRA && calendar::is_code(self.entry(class) >> (COUNT_BITS + 1))
    }

    /// Returns the form of a class in a save, for [`Classes::restored`]: the entry of a window (even for
    /// sliding, odd for fixed), or for GCRA the float with the highest bit set. `None` for an unknown class.
    pub(crate) fn saved(&self, class: u16) -> Option<u64> {
        if class >= FIRST_GCRA {
            return Some(1 << 63 | u64::from(class - FIRST_GCRA));
        }
        Some(self.entry(class)).filter(|entry| *entry != 0)
    }

    /// Returns whether the form of a class in a save is that of a global limit.
    pub(crate) fn is_global(saved: u64) -> bool {
        saved >> 63 == 0 && saved & GLOBAL != 0
    }

    /// Returns the class of its form in a save, or `None` if the form is not valid.
    pub(crate) fn restored(&self, saved: u64, is_guest: bool) -> Option<u16> {
        if saved >> 63 == 1 {
            let float = u16::try_from(saved & !(1 << 63)).ok()?;
            return (float < 1 << gcra::FLOAT_BITS).then(|| FIRST_GCRA + float);
        }
        let period = (saved & !GLOBAL) >> (COUNT_BITS + 1);
        let is_valid = (1..=MAX_PERIOD_MS).contains(&period) || calendar::is_code(period);
        is_valid.then(|| self.intern(saved, is_guest))
    }
}

/// Returns a count as a float, rounded down.
fn float(count: u32) -> u64 {
    let count = u64::from(count.max(1));
    let exponent = count.ilog2();
    u64::from(exponent) << 2 | (count << 2 >> exponent & 3)
}

/// Returns the count of a [`float`] in the low bits of a number.
fn unfloat(float: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "below 2^35")]
    let count = ((4 | float & 3) << (float >> 2 & 31)) as f64;
    count / 4.0
}

#[cfg(all(test, not(ratelimit_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_saved_class_is_restored_if_it_is_valid_and_refused_if_not() {
        let classes = Classes::new();
        let highest = (1 << gcra::FLOAT_BITS) - 1;
        assert!(classes.restored(1 << 63 | highest, false).is_some());
        for float in [highest + 1, u64::from(u16::MAX), u64::from(u16::MAX) + 1] {
            assert_eq!(classes.restored(1 << 63 | float, false), None);
        }
        assert_eq!(classes.restored(0, false), None);
        let longest = (MAX_PERIOD_MS << COUNT_BITS | 127) << 1;
        assert!(classes.restored(longest, true).is_some());
        assert_eq!(classes.restored(longest + (1 << (COUNT_BITS + 1)), false), None);
    }

    #[test]
    fn a_counter_whose_period_has_no_class_still_has_a_weight() {
        let classes = Classes::new();
        for period in 1..=OWN as u64 {
            assert_ne!(classes.intern(period << (COUNT_BITS + 1), false), UNKNOWN);
        }
        assert_eq!(classes.intern(1_000_000 << (COUNT_BITS + 1), false), UNKNOWN);
        assert!(!classes.weight(UNKNOWN, 1, 0).is_zero());
        assert_eq!(classes.saved(UNKNOWN), None);
        let guest = classes.intern(1_000_000 << (COUNT_BITS + 1), true);
        assert_ne!(guest, UNKNOWN, "guests have their own classes");
    }

    #[test]
    fn guests_that_name_many_periods_leave_the_classes_of_others() {
        let classes = Classes::new();
        let limit = |ms| Limit::sliding(1, Duration::from_millis(ms)).expect("within bounds");
        for ms in 1..=5000 {
            classes.of(&limit(ms).guest(true));
        }
        assert_eq!(classes.of(&limit(6000).guest(true)), UNKNOWN);
        assert_ne!(classes.of(&limit(6000)), UNKNOWN);
    }

    #[test]
    fn many_counts_of_known_periods_leave_the_classes_of_other_periods() {
        let classes = Classes::new();
        let limit = |count, ms| Limit::fixed(count, Duration::from_millis(ms)).expect("in bounds");
        for ms in 1..=100 {
            for count in (0..32).flat_map(|power| {
                (4..8).map(move |part: u64| u32::try_from(part << power >> 2).unwrap())
            }) {
                assert_ne!(classes.of(&limit(count, ms)), UNKNOWN);
            }
        }
        let other = classes.of(&limit(5, 3_600_000));
        let (period, fixed) = (classes.entry(other) >> (COUNT_BITS + 1), classes.entry(other) & 1);
        assert_eq!((period, fixed), (3_600_000, 1));
    }

    #[test]
    fn a_count_as_a_float_is_at_most_a_fifth_too_small() {
        for count in (0..2000).chain([1_000_000, 2_097_151, u32::MAX]) {
            let (exact, near) = (f64::from(count.max(1)), unfloat(float(count)));
            assert!(near <= exact && exact < near * 1.25, "{count}: {near}");
        }
    }

    #[test]
    fn a_counter_weighs_its_share_of_the_limit_and_the_time_that_it_lasts() {
        let classes = Classes::new();
        let weight = |limit: Limit, cost| {
            let payload = crate::decide::record(&limit, 0, 1_700_000_040_000, cost);
            classes.weight(classes.of(&limit), payload, 1_700_000_040_000)
        };
        let seconds = Duration::from_secs;
        for new in [Limit::sliding, Limit::fixed, |count, period| Limit::gcra(count, count, period)]
        {
            let day = |count| new(count, seconds(86_400)).expect("within bounds");
            let second = |count| new(count, seconds(1)).expect("within bounds");
            assert!(weight(day(5), 4) > weight(second(1000), 900));
            assert!(weight(day(5), 4) > weight(second(1), 1));
            assert!(weight(second(5), 5) > weight(day(100_000), 1));
            assert!(weight(day(5), 5) > weight(day(5), 4));
            assert!(weight(day(5), 5) > weight(day(100), 50));
        }
    }
}
