//! The hybrid logical clock: wall time where it goes forward, a counter where it does not.
//!
//! Kulkarni, Demirbas et al., "Logical Physical Clocks and Consistent Snapshots in Globally
//! Distributed Databases" (2014). Time comes in as an argument.

use std::fmt;

/// A hybrid logical time: 48 bits of Unix milliseconds above 16 bits of counter.
///
/// Comparing two compares the milliseconds first. A counter that overflows carries into the
/// milliseconds, which keeps the order and runs ahead of the wall by as little.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The time before all others.
    pub const ZERO: Hlc = Hlc(0);

    /// The first time of a millisecond. Milliseconds past 48 bits (the year 10889) are held there.
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

/// A store's clock: gives each local write a time above all that it gave or saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    last: Hlc,
}

impl Clock {
    /// A clock that goes on from `last`, the highest committed time.
    #[must_use]
    pub fn starting_at(last: Hlc) -> Clock {
        Clock { last }
    }

    /// The highest time given or seen.
    #[must_use]
    pub fn last(&self) -> Hlc {
        self.last
    }

    /// The time of a local write made at `now_ms`: max(wall, last + 1).
    pub fn tick(&mut self, now_ms: u64) -> Hlc {
        self.last = Hlc::at_millis(now_ms).max(Hlc(self.last.0.saturating_add(1)));
        self.last
    }

    /// Notes the time of a remote write, so that the next local one is later.
    pub fn receive(&mut self, remote: Hlc) {
        self.last = self.last.max(remote);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_rise_although_the_wall_clock_steps_back() {
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
