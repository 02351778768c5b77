//! What locations report of themselves to each other: their conditions, and how far a session is. It changes nothing
//! but what a status shows.

use std::{collections::BTreeMap, time::Duration};

use super::status::SessionProgress;
use crate::{
    MemberId,
    condition::{Condition, MAX_CONDITIONS},
    wire::Report,
};

/// The reports that are sent, and those that were received.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// This location's conditions.
    own: Vec<Condition>,
    /// When its owner gave them.
    at: Duration,
    /// The exchange with each peer that a link is up to, from the first report on.
    peers: BTreeMap<MemberId, Exchange>,
}

/// The reports of a link.
#[derive(Debug, Default)]
struct Exchange {
    /// The last report that was sent.
    sent: Report,
    /// The next one, if it says something else.
    due: Option<Report>,
    /// The last one that arrived, and when.
    theirs: Option<(Report, Duration)>,
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
        let mut due = Vec::new();
        for (peer, receiving) in peers {
            let receiving = receiving.map(|session| (session.walked, session.of));
            let report = Report { conditions: self.own.clone(), receiving };
            let exchange = self.peers.entry(peer).or_default();
            exchange.due = (!exchange.sent.is_same(&report)).then_some(report);
            due.extend(exchange.due.is_some().then_some(peer));
        }
        due
    }

    /// The report that is due to a peer.
    pub(super) fn next(&mut self, now: Duration, peer: MemberId) -> Option<Report> {
        let exchange = self.peers.get_mut(&peer)?;
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
        self.peers.entry(from).or_default().theirs = Some((report, now));
    }

    /// The link to a peer has ended.
    pub(super) fn disconnect(&mut self, peer: MemberId) {
        self.peers.remove(&peer);
    }

    /// The conditions that a peer has last reported on this link.
    pub(super) fn conditions(&self, now: Duration, peer: MemberId) -> Vec<Condition> {
        let theirs = self.peers.get(&peer).and_then(|exchange| exchange.theirs.as_ref());
        let Some((report, at)) = theirs else { return Vec::new() };
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
    fn what_a_peer_reports_ages_here_and_is_forgotten_with_the_link() {
        let mut reports = Reports::default();
        let report = Report { conditions: vec![full(100)], receiving: Some((1, 2)) };
        reports.receive(at(1), PEER, report);
        assert_eq!(reports.conditions(at(3), PEER), [full(2_100)]);
        assert_eq!(reports.sending(PEER), Some(SessionProgress { walked: 1, of: 2 }));
        reports.disconnect(PEER);
        assert_eq!((reports.conditions(at(3), PEER), reports.sending(PEER)), (Vec::new(), None));
    }

    #[test]
    fn a_location_reports_a_bounded_number_of_conditions() {
        let mut reports = Reports::default();
        reports.follow(at(1), vec![full(0); MAX_CONDITIONS + 1], [(PEER, None)].into_iter());
        let sent = reports.next(at(1), PEER).expect("a report");
        assert_eq!(sent.conditions.len(), MAX_CONDITIONS);
    }
}
