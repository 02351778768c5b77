//! The times for which this process did not run: it was stopped, or its machine was suspended or overloaded. What was not
//! received meanwhile says nothing about the others.

use std::time::Duration;

use super::status::Pause;

/// A turn that begins so much later than it was due counts as a pause: the process did not listen meanwhile.
const COUNTED: Duration = Duration::from_secs(1);

/// A pause of this length is logged, and the status shows it.
const NOTED: Duration = Duration::from_secs(3);

/// A moment, by the monotonic clock and by the time for which this process had run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    /// The monotonic clock.
    pub(super) at: Duration,
    /// The same without the pauses of this process.
    pub(super) ran: Duration,
}

impl Moment {
    /// How long ago it was.
    pub(super) fn ago(self, now: Moment) -> Duration {
        now.at.saturating_sub(self.at)
    }

    /// For how long this process has run since.
    pub(super) fn listened(self, now: Moment) -> Duration {
        now.ran.saturating_sub(self.ran)
    }

    /// For how long it has not run since.
    pub(super) fn paused(self, now: Moment) -> Duration {
        self.ago(now).saturating_sub(self.listened(now))
    }
}

/// The pauses of this process. A clock that stops while a machine is suspended, as on Linux, shows none: then it counts no
/// silence either.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// When the last turn began; none before the first one.
    turned: Option<Duration>,
    /// The sum of all pauses.
    total: Duration,
    /// When the last one that is noted ended, and how long it was.
    last: Option<(Duration, Duration)>,
}

impl Pauses {
    /// A turn begins, which was due within a time after the last one. Returns how long the process did not run, if it was a
    /// pause, and whether that is to be logged.
    pub(super) fn turn(&mut self, now: Duration, due: Duration) -> Option<(Duration, bool)> {
        let before = self.turned.replace(now)?;
        let late = now.saturating_sub(before).saturating_sub(due);
        if late < COUNTED {
            return None;
        }
        self.total += late;
        let is_noted = late >= NOTED;
        if is_noted {
            self.last = Some((now, late));
        }
        Some((late, is_noted))
    }

    /// A time of the monotonic clock after the last pause, with the time for which the process had run.
    pub(super) fn moment(&self, at: Duration) -> Moment {
        Moment { at, ran: at.saturating_sub(self.total) }
    }

    /// The sum of all pauses.
    pub(super) fn total(&self) -> Duration {
        self.total
    }

    /// The last pause that is noted.
    pub(super) fn last(&self, now: Duration) -> Option<Pause> {
        let (ended, lasted) = self.last?;
        Some(Pause { lasted, ended: now.saturating_sub(ended) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_for_which_a_process_did_not_run_is_no_time_in_which_it_listened() {
        let ms = Duration::from_millis;
        let (mut pauses, due) = (Pauses::default(), ms(500));
        assert_eq!(pauses.turn(ms(100_000), due), None, "the first turn");
        assert_eq!(pauses.turn(ms(101_400), due), None, "a little late");
        let before = pauses.moment(ms(101_400));
        assert_eq!(pauses.turn(ms(162_000), due), Some((ms(60_100), true)));
        let now = pauses.moment(ms(162_000));
        assert_eq!((before.ago(now), before.listened(now)), (ms(60_600), ms(500)));
        assert_eq!(before.paused(now), ms(60_100));
        assert_eq!(
            pauses.turn(ms(164_000), due),
            Some((ms(1_500), false)),
            "an overloaded machine"
        );
        let last = Pause { lasted: ms(60_100), ended: ms(2_000) };
        assert_eq!(pauses.last(ms(164_000)), Some(last));
    }
}
