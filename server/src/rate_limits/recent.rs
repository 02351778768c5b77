//! The keys that were denied most in the last minute or two, in bounded memory. Always on, for `waypost limit top`.
//!
//! Denials are watched for a minute, and then for another one beside the next. A report adds up both.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError, TryLockError},
};

use super::denied::Watched;
use crate::metrics::Denied;

/// How many keys are watched: of these, each that has more than one in so many denials is found.
const WATCHED: usize = 256;

/// How long a period is, in milliseconds.
const PERIOD_MS: u64 = 60_000;

/// Watches the keys that are denied now.
#[derive(Debug, Default)]
pub struct RecentlyDenied(Mutex<Periods>);

/// This period and the one before.
#[derive(Debug, Default)]
struct Periods {
    /// When this period began, in milliseconds.
    began_ms: u64,
    /// The keys of this period.
    now: Watched,
    /// The keys of the period before.
    before: Watched,
    /// Whether there was a period before.
    has_before: bool,
}

/// The keys that were denied most, the most often denied first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentTop {
    /// The time that the counts are of, in seconds.
    pub seconds: u64,
    /// The keys.
    pub denied: Vec<Denied>,
}

impl Periods {
    /// Ends the periods that are over.
    fn advance(&mut self, now_ms: u64) {
        let passed = now_ms.saturating_sub(self.began_ms);
        if passed < PERIOD_MS {
            return;
        }
        let last = std::mem::take(&mut self.now);
        self.has_before = passed < 2 * PERIOD_MS && self.began_ms > 0;
        self.before = if self.has_before { last } else { Watched::default() };
        self.began_ms = if self.has_before { self.began_ms + PERIOD_MS } else { now_ms };
    }
}

impl RecentlyDenied {
    /// Counts a denial at a time. If another thread counts one at this moment, this one is left out: no request waits.
    pub fn count(&self, now_ms: u64, namespace: &[u8], key: &[u8]) {
        let mut periods = match self.0.try_lock() {
            Ok(periods) => periods,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        periods.advance(now_ms);
        periods.now.count(WATCHED, namespace, key);
    }

    /// Returns at most `count` keys that were denied most.
    #[must_use]
    pub fn top(&self, now_ms: u64, count: usize) -> RecentTop {
        let mut periods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        periods.advance(now_ms);
        // By their bytes, because different bytes may have one text.
        let mut sums: HashMap<&[u8], Denied> = HashMap::new();
        for (name, one) in periods.before.all().chain(periods.now.all()) {
            let place = sums.entry(name);
            let sum = place.or_insert_with(|| Denied { count: 0, excess: 0, ..one.clone() });
            sum.count += one.count;
            sum.excess += one.excess;
        }
        let mut denied: Vec<Denied> = sums.into_values().collect();
        denied.sort_by(|a, b| {
            b.count.cmp(&a.count).then_with(|| (&a.namespace, &a.key).cmp(&(&b.namespace, &b.key)))
        });
        denied.truncate(count);
        let before = if periods.has_before { PERIOD_MS } else { 0 };
        let seconds = (now_ms.saturating_sub(periods.began_ms) + before).div_ceil(1000);
        RecentTop { seconds, denied }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: u64 = 1_800_000_000_000;

    fn top(denied: &RecentlyDenied, at: u64) -> (u64, Vec<(String, u64)>) {
        let top = denied.top(START_MS + at, 9);
        (top.seconds, top.denied.into_iter().map(|one| (one.key, one.count)).collect())
    }

    #[test]
    fn denials_count_for_one_to_two_minutes() {
        let denied = RecentlyDenied::default();
        let deny = |at, key: &str| denied.count(START_MS + at, b"n", key.as_bytes());
        deny(0, "a");
        deny(1, "a");
        deny(59_000, "b");
        assert_eq!(top(&denied, 59_500), (60, vec![("a".into(), 2), ("b".into(), 1)]));
        deny(61_000, "b");
        deny(61_000, "b");
        assert_eq!(top(&denied, 62_000), (62, vec![("b".into(), 3), ("a".into(), 2)]));
        assert_eq!(top(&denied, 120_500), (61, vec![("b".into(), 2)]));
        assert_eq!(top(&denied, 500_000), (0, vec![]));
    }

    #[test]
    fn a_key_denied_often_is_found_among_very_many_others() {
        let denied = RecentlyDenied::default();
        for n in 0..10_000u32 {
            denied.count(START_MS, b"n", &n.to_be_bytes());
            if n % 50 == 0 {
                denied.count(START_MS, b"n", b"often");
            }
        }
        let top = denied.top(START_MS, 1);
        assert_eq!(top.denied[0].key, "often");
        assert!(top.denied[0].count - top.denied[0].excess <= 200, "{top:?}");
    }
}
