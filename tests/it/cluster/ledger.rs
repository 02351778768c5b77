//! What writers know of their keys: what each may hold in the end, at every location.
//!
//! Writers of all locations share the keys. Of two writes of one key the later one wins, by a clock that all
//! locations read, for they are on one machine. So a write can be what is there in the end unless an
//! acknowledged one *began* after it had *ended*; of two that overlap either may be. A write that was not
//! answered, because its server was killed, may have been done or not, but not after that.
//!
//! The locations' clocks are the machine's wall clock, and the ledger's does not step: if the wall clock is set
//! back while a test runs, a later write can have an earlier version, and looks lost.

use std::{collections::BTreeMap, time::Duration};

use waypost_tests::{random::noise, wait::Stopwatch};

/// Where the hybrid logical clocks of two locations tell times apart: they count in milliseconds.
const TICK: Duration = Duration::from_millis(2);

/// Hexadecimal digits of a stamp.
const STAMP_BYTES: usize = 16;

/// A put, or a delete if it has no length.
#[derive(Clone, Debug)]
struct Write {
    stamp: u64,
    length: Option<usize>,
    began: Duration,
    /// When it was answered, or its connection broke.
    ended: Option<Duration>,
}

/// What is known of one key.
#[derive(Debug, Default)]
struct Known {
    /// Writes that may be what is there in the end.
    writes: Vec<Write>,
    is_acknowledged: bool,
}

/// What is known of all keys.
#[derive(Debug)]
pub(super) struct Ledger {
    clock: Stopwatch,
    keys: BTreeMap<u64, Known>,
    stamps: u64,
    /// How many writes each location acknowledged.
    pub(super) acknowledged: Vec<u64>,
    /// Writes that were not answered.
    pub(super) unanswered: u64,
    /// Writes that a location refused, for it was not ready.
    pub(super) refused: u64,
}

/// A write that is under way.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) key: u64,
    stamp: u64,
    /// What is put; none is a delete.
    pub(super) value: Option<Vec<u8>>,
}

impl Begun {
    /// What the key is called.
    pub(super) fn name(&self) -> String {
        name(self.key)
    }
}

fn name(key: u64) -> String {
    format!("key-{key}")
}

fn value(stamp: u64, length: usize) -> Vec<u8> {
    let mut value = format!("{stamp:0STAMP_BYTES$x}").into_bytes();
    value.extend(noise(stamp, length));
    value
}

impl Ledger {
    pub(super) fn new(locations: usize) -> Ledger {
        Ledger {
            clock: Stopwatch::start(),
            keys: BTreeMap::new(),
            stamps: 0,
            acknowledged: vec![0; locations],
            unanswered: 0,
            refused: 0,
        }
    }

    /// A put of so many bytes, or a delete, is about to be sent.
    pub(super) fn begin(&mut self, key: u64, length: Option<usize>) -> Begun {
        self.stamps += 1;
        let (stamp, began) = (self.stamps, self.clock.elapsed());
        let known = self.keys.entry(key).or_default();
        known.writes.push(Write { stamp, length, began, ended: None });
        Begun { key, stamp, value: length.map(|length| value(stamp, length)) }
    }

    /// A location acknowledged it: what ended before it began is gone for good.
    pub(super) fn acknowledge(&mut self, begun: &Begun, location: usize) {
        self.acknowledged[location] += 1;
        let now = self.clock.elapsed();
        let known = self.keys.entry(begun.key).or_default();
        known.is_acknowledged = true;
        let Some(write) = known.writes.iter_mut().find(|write| write.stamp == begun.stamp) else {
            // Another one that was acknowledged began when this one had been done and not yet told.
            return;
        };
        write.ended = Some(now);
        let began = write.began;
        known.writes.retain(|write| write.ended.is_none_or(|ended| ended + TICK >= began));
    }

    /// Nobody knows whether it was done.
    pub(super) fn lose(&mut self, begun: &Begun) {
        self.unanswered += 1;
        let now = self.clock.elapsed();
        let known = self.keys.entry(begun.key).or_default();
        if let Some(write) = known.writes.iter_mut().find(|write| write.stamp == begun.stamp) {
            write.ended = Some(now);
        }
    }

    /// It was not done.
    pub(super) fn refuse(&mut self, begun: &Begun) {
        self.refused += 1;
        let known = self.keys.entry(begun.key).or_default();
        known.writes.retain(|write| write.stamp != begun.stamp);
    }

    /// The names of all keys.
    pub(super) fn names(&self) -> Vec<(u64, String)> {
        self.keys.keys().map(|key| (*key, name(*key))).collect()
    }

    /// Whether a key may hold this in the end; a sentence if not.
    pub(super) fn check(&self, key: u64, found: Option<&[u8]>) -> Result<(), String> {
        let known = &self.keys[&key];
        let is_this = |write: &&Write| match (found, write.length) {
            (Some(found), Some(length)) => found == value(write.stamp, length),
            (None, None) => true,
            _ => false,
        };
        if known.writes.iter().any(|write| is_this(&write)) {
            return Ok(());
        }
        if found.is_none() && !known.is_acknowledged {
            return Ok(());
        }
        let found = found.map(|found| {
            String::from_utf8_lossy(&found[..found.len().min(STAMP_BYTES)]).into_owned()
        });
        let may_be = &known.writes;
        Err(format!("{} is {found:?} (its stamp); it may be one of {may_be:?}", name(key)))
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    /// Whether a key may hold what these wrote.
    fn may_be(ledger: &Ledger, begun: &Begun) -> bool {
        ledger.check(begun.key, begun.value.as_deref()).is_ok()
    }

    #[test]
    fn what_was_acknowledged_before_another_began_may_not_come_back() {
        let mut ledger = Ledger::new(1);
        let old = ledger.begin(1, Some(10));
        assert!(ledger.check(1, None).is_ok(), "it may not have been done");
        ledger.acknowledge(&old, 0);
        assert!(may_be(&ledger, &old) && ledger.check(1, None).is_err());
        sleep(2 * TICK);
        let new = ledger.begin(1, Some(10));
        assert!(may_be(&ledger, &old) && may_be(&ledger, &new));
        ledger.acknowledge(&new, 0);
        assert!(!may_be(&ledger, &old) && may_be(&ledger, &new));
        sleep(2 * TICK);
        let delete = ledger.begin(1, None);
        ledger.acknowledge(&delete, 0);
        assert!(!may_be(&ledger, &new) && ledger.check(1, None).is_ok());
        assert_eq!(ledger.acknowledged, [3]);
    }

    #[test]
    fn of_writes_at_the_same_time_either_may_be_there_and_a_lost_one_until_a_later_one_is() {
        let mut ledger = Ledger::new(2);
        let (a, b) = (ledger.begin(1, Some(5)), ledger.begin(1, Some(5)));
        ledger.acknowledge(&a, 0);
        ledger.acknowledge(&b, 1);
        assert!(may_be(&ledger, &a) && may_be(&ledger, &b));
        let lost = ledger.begin(1, Some(5));
        ledger.lose(&lost);
        assert!(may_be(&ledger, &lost) && may_be(&ledger, &a));
        let refused = ledger.begin(1, Some(5));
        ledger.refuse(&refused);
        assert!(!may_be(&ledger, &refused));
        sleep(2 * TICK);
        let last = ledger.begin(1, Some(5));
        ledger.acknowledge(&last, 0);
        assert!([&a, &b, &lost].iter().all(|write| !may_be(&ledger, write)));
        assert!(ledger.check(1, Some(b"0000")).is_err(), "bytes that nobody wrote");
    }
}
