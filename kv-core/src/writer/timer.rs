//! When a sync is due that no caller waits for, and when garbage is collected.

use std::time::Duration;

/// Time that writers have the disk to themselves between two steps of garbage collection with more to do.
const GC_PAUSE: Duration = Duration::from_millis(20);

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

/// Paces garbage collection. Before each step the engine gets a chance to recover.
#[derive(Clone, Copy, Debug)]
pub(super) enum GcTimer {
    /// The next step is due at this time, after a short pause, and nobody has run since the last one. That step
    /// may have taken longer than the pause, so a commit or a turn that waits goes first.
    Yielding(Duration),
    /// The next step is due at this time.
    Waiting(Duration),
    /// The engine had its chance; the step is due now.
    Ready,
}

impl GcTimer {
    /// Bodies that waited to be freed when the store was closed go first.
    pub(super) fn new(now: Duration, interval: Duration) -> GcTimer {
        GcTimer::Waiting(now + GC_PAUSE.min(interval))
    }

    /// When the next part is due.
    pub(super) fn due(self) -> Duration {
        match self {
            GcTimer::Yielding(at) | GcTimer::Waiting(at) => at,
            GcTimer::Ready => Duration::ZERO,
        }
    }

    /// The engine was seen to.
    pub(super) fn recovered(&mut self, now: Duration) {
        if self.due() <= now {
            *self = GcTimer::Ready;
        }
    }

    /// A step ended, perhaps with more to do.
    pub(super) fn collected(&mut self, now: Duration, interval: Duration, has_more: bool) {
        let wait = if has_more { GC_PAUSE.min(interval) } else { interval };
        let is_short = wait <= GC_PAUSE;
        *self = if is_short { GcTimer::Yielding(now + wait) } else { GcTimer::Waiting(now + wait) };
    }

    /// A commit or a turn has run.
    pub(super) fn yielded(&mut self) {
        if let GcTimer::Yielding(at) = *self {
            *self = GcTimer::Waiting(at);
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
    fn garbage_is_collected_after_the_interval_or_after_a_pause_if_there_is_more() {
        let mut timer = GcTimer::new(SECOND, SECOND);
        assert_eq!(timer.due(), SECOND + GC_PAUSE, "what a closed store left goes first");
        timer.recovered(SECOND);
        assert!(matches!(timer, GcTimer::Waiting(_)), "it is not due yet");
        timer.recovered(2 * SECOND);
        assert!(matches!(timer, GcTimer::Ready));
        timer.collected(2 * SECOND, SECOND, true);
        assert_eq!(timer.due(), 2 * SECOND + GC_PAUSE);
        timer.collected(2 * SECOND, SECOND, false);
        assert_eq!(timer.due(), 3 * SECOND);
    }
}
