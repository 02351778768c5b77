//! The hybrid logical clock: the wall time while it goes forward, a counter while it does not.
//!
//! Kulkarni, Demirbas et al., "Logical Physical Clocks and Consistent Snapshots in Globally
//! Distributed Databases" (2014). The caller passes the time in.

use std::fmt;

/// A hybrid logical time: 48 bits of Unix milliseconds above 16 bits of counter.
///
/// Two times compare by their milliseconds first. A counter that overflows carries into the
/// milliseconds, which keeps the order and runs one millisecond ahead of the wall clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The time before all others.
    pub const ZERO: Hlc = Hlc(0);

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

/// A store's clock. It gives each local write a time above all that it has given or received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// The last time that was given out or seen.
    last: Hlc,
}

impl Clock {
    /// Makes a clock that continues from `last`, the highest committed time.
    #[must_use]
    pub fn starting_at(last: Hlc) -> Clock {
        Clock { last }
    }

    /// The highest time given or received.
    #[must_use]
    pub fn last(&self) -> Hlc {
        self.last
    }

    /// Returns the time of a local write made at `now_ms`: max(wall clock, last + 1).
    pub fn tick(&mut self, now_ms: u64) -> Hlc {
        self.last = Hlc::at_millis(now_ms).max(Hlc(self.last.0.saturating_add(1)));
        self.last
    }

    /// Takes the time of a remote write into account, so that the next local write is later.
    pub fn receive(&mut self, remote: Hlc) {
        self.last = self.last.max(remote);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_rise_while_the_wall_clock_steps_back() {
        let mut clock = Clock::default();
        let first = clock.tick(5_000);
        let second = clock.tick(1_000);
        let third = clock.tick(6_000);
        assert!(first < second && second < third);
        assert_eq!((second.millis(), third.millis()), (5_000, 6_000));
    }

    #[test]
    fn a_write_after_a_received_one_is_later_than_it() {
        let mut clock = Clock::default();
        clock.receive(Hlc::at_millis(9_000));
        assert!(clock.tick(1_000) > Hlc::at_millis(9_000));
    }

    #[test]
    fn a_counter_that_overflows_keeps_the_order() {
        let mut clock = Clock::starting_at(Hlc(Hlc::at_millis(7).0 | 0xffff));
        assert_eq!(clock.tick(7), Hlc::at_millis(8));
    }
}
