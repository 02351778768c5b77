//! Clocks that step, by seconds to years, and are set right again.

use waypost_disk_tests::{hold, violation::Checked};

use super::{Happening, World, faults::Wrong};
use crate::events::Event;

/// The sizes of steps, in milliseconds: seconds, minutes, hours, a day, years.
const STEPS_MS: [i64; 6] = [3_000, 90_000, 600_000, 8 * 3_600_000, 86_400_000, 3 * 31_536_000_000];

/// How far the wrong clocks of two locations differ at least, in milliseconds: two wrong clocks never agree,
/// because the majority decides what is right.
const APART_MS: i64 = 7_000;

/// How long a clock is wrong at most, in milliseconds: less than the expiry grace, because a clock that
/// is not confirmed and is wrong for longer may destroy what has not expired.
const WRONG_FOR_MS: u64 = 50 * 60_000;

impl World {
    /// The clock of a location steps, and is set right within the expiry grace of its first step.
    pub fn step_clock(&mut self, node: usize) {
        let size = *self.rng.pick(&STEPS_MS);
        let apart = APART_MS * i64::try_from(node).unwrap_or(0);
        let sign = if self.rng.chance(50) { 1 } else { -1 };
        self.set_clock(node, sign * (size + apart));
        if !self.nodes[node].is_wrong {
            self.nodes[node].is_wrong = true;
            let a_while = self.rng.weighted(&[(3, 4_000), (3, 60_000), (1, WRONG_FOR_MS)]);
            let for_ms = self.rng.below(a_while);
            self.after(for_ms, Happening::Mend(Wrong::Clock(node)));
        }
    }

    /// Sets the clock of a location ahead by so much.
    pub fn set_clock(&mut self, node: usize, ahead_ms: i64) {
        self.trace(|| format!("{node}: its clock is ahead by {ahead_ms} ms"));
        if ahead_ms.unsigned_abs() > self.plan.skew_ms {
            self.count(Event::ClockStep);
        }
        self.nodes[node].skew_ms = ahead_ms;
    }

    /// The clock of a location is set right.
    pub(super) fn right_clock(&mut self, node: usize) -> Checked {
        let skew = self.some_skew();
        self.set_clock(node, skew);
        self.nodes[node].is_wrong = false;
        Ok(())
    }

    /// A location reports that its clock is off: some clock must have been wrong recently. Where three or more
    /// are heard and most are right, it names itself only if it is wrong.
    pub(super) fn clock_off(&mut self, node: usize) -> Checked {
        self.count(Event::ClockOff);
        let has_stepped = self.report.events.get(Event::ClockStep) > 0;
        hold!(has_stepped || self.mangled > 0, "{node}: its clock is off, and no clock was wrong");
        Ok(())
    }
}
