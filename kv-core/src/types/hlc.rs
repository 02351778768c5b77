//! The hybrid logical clock: the wall time while it goes forward, a counter while it does not.
//!
//! Kulkarni, Demirbas et al., "Logical Physical Clocks and Consistent Snapshots in Globally
//! Distributed Databases" (2014). The caller passes the time in.

use std::fmt;

use super::limits::END_OF_TIME;

/// A hybrid logical time: 48 bits of Unix milliseconds above 16 bits of counter.
///
/// Two times compare by their milliseconds first. A counter that overflows carries into the
/// milliseconds, which keeps the order and runs one millisecond ahead of the wall clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The time before all others.
    pub const ZERO: Hlc = Hlc(0);

    /// The first time that no write may have: the year 2200.
    pub const END: Hlc = Hlc((END_OF_TIME * 1000) << 16);

    /// The latest closed timestamp: a day before [`Hlc::END`], because all later writes of a store are later. A later one
    /// comes from a clock that is wrong, or from a member that lies.
    pub const LAST_CLOSED: Hlc = Hlc(((END_OF_TIME - 24 * 60 * 60) * 1000) << 16);

    /// Returns the first time of a Unix millisecond. Milliseconds beyond 48 bits (the year 10889)
    /// count as the last one.
    #[must_use]
    pub fn at_millis(millis: u64) -> Hlc {
        Hlc(millis.min((1 << 48) - 1) << 16)
    }

    /// The Unix milliseconds.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.0 >> 16
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.0 & 0xffff)
    }
}

/// A store's clock. It gives each local write a time above all that it has given or received, as far as these
/// times can be right: a time that lies too far ahead of cluster time does not raise the clock, so that only
/// the key that carries it stays ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// The last time that was given out or seen.
    last: Hlc,
}

/// Cluster time, and how far ahead of it a time may be to count as right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// Cluster time, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// The largest difference between two clocks that are right, in milliseconds.
    pub max_skew_ms: u64,
}

impl Present {
    /// Whether a time is not too far ahead to be right.
    pub(crate) fn admits(self, time: Hlc) -> bool {
        time.millis() <= self.now_ms.saturating_add(self.max_skew_ms)
    }
}

impl Clock {
    /// Makes a clock that continues from `last`, the last committed time.
    #[must_use]
    pub fn starting_at(last: Hlc) -> Clock {
        Clock { last }
    }

    /// The last time given or received.
    #[must_use]
    pub fn last(&self) -> Hlc {
        self.last
    }

    /// Returns the time of a local write that must be later than `after`: the greatest of cluster time, the
    /// last time + 1 unless that is too far ahead, and `after` + 1.
    pub fn tick(&mut self, present: Present, after: Hlc) -> Hlc {
        let next = |time: Hlc| Hlc(time.0.saturating_add(1));
        if !present.admits(next(self.last)) {
            self.last = Hlc::ZERO;
        }
        let time = Hlc::at_millis(present.now_ms).max(next(self.last)).max(next(after));
        self.receive(present, time);
        time
    }

    /// Takes a time into account, so that the next local write is later. One that is too far ahead changes
    /// nothing.
    pub fn receive(&mut self, present: Present, time: Hlc) {
        if present.admits(time) {
            self.last = self.last.max(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(now_ms: u64) -> Present {
        Present { now_ms, max_skew_ms: 500 }
    }

    #[test]
    fn times_rise_while_the_clock_steps_back_a_little() {
        let mut clock = Clock::default();
        let first = clock.tick(at(5_000), Hlc::ZERO);
        let second = clock.tick(at(4_600), Hlc::ZERO);
        let third = clock.tick(at(6_000), Hlc::ZERO);
        assert!(first < second && second < third);
        assert_eq!((second.millis(), third.millis()), (5_000, 6_000));
    }

    #[test]
    fn a_clock_that_was_far_ahead_is_forgotten() {
        let mut clock = Clock::default();
        clock.tick(at(900_000), Hlc::ZERO);
        assert_eq!(clock.tick(at(5_000), Hlc::ZERO), Hlc::at_millis(5_000));
        assert!(clock.tick(at(5_000), Hlc::ZERO) > Hlc::at_millis(5_000));
    }

    #[test]
    fn a_received_time_raises_the_clock_unless_it_is_too_far_ahead() {
        let mut clock = Clock::default();
        clock.receive(at(5_000), Hlc::at_millis(5_400));
        assert!(clock.tick(at(5_000), Hlc::ZERO) > Hlc::at_millis(5_400));
        clock.receive(at(5_000), Hlc::at_millis(5_501));
        assert!(clock.tick(at(5_000), Hlc::ZERO) < Hlc::at_millis(5_500));
    }

    #[test]
    fn a_write_is_later_than_what_it_replaces_and_raises_no_other_by_it() {
        let mut clock = Clock::default();
        let replaced = Hlc::at_millis(900_000);
        assert_eq!(clock.tick(at(5_000), replaced), Hlc(replaced.0 + 1));
        assert_eq!(clock.tick(at(5_000), Hlc::ZERO), Hlc::at_millis(5_000));
    }

    #[test]
    fn a_counter_that_overflows_keeps_the_order() {
        let mut clock = Clock::starting_at(Hlc(Hlc::at_millis(7).0 | 0xffff));
        assert_eq!(clock.tick(at(7), Hlc::ZERO), Hlc::at_millis(8));
    }
}
