//! When a sync is due that no caller waits for, and when garbage is collected.

use std::time::Duration;

use super::pace::GcPace;

/// The time until the first step of garbage collection of a process.
const FIRST: Duration = Duration::from_millis(20);

/// Kinds of commits that are not durable yet and that no caller waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsynced {
    /// Writes of callers that were answered already (relaxed durability).
    Acknowledged,
    /// Rows that peers sent.
    Replicated,
    /// Rows that garbage collection changed.
    Collected,
}

/// When each of them must be durable, if there is any.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SyncTimer([Option<Duration>; 3]);

impl SyncTimer {
    /// Expects a sync at `by` at the latest. An earlier expectation stays.
    pub(super) fn expect(&mut self, what: Unsynced, by: Duration) {
        self.0[what as usize].get_or_insert(by);
    }

    /// Replaces what was expected.
    pub(super) fn set(&mut self, what: Unsynced, by: Option<Duration>) {
        self.0[what as usize] = by;
    }

    pub(super) fn waits_for(&self, what: Unsynced) -> bool {
        self.0[what as usize].is_some()
    }

    /// When the first is due.
    pub(super) fn due(&self) -> Option<Duration> {
        self.0.into_iter().flatten().min()
    }
}

/// When garbage is collected. Before each step the engine gets a chance to recover.
#[derive(Clone, Copy, Debug)]
pub(super) enum GcTimer {
    /// There is more to do, and the next step is due soon.
    More {
        /// When the last step began.
        started: Duration,
        /// Whether a commit or a turn has run since. If not, one that waits goes first: the last step may have taken
        /// longer than the pause.
        is_busy: bool,
        /// The longest pause.
        interval: Duration,
    },
    /// The next step is due at this time.
    Waiting(Duration),
    /// The engine had its chance; the step is due now.
    Ready,
}

impl GcTimer {
    /// Bodies that waited to be freed when the store was closed go first.
    pub(super) fn new(now: Duration, interval: Duration) -> GcTimer {
        GcTimer::Waiting(now + FIRST.min(interval))
    }

    /// When the next part is due, at a pace.
    pub(super) fn due(self, pace: &GcPace) -> Duration {
        match self {
            GcTimer::More { started, is_busy, interval } => {
                started + pace.pause(is_busy).min(interval)
            }
            GcTimer::Waiting(at) => at,
            GcTimer::Ready => Duration::ZERO,
        }
    }

    /// Whether a commit or a turn that waits goes first.
    pub(super) fn yields(self) -> bool {
        matches!(self, GcTimer::More { is_busy: false, .. })
    }

    /// The engine had its chance to recover.
    pub(super) fn recovered(&mut self, now: Duration, pace: &GcPace) {
        if self.due(pace) <= now {
            *self = GcTimer::Ready;
        }
    }

    /// A step that began now has ended. It may have left more to do.
    pub(super) fn collected(&mut self, now: Duration, interval: Duration, has_more: bool) {
        *self = if has_more || interval <= FIRST {
            GcTimer::More { started: now, is_busy: false, interval }
        } else {
            GcTimer::Waiting(now + interval)
        };
    }

    /// A commit or a turn has run.
    pub(super) fn worked(&mut self) {
        if let GcTimer::More { is_busy, .. } = self {
            *is_busy = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_sync_is_due_for_the_first_that_waits() {
        let mut timer = SyncTimer::default();
        assert_eq!(timer.due(), None);
        timer.expect(Unsynced::Replicated, 3 * SECOND);
        timer.expect(Unsynced::Replicated, 4 * SECOND);
        timer.expect(Unsynced::Acknowledged, 2 * SECOND);
        assert_eq!(timer.due(), Some(2 * SECOND));
        timer.set(Unsynced::Acknowledged, None);
        assert_eq!(timer.due(), Some(3 * SECOND), "the first expectation stays");
        assert!(timer.waits_for(Unsynced::Replicated) && !timer.waits_for(Unsynced::Collected));
    }

    #[test]
    fn garbage_is_collected_after_the_interval_or_sooner_if_there_is_more() {
        let pace = GcPace::default();
        let mut timer = GcTimer::new(SECOND, SECOND);
        assert_eq!(timer.due(&pace), SECOND + FIRST, "what a closed store left goes first");
        timer.recovered(SECOND, &pace);
        assert!(matches!(timer, GcTimer::Waiting(_)), "it is not due yet");
        timer.recovered(2 * SECOND, &pace);
        assert!(matches!(timer, GcTimer::Ready));
        timer.collected(2 * SECOND, SECOND, true);
        assert_eq!(timer.due(&pace), 2 * SECOND + pace.pause(false));
        assert!(timer.yields());
        timer.worked();
        assert_eq!(timer.due(&pace), 2 * SECOND + pace.pause(true));
        assert!(!timer.yields());
        timer.collected(2 * SECOND, SECOND, false);
        timer.worked();
        assert_eq!(timer.due(&pace), 3 * SECOND);
    }
}
