//! The state of the shared keys: the values that each key may hold at the end, at every location.
//!
//! Writers of all locations share the keys. Of two writes to one key the later one wins, by a clock
//! that all locations share because they run on one machine. So a write can be the final one unless
//! an acknowledged write *began* after it had *ended*. If two writes overlap, either may be the
//! final one. A write without a response, because its server was killed, may have been done before
//! the kill, but not later.
//!
//! The locations use the machine's wall clock, and the ledger uses a monotonic clock: if the wall
//! clock is set back while a test runs, a later write can have an earlier version, and looks lost.

use std::{collections::BTreeMap, time::Duration};

use waypost_tests::{random::noise, wait::Stopwatch};

/// The resolution of hybrid logical clocks at two locations: they count milliseconds.
const TICK: Duration = Duration::from_millis(2);

/// The number of hexadecimal digits of a stamp.
const STAMP_BYTES: usize = 16;

/// A put, or a delete if it has no length.
#[derive(Clone, Debug)]
struct Write {
    stamp: u64,
    length: Option<usize>,
    began: Duration,
    /// When its response arrived or its connection broke.
    ended: Option<Duration>,
}

/// The state of one key.
#[derive(Debug, Default)]
struct State {
    /// The writes that may be the final one.
    writes: Vec<Write>,
    is_acknowledged: bool,
}

/// The state of all keys.
#[derive(Debug)]
pub(super) struct Ledger {
    clock: Stopwatch,
    keys: BTreeMap<u64, State>,
    stamps: u64,
    /// The number of writes that each location acknowledged.
    pub(super) acknowledged: Vec<u64>,
    /// The number of writes without a response.
    pub(super) unanswered: u64,
    /// The number of writes that a location rejected because it was not ready.
    pub(super) rejected: u64,
}

/// A write in flight.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) key: u64,
    stamp: u64,
    /// The value of a put; none for a delete.
    pub(super) value: Option<Vec<u8>>,
}

impl Begun {
    /// The key's name.
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
            rejected: 0,
        }
    }

    /// Records that a put of this length, or a delete, is about to be sent.
    pub(super) fn begin(&mut self, key: u64, length: Option<usize>) -> Begun {
        self.stamps += 1;
        let (stamp, began) = (self.stamps, self.clock.elapsed());
        let state = self.keys.entry(key).or_default();
        state.writes.push(Write { stamp, length, began, ended: None });
        Begun { key, stamp, value: length.map(|length| value(stamp, length)) }
    }

    /// Records that a location acknowledged the write. Writes that ended before it began can't be
    /// the final one any more.
    pub(super) fn acknowledge(&mut self, begun: &Begun, location: usize) {
        self.acknowledged[location] += 1;
        let now = self.clock.elapsed();
        let state = self.keys.entry(begun.key).or_default();
        state.is_acknowledged = true;
        let Some(write) = state.writes.iter_mut().find(|write| write.stamp == begun.stamp) else {
            // An acknowledged write began after this one was done and before its response arrived.
            return;
        };
        write.ended = Some(now);
        let began = write.began;
        state.writes.retain(|write| write.ended.is_none_or(|ended| ended + TICK >= began));
    }

    /// Records that the write may or may not have been done.
    pub(super) fn lose(&mut self, begun: &Begun) {
        self.unanswered += 1;
        let now = self.clock.elapsed();
        let state = self.keys.entry(begun.key).or_default();
        if let Some(write) = state.writes.iter_mut().find(|write| write.stamp == begun.stamp) {
            write.ended = Some(now);
        }
    }

    /// Records that the write was not done.
    pub(super) fn reject(&mut self, begun: &Begun) {
        self.rejected += 1;
        let state = self.keys.entry(begun.key).or_default();
        state.writes.retain(|write| write.stamp != begun.stamp);
    }

    /// The numbers and names of all keys.
    pub(super) fn names(&self) -> Vec<(u64, String)> {
        self.keys.keys().map(|key| (*key, name(*key))).collect()
    }

    /// Checks that `found` may be the final value of a key. The error describes the difference.
    pub(super) fn check(&self, key: u64, found: Option<&[u8]>) -> Result<(), String> {
        let state = &self.keys[&key];
        let is_this = |write: &&Write| match (found, write.length) {
            (Some(found), Some(length)) => found == value(write.stamp, length),
            (None, None) => true,
            _ => false,
        };
        if state.writes.iter().any(|write| is_this(&write)) {
            return Ok(());
        }
        if found.is_none() && !state.is_acknowledged {
            return Ok(());
        }
        let found = found.map(|found| {
            String::from_utf8_lossy(&found[..found.len().min(STAMP_BYTES)]).into_owned()
        });
        let may_be = &state.writes;
        Err(format!("{} has the stamp {found:?}; possible are {may_be:?}", name(key)))
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    /// Whether a key may hold the value of this write.
    fn may_be(ledger: &Ledger, begun: &Begun) -> bool {
        ledger.check(begun.key, begun.value.as_deref()).is_ok()
    }

    #[test]
    fn a_write_that_ended_before_an_acknowledged_one_began_is_not_final() {
        let mut ledger = Ledger::new(1);
        let old = ledger.begin(1, Some(10));
        assert!(ledger.check(1, None).is_ok(), "an unacknowledged write may not have been done");
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
    fn each_of_concurrent_or_lost_writes_may_be_final_until_a_later_write() {
        let mut ledger = Ledger::new(2);
        let (a, b) = (ledger.begin(1, Some(5)), ledger.begin(1, Some(5)));
        ledger.acknowledge(&a, 0);
        ledger.acknowledge(&b, 1);
        assert!(may_be(&ledger, &a) && may_be(&ledger, &b));
        let lost = ledger.begin(1, Some(5));
        ledger.lose(&lost);
        assert!(may_be(&ledger, &lost) && may_be(&ledger, &a));
        let rejected = ledger.begin(1, Some(5));
        ledger.reject(&rejected);
        assert!(!may_be(&ledger, &rejected));
        sleep(2 * TICK);
        let last = ledger.begin(1, Some(5));
        ledger.acknowledge(&last, 0);
        assert!([&a, &b, &lost].iter().all(|write| !may_be(&ledger, write)));
        assert!(ledger.check(1, Some(b"0000")).is_err(), "no writer wrote these bytes");
    }
}
