//! Which changes of a link are logged: a link that comes and goes must not flood the log. The log ends with the state that
//! the link has.

use std::time::Duration;

/// How many changes of one link are logged within [`PERIOD`]: an outage and its end are four, with its silence and the first
/// failed attempt.
const MOST: u32 = 8;

/// How many lines in all, with those about the state that a link has settled in.
const MOST_LINES: u32 = 10;

/// The time after which changes are logged again.
const PERIOD: Duration = Duration::from_secs(60);

/// A link that has not changed for this long is logged as it is, if its last change was not.
const SETTLED: Duration = Duration::from_secs(3);

/// The changes of one link that were logged recently.
#[derive(Debug, Default)]
pub(super) struct Flaps {
    /// When the period began.
    since: Duration,
    /// The changes in it that were logged.
    logged: u32,
    /// The changes that were not logged.
    left_out: u32,
    /// When the last change was.
    changed: Duration,
}

impl Flaps {
    /// The link came up, or went down. Returns how many changes were left out of the log before this one, if this one is
    /// logged.
    pub(super) fn changed(&mut self, now: Duration) -> Option<u32> {
        self.changed = now;
        self.begin_period(now);
        if self.logged >= MOST {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.left_out))
    }

    /// Whether the state of the link must be logged, because changes were left out and the link has settled, or a period is
    /// over. Returns how many changes were left out.
    pub(super) fn settled(&mut self, now: Duration) -> Option<u32> {
        if self.left_out == 0 {
            return None;
        }
        let is_over = self.begin_period(now);
        let has_settled = now >= self.changed + SETTLED && self.logged < MOST_LINES;
        if !is_over && !has_settled {
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.left_out))
    }

    /// Begins another period, if the last one is over.
    fn begin_period(&mut self, now: Duration) -> bool {
        let is_over = now >= self.since + PERIOD;
        if is_over {
            (self.since, self.logged) = (now, 0);
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_flaps_logs_few_lines_a_minute_and_how_many_were_left_out() {
        let at = Duration::from_secs;
        let mut flaps = Flaps::default();
        let logged: Vec<_> = (100..110).map(|second| flaps.changed(at(second))).collect();
        assert_eq!(logged[..8], [Some(0); 8]);
        assert_eq!(logged[8..], [None; 2]);
        assert_eq!(flaps.changed(at(160)), Some(2));
        assert_eq!(flaps.changed(at(161)), Some(0));
    }

    #[test]
    fn the_log_ends_with_the_state_of_the_link() {
        let at = Duration::from_secs;
        let mut flaps = Flaps::default();
        for second in 100..110 {
            flaps.changed(at(second));
        }
        assert_eq!(flaps.settled(at(111)), None, "it may change again");
        assert_eq!(flaps.settled(at(112)), Some(2));
        assert_eq!(flaps.settled(at(113)), None, "it was logged");
        let lines = (113..159).filter(|second| {
            let is_changed = second % 4 == 1;
            let line =
                if is_changed { flaps.changed(at(*second)) } else { flaps.settled(at(*second)) };
            line.is_some()
        });
        assert_eq!(
            lines.count(),
            1,
            "a link that changes every four seconds does not flood the log"
        );
        assert!(flaps.settled(at(160)).is_some_and(|left_out| left_out > 3), "the period is over");
    }
}
