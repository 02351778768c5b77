//! The attempts to reach a peer.

use std::time::Duration;

use tokio::task::AbortHandle;

use super::pauses::Moment;

/// A link that lasts this long counts as stable: its end is not a failure. Until then it is not
/// given up for another one, if it is the right one of two.
pub(super) const LASTING: Duration = Duration::from_secs(10);

/// So many links in a row that did not last are no coincidence, such as a location that was restarted.
const UNSTABLE: u32 = 3;

/// Links that end further apart than this have nothing to do with each other.
const APART: Duration = Duration::from_secs(60);

/// Links that have ended one after the other, and did not last. Times are those for which this process had run.
#[derive(Clone, Copy, Debug)]
struct Short {
    /// When the first of them ended.
    since: Duration,
    /// When the last of them ended.
    last: Duration,
    /// How many there were.
    links: u32,
}

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
    down_since: Option<Moment>,
    /// The last links, if they did not last; none if the last one that has ended lasted.
    short: Option<Short>,
    /// The attempt that waits or is under way.
    task: Option<AbortHandle>,
}

impl Attempts {
    /// An attempt is under way.
    pub(super) fn begin(&mut self, task: AbortHandle, now: Moment) {
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

    /// A link that lasted so long was replaced by another one that the peer has made: nothing need be dialled, and the
    /// pause before the next attempt stays as it is.
    pub(super) fn link_replaced(&mut self, lasted: Duration, now: Moment, error: &str) {
        self.count_link(lasted, now, lasted < LASTING);
        self.last_error = Some(error.to_owned());
    }

    /// A link that lasted so long has ended. The last message of the peer arrived at the time `last`. If the peer has
    /// replaced the link, another process runs as this location, however long the link has lasted: the longer both wait
    /// then, the more each gets done in its turn.
    pub(super) fn link_ended(
        &mut self,
        lasted: Duration,
        (last, now): (Moment, Moment),
        (error, is_replaced): (&str, bool),
    ) {
        let has_failed = lasted < LASTING || is_replaced;
        self.failures = if has_failed { self.failures.saturating_add(1) } else { 0 };
        self.count_link(lasted, now, has_failed);
        self.down_since.get_or_insert(last);
        self.last_error = Some(error.to_owned());
    }

    /// Counts a link that has ended among those that did not last, if it is one.
    fn count_link(&mut self, lasted: Duration, Moment { ran: now, .. }: Moment, has_failed: bool) {
        if lasted >= LASTING {
            self.short = None;
        }
        if has_failed {
            let before = self.short.filter(|short| now.saturating_sub(short.last) <= APART);
            let short = before.unwrap_or(Short { since: now, last: now, links: 0 });
            self.short = Some(Short { last: now, links: short.links.saturating_add(1), ..short });
        }
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

    /// Since when there is no link; none while one is up.
    pub(super) fn down_since(&self) -> Option<Moment> {
        self.down_since
    }

    /// For how long links have come and gone: one that is up may last. A location that was away and returns has not come and
    /// gone.
    pub(super) fn unstable_for(&self, Moment { ran: now, .. }: Moment) -> Option<Duration> {
        let short = self.short.filter(|short| short.links >= UNSTABLE)?;
        (now.saturating_sub(short.last) <= APART).then(|| now.saturating_sub(short.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        let at = Duration::from_secs(seconds);
        Moment { at, ran: at }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A link ends, after it lasted for so many seconds.
    fn end(attempts: &mut Attempts, now: u64, lasted: u64, is_replaced: bool) {
        attempts.linked();
        attempts.link_ended(seconds(lasted), (at(now), at(now)), ("lost", is_replaced));
    }

    #[test]
    fn failures_count_until_a_link_has_lasted() {
        let mut attempts = Attempts::default();
        attempts.failed("no answer".into(), false);
        end(&mut attempts, 15, 5, false);
        assert_eq!((attempts.failures(), attempts.down_since()), (2, Some(at(15))));
        attempts.linked();
        assert_eq!(attempts.down_since(), None, "a location with a link is not down");
        end(&mut attempts, 30, 10, true);
        assert_eq!((attempts.failures(), attempts.down_since()), (3, Some(at(30))), "a copy");
        end(&mut attempts, 50, 10, false);
        assert_eq!((attempts.failures(), attempts.down_since()), (0, Some(at(50))));
    }

    #[test]
    fn links_that_come_and_go_are_unstable_from_the_third_one_on_until_one_lasts() {
        let mut attempts = Attempts::default();
        for (now, unstable) in [(15, None), (30, None), (45, Some(30)), (80, Some(65))] {
            end(&mut attempts, now, 5, false);
            assert_eq!(attempts.unstable_for(at(now)), unstable.map(seconds), "at {now}");
        }
        attempts.linked();
        assert_eq!(attempts.unstable_for(at(85)), Some(seconds(70)), "the next link may not last");
        end(&mut attempts, 95, 10, false);
        assert_eq!(attempts.unstable_for(at(95)), None);
    }

    #[test]
    fn a_location_that_was_away_and_returns_is_not_unstable() {
        let mut attempts = Attempts::default();
        end(&mut attempts, 15, 5, false);
        // It is away for five minutes.
        attempts.linked();
        assert_eq!(attempts.unstable_for(at(315)), None);
        for now in [320, 322, 324] {
            end(&mut attempts, now, 1, false);
        }
        assert_eq!(attempts.unstable_for(at(324)), Some(seconds(4)), "what was long ago is over");
        attempts.linked();
        assert_eq!(attempts.unstable_for(at(390)), None, "it was away again");
    }

    #[test]
    fn links_that_the_peer_replaces_are_unstable_and_do_not_delay_the_next_attempt() {
        let mut attempts = Attempts::default();
        for now in [15, 16, 17] {
            attempts.link_replaced(seconds(1), at(now), "replaced");
        }
        assert_eq!((attempts.failures(), attempts.unstable_for(at(17))), (0, Some(seconds(2))));
        attempts.link_replaced(seconds(10), at(27), "replaced");
        assert_eq!((attempts.failures(), attempts.unstable_for(at(27))), (0, None));
    }

    #[test]
    fn a_location_is_away_since_its_last_message_and_not_since_that_was_noticed() {
        let mut attempts = Attempts::default();
        attempts.link_ended(seconds(90), (at(85), at(100)), ("lost", false));
        assert_eq!(attempts.down_since(), Some(at(85)));
    }
}
