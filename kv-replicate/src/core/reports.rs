//! What locations report of themselves to each other: their conditions, and how far a session is. It changes no
//! data: a status shows it, and the owner may end an alarm by it.

use std::{collections::BTreeMap, time::Duration};

use super::status::SessionProgress;
use crate::{
    MemberId,
    condition::{Condition, MAX_CONDITIONS},
    wire::Report,
};

/// How long a peer's conditions outlive its link. Links may come and go because of a condition, which must not seem to end
/// with each of them; a peer that does not return counts as unreachable then.
const HELD: Duration = Duration::from_secs(60);

/// How long a peer may take to report on a new link: one that says nothing by then has no conditions any more.
const SILENT: Duration = Duration::from_secs(3);

/// The reports that are sent, and those that were received.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// This location's conditions.
    own: Vec<Condition>,
    /// When its owner gave them.
    at: Duration,
    /// The exchange with each peer that a link is up to, from the first report on.
    peers: BTreeMap<MemberId, Exchange>,
    /// The conditions of peers whose links have ended: when they were reported, and when the link ended, to about a second.
    held: BTreeMap<MemberId, (Report, Duration, Duration)>,
}

/// The reports of a link.
#[derive(Debug)]
struct Exchange {
    /// When it began.
    since: Duration,
    /// The last report that was sent.
    sent: Report,
    /// The next one, if it says something else.
    due: Option<Report>,
    /// The last one that arrived, and when.
    theirs: Option<(Report, Duration)>,
}

impl Exchange {
    /// The exchange on a new link, which begins with these conditions.
    fn begin(now: Duration, own: &[Condition]) -> Exchange {
        let report = Report { conditions: own.to_vec(), receiving: None };
        let due = (!own.is_empty()).then_some(report);
        Exchange { since: now, sent: Report::default(), due, theirs: None }
    }
}

impl Reports {
    /// This location's conditions are these now. Each peer is sent them if they differ from what it knows, together
    /// with how far the session is in which rows come from it. Returns the peers that a report is due to.
    pub(super) fn follow(
        &mut self,
        now: Duration,
        own: Vec<Condition>,
        peers: impl Iterator<Item = (MemberId, Option<SessionProgress>)>,
    ) -> Vec<MemberId> {
        (self.own, self.at) = (own, now);
        self.own.truncate(MAX_CONDITIONS);
        self.held.retain(|_, (.., ended)| now < *ended + HELD);
        let mut due = Vec::new();
        for (peer, receiving) in peers {
            let receiving = receiving.map(|session| (session.walked, session.of));
            let report = Report { conditions: self.own.clone(), receiving };
            let exchange = self.peers.entry(peer);
            let exchange = exchange.or_insert_with(|| Exchange::begin(now, &self.own));
            exchange.due = (!exchange.sent.is_same(&report)).then_some(report);
            due.extend(exchange.due.is_some().then_some(peer));
        }
        due
    }

    /// The report that is due to a peer. On a new link the conditions are due at once: they may be why it does not last.
    pub(super) fn next(&mut self, now: Duration, peer: MemberId) -> Option<Report> {
        let exchange = self.peers.entry(peer).or_insert_with(|| Exchange::begin(now, &self.own));
        let mut report = exchange.due.take()?;
        exchange.sent = report.clone();
        let waited = millis(now.saturating_sub(self.at));
        for condition in &mut report.conditions {
            condition.for_ms = condition.for_ms.saturating_add(waited);
        }
        Some(report)
    }

    /// A peer's report arrived.
    pub(super) fn receive(&mut self, now: Duration, from: MemberId, report: Report) {
        self.held.remove(&from);
        let exchange = self.peers.entry(from).or_insert_with(|| Exchange::begin(now, &self.own));
        exchange.theirs = Some((report, now));
    }

    /// The link to a peer has ended.
    pub(super) fn disconnect(&mut self, peer: MemberId) {
        let theirs = self.peers.remove(&peer).and_then(|exchange| exchange.theirs);
        if let Some((report, at)) = theirs.filter(|(report, _)| !report.conditions.is_empty()) {
            self.held.insert(peer, (report, at, self.at));
        }
    }

    /// The conditions that a peer has last reported: on this link, or on the last one, if that has ended of late and the
    /// peer has not reported since.
    pub(super) fn conditions(&self, now: Duration, peer: MemberId) -> Vec<Condition> {
        let exchange = self.peers.get(&peer);
        let theirs = exchange.and_then(|exchange| exchange.theirs.as_ref());
        let is_new = exchange.is_none_or(|exchange| now < exchange.since + SILENT);
        let held = self.held.get(&peer).filter(|(.., ended)| is_new && now < *ended + HELD);
        let held = held.map(|(report, at, _)| (report, at));
        let Some((report, at)) = theirs.map(|(report, at)| (report, at)).or(held) else {
            return Vec::new();
        };
        let since = millis(now.saturating_sub(*at));
        let aged = |condition: &Condition| Condition {
            for_ms: condition.for_ms.saturating_add(since),
            ..*condition
        };
        report.conditions.iter().map(aged).collect()
    }

    /// How far a peer has last reported to be with the session from this location.
    pub(super) fn sending(&self, peer: MemberId) -> Option<SessionProgress> {
        let (report, _) = self.peers.get(&peer)?.theirs.as_ref()?;
        report.receiving.map(|(walked, of)| SessionProgress { walked, of })
    }
}

/// Whole milliseconds.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{PEER, THIRD};

    fn full(for_ms: u64) -> Condition {
        Condition { code: 3, about: Some(THIRD), for_ms }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_report_is_sent_only_when_it_has_something_new() {
        let mut reports = Reports::default();
        reports.follow(at(1), Vec::new(), [(PEER, None)].into_iter());
        assert_eq!(reports.next(at(1), PEER), None, "a location that is well says nothing");
        reports.follow(at(2), vec![full(500)], [(PEER, None)].into_iter());
        let sent = reports.next(at(3), PEER).expect("a report");
        assert_eq!(sent.conditions, [full(1_500)], "it lasted another second until it was sent");
        reports.follow(at(4), vec![full(2_500)], [(PEER, None)].into_iter());
        assert_eq!(reports.next(at(4), PEER), None, "it only lasts longer");
        reports.follow(at(5), Vec::new(), [(PEER, None)].into_iter());
        assert_eq!(reports.next(at(5), PEER), Some(Report::default()), "it has ended");
    }

    #[test]
    fn a_peer_is_sent_how_far_its_session_is_and_a_new_link_begins_again() {
        let mut reports = Reports::default();
        let session = Some(SessionProgress { walked: 5, of: 9 });
        reports.follow(at(1), vec![full(0)], [(PEER, session)].into_iter());
        assert_eq!(reports.next(at(1), PEER).and_then(|report| report.receiving), Some((5, 9)));
        reports.disconnect(PEER);
        reports.follow(at(2), vec![full(0)], [(PEER, session)].into_iter());
        assert!(reports.next(at(2), PEER).is_some(), "the new link knows nothing of it");
    }

    #[test]
    fn on_a_new_link_the_conditions_are_reported_at_once() {
        let mut reports = Reports::default();
        reports.follow(at(1), vec![full(500)], [].into_iter());
        let sent = reports.next(at(2), PEER).expect("a report");
        assert_eq!(sent.conditions, [full(1_500)]);
        assert_eq!(reports.next(at(2), PEER), None);
        reports.disconnect(PEER);
        assert!(reports.next(at(2), PEER).is_some());
    }

    #[test]
    fn conditions_outlive_the_link_until_the_peer_reports_again_or_a_minute_has_passed() {
        let mut reports = Reports::default();
        let report = || Report { conditions: vec![full(100)], receiving: None };
        reports.receive(at(1), PEER, report());
        reports.follow(at(2), Vec::new(), [].into_iter());
        reports.disconnect(PEER);
        assert_eq!(reports.conditions(at(3), PEER), [full(2_100)]);
        reports.receive(at(4), PEER, Report::default());
        assert_eq!(reports.conditions(at(4), PEER), [], "it has ended");
        reports.receive(at(5), PEER, report());
        reports.follow(at(6), Vec::new(), [].into_iter());
        reports.disconnect(PEER);
        assert_eq!(reports.conditions(at(65), PEER).len(), 1);
        assert_eq!(reports.conditions(at(66), PEER), []);
    }

    #[test]
    fn conditions_end_with_a_new_link_on_which_the_peer_reports_nothing() {
        let mut reports = Reports::default();
        reports.receive(at(1), PEER, Report { conditions: vec![full(100)], receiving: None });
        reports.disconnect(PEER);
        assert_eq!(reports.next(at(10), PEER), None, "the link is up");
        assert_eq!(reports.conditions(at(12), PEER).len(), 1);
        assert_eq!(reports.conditions(at(13), PEER), []);
    }

    #[test]
    fn what_a_peer_reports_ages_here_and_the_progress_is_forgotten_with_the_link() {
        let mut reports = Reports::default();
        let report = Report { conditions: vec![full(100)], receiving: Some((1, 2)) };
        reports.receive(at(1), PEER, report);
        assert_eq!(reports.conditions(at(3), PEER), [full(2_100)]);
        assert_eq!(reports.sending(PEER), Some(SessionProgress { walked: 1, of: 2 }));
        reports.disconnect(PEER);
        assert_eq!(reports.sending(PEER), None);
    }

    #[test]
    fn a_location_reports_a_bounded_number_of_conditions() {
        let mut reports = Reports::default();
        reports.follow(at(1), vec![full(0); MAX_CONDITIONS + 1], [(PEER, None)].into_iter());
        let sent = reports.next(at(1), PEER).expect("a report");
        assert_eq!(sent.conditions.len(), MAX_CONDITIONS);
    }
}
