//! When a peer is sent this location's progress: soon after a change, and from time to time without one.
//!
//! Each location reports to every other one how much it has of each origin, so the total grows with the third power of
//! their number. Nothing waits for it but the stable timestamp, and the search for writes that do not arrive. So the more
//! members there are, the less often it is sent.

use std::time::Duration;

/// How often progress is sent where nothing changes.
const IDLE: Duration = Duration::from_secs(3);

/// How often progress is sent at most where much changes, in a small cluster and where something waits for it.
pub(super) const BUSY: Duration = Duration::from_millis(20);

/// For each member, how much time there is at least between two progress messages where much changes. With it a location
/// sends and receives at most 200 of them a second, however many members there are.
const EACH: Duration = Duration::from_millis(5);

/// Returns the shortest time between two progress messages to a peer, in a cluster of `members` members.
pub(super) fn pace(members: usize) -> Duration {
    let members = u32::try_from(members).unwrap_or(u32::MAX);
    EACH.saturating_mul(members).clamp(BUSY, IDLE)
}

/// The sending of progress to one peer.
#[derive(Debug)]
pub(super) enum Announcing {
    /// Nothing has changed since progress was sent at this time.
    Quiet(Duration),
    /// Something has changed since progress was sent at this time.
    Changed(Duration),
    /// Something waits for progress, which was last sent at this time.
    Urgent(Duration),
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

    /// Something waits for this location's progress.
    pub(super) fn urgent(&mut self) {
        if let Announcing::Quiet(sent) | Announcing::Changed(sent) = *self {
            *self = Announcing::Urgent(sent);
        }
    }

    /// Progress is sent with the next message.
    pub(super) fn due(&mut self) {
        *self = Announcing::Due;
    }

    /// Whether progress is sent with the next message.
    pub(super) fn is_due(&self) -> bool {
        matches!(self, Announcing::Due)
    }

    /// Whether progress is sent with the next message; then it counts as sent.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let is_due = self.is_due();
        if is_due {
            *self = Announcing::Quiet(now);
        }
        is_due
    }

    /// Makes progress due if its time has come. `pace` is how often it is sent at most.
    pub(super) fn watch(&mut self, now: Duration, pace: Duration) {
        if self.timeout(pace).is_some_and(|at| now >= at) {
            *self = Announcing::Due;
        }
    }

    /// When progress is due; none if it is due already.
    pub(super) fn timeout(&self, pace: Duration) -> Option<Duration> {
        match *self {
            Announcing::Quiet(sent) => Some(sent + IDLE),
            Announcing::Changed(sent) => Some(sent + pace),
            Announcing::Urgent(sent) => Some(sent + BUSY),
            Announcing::Due => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn progress_is_sent_soon_after_a_change_and_seldom_without_one() {
        type Change = Option<fn(&mut Announcing)>;
        let cases: [(Change, u64); 3] =
            [(Some(Announcing::urgent), 1_020), (Some(Announcing::changed), 1_500), (None, 4_000)];
        for (change, due) in cases {
            let (mut announcing, pace) = (Announcing::Quiet(ms(1_000)), pace(100));
            change.into_iter().for_each(|change| change(&mut announcing));
            announcing.watch(ms(due - 1), pace);
            assert!(!announcing.take(ms(due - 1)), "{due}");
            announcing.watch(ms(due), pace);
            assert!(announcing.take(ms(due)) && !announcing.take(ms(due)), "{due}");
            assert_eq!(announcing.timeout(pace), Some(ms(due + 3_000)));
        }
    }

    #[test]
    fn progress_is_sent_less_often_where_there_are_many_members() {
        for (members, expected) in
            [(1, 20), (3, 20), (10, 50), (300, 1_500), (10_000, 3_000), (usize::MAX, 3_000)]
        {
            assert_eq!(pace(members), ms(expected), "{members}");
        }
    }
}
