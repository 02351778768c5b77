//! The attempts to reach a peer.

use std::time::Duration;

use tokio::task::AbortHandle;

/// A link that lasts this long counts as stable: its end is not a failure. Until then it is not
/// given up for another one, if it is the right one of two.
pub(super) const LASTING: Duration = Duration::from_secs(10);

/// The attempts to reach a peer, and their results.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Failures in a row.
    failures: u32,
    /// The reason of the last failure; none if there was none.
    last_error: Option<String>,
    /// Whether somebody answered the last attempt that failed.
    is_answered: bool,
    /// Since when there has been no link; none while one is up.
    down_since: Option<Duration>,
    /// When the first of the last links ended that did not last; none if the last one that has ended lasted.
    unstable_since: Option<Duration>,
    /// The attempt that waits or is under way.
    task: Option<AbortHandle>,
}

impl Attempts {
    /// An attempt is under way.
    pub(super) fn begin(&mut self, task: AbortHandle, now: Duration) {
        self.task = Some(task);
        self.down_since.get_or_insert(now);
    }

    /// Ends the attempt that waits or is under way.
    pub(super) fn end(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    /// Former failures say nothing about the next attempt, which is made at once.
    pub(super) fn restart(&mut self) {
        self.end();
        self.failures = 0;
    }

    /// An attempt has failed, although somebody may have answered it.
    pub(super) fn failed(&mut self, error: String, is_answered: bool) {
        self.end();
        self.is_answered = is_answered;
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(error);
    }

    /// A link is up.
    pub(super) fn linked(&mut self) {
        self.end();
        self.is_answered = false;
        self.down_since = None;
    }

    /// A link that came up and ended at these times was replaced by another one that the peer has made: nothing need be
    /// dialled, and the pause before the next attempt stays as it is.
    pub(super) fn link_replaced(&mut self, (since, now): (Duration, Duration), error: &str) {
        if now.saturating_sub(since) >= LASTING {
            self.unstable_since = None;
        } else {
            self.unstable_since.get_or_insert(now);
        }
        self.last_error = Some(error.to_owned());
    }

    /// A link that came up and ended at these times has ended. The peer was last heard at the time `heard`. If the peer has
    /// replaced it, another process runs as this location, however long the link has lasted: the longer both wait then,
    /// the more each gets done in its turn.
    pub(super) fn link_ended(
        &mut self,
        (since, now): (Duration, Duration),
        heard: Duration,
        (error, is_replaced): (&str, bool),
    ) {
        let has_lasted = now.saturating_sub(since) >= LASTING;
        if has_lasted {
            self.unstable_since = None;
        }
        if has_lasted && !is_replaced {
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
            self.unstable_since.get_or_insert(now);
        }
        self.down_since.get_or_insert(heard);
        self.last_error = Some(error.to_owned());
    }

    /// Whether an attempt waits or is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.task.is_some()
    }

    /// How many attempts or links have failed in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether somebody answered the last attempt that failed, since the last link.
    pub(super) fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// The reason of the last failure.
    pub(super) fn last_error(&self) -> Option<&String> {
        self.last_error.as_ref()
    }

    /// How long there has been no link.
    pub(super) fn down_for(&self, now: Duration) -> Option<Duration> {
        self.down_since.map(|since| now.saturating_sub(since))
    }

    /// For how long links have come and gone: one that is up may last.
    pub(super) fn unstable_for(&self, now: Duration) -> Option<Duration> {
        self.unstable_since.map(|since| now.saturating_sub(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_until_a_link_has_lasted() {
        let at = Duration::from_secs;
        let mut attempts = Attempts::default();
        attempts.failed("no answer".into(), false);
        attempts.linked();
        attempts.link_ended((at(10), at(15)), at(15), ("lost", false));
        assert_eq!((attempts.failures(), attempts.down_for(at(20))), (2, Some(at(5))));
        assert_eq!(attempts.unstable_for(at(20)), Some(at(5)));
        attempts.linked();
        assert_eq!(attempts.down_for(at(20)), None, "a location with a link is not down");
        attempts.link_ended((at(20), at(30)), at(30), ("lost", true));
        assert_eq!((attempts.failures(), attempts.down_for(at(31))), (3, Some(at(1))), "a copy");
        attempts.linked();
        attempts.link_ended((at(40), at(50)), at(50), ("lost", false));
        assert_eq!((attempts.failures(), attempts.down_for(at(51))), (0, Some(at(1))));
        assert_eq!(attempts.unstable_for(at(51)), None);
    }

    #[test]
    fn links_that_the_peer_replaces_are_unstable_and_do_not_delay_the_next_attempt() {
        let at = Duration::from_secs;
        let mut attempts = Attempts::default();
        attempts.link_replaced((at(10), at(15)), "replaced");
        assert_eq!((attempts.failures(), attempts.unstable_for(at(20))), (0, Some(at(5))));
        attempts.link_replaced((at(15), at(25)), "replaced");
        assert_eq!((attempts.failures(), attempts.unstable_for(at(30))), (0, None));
    }

    #[test]
    fn a_location_is_away_since_it_was_last_heard_and_not_since_that_was_noticed() {
        let at = Duration::from_secs;
        let mut attempts = Attempts::default();
        attempts.link_ended((at(10), at(100)), at(85), ("lost", false));
        assert_eq!(attempts.down_for(at(145)), Some(at(60)));
    }
}
