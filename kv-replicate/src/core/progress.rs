//! When a peer is sent this location's progress: soon after a change, and now and then without one.

use std::time::Duration;

/// How often progress is sent where nothing changes.
const IDLE: Duration = Duration::from_secs(3);

/// How often progress is sent at most where much changes.
const BUSY: Duration = Duration::from_millis(20);

/// The sending of progress to one peer.
#[derive(Debug)]
pub(super) enum Announcing {
    /// Nothing has changed since progress was sent at this time.
    Quiet(Duration),
    /// Something has changed since progress was sent at this time.
    Changed(Duration),
    /// Progress is sent with the next message.
    Due,
}

impl Default for Announcing {
    fn default() -> Self {
        Announcing::Quiet(Duration::ZERO)
    }
}

impl Announcing {
    /// This location's progress has changed.
    pub(super) fn changed(&mut self) {
        if let Announcing::Quiet(sent) = *self {
            *self = Announcing::Changed(sent);
        }
    }

    /// Whether progress is sent with the next message; then it counts as sent.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let is_due = matches!(self, Announcing::Due);
        if is_due {
            *self = Announcing::Quiet(now);
        }
        is_due
    }

    /// Makes progress due if its time has come.
    pub(super) fn watch(&mut self, now: Duration) {
        if self.timeout().is_some_and(|at| now >= at) {
            *self = Announcing::Due;
        }
    }

    /// When progress is due; none if it is due already.
    pub(super) fn timeout(&self) -> Option<Duration> {
        match *self {
            Announcing::Quiet(sent) => Some(sent + IDLE),
            Announcing::Changed(sent) => Some(sent + BUSY),
            Announcing::Due => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_sent_soon_after_a_change_and_seldom_without_one() {
        let at = Duration::from_millis;
        for (is_changed, due) in [(true, 1_020), (false, 4_000)] {
            let mut announcing = Announcing::Quiet(at(1_000));
            if is_changed {
                announcing.changed();
            }
            announcing.watch(at(due - 1));
            assert!(!announcing.take(at(due - 1)), "{due}");
            announcing.watch(at(due));
            assert!(announcing.take(at(due)) && !announcing.take(at(due)), "{due}");
            assert_eq!(announcing.timeout(), Some(at(due + 3_000)));
        }
    }
}
