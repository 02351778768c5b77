//! The alarms about writes that do not get where they should: those that are not taken, rows that are refused, conflicts,
//! and catch-up that fails again and again.

use std::time::Duration;

use kv_core::MemberId;
use kv_replicate::{
    CLAIM, FAR_AHEAD,
    quic::{Arrears, Pace, Peer},
};

use super::{
    alarm::Alarm,
    kind::{AlarmKind, CATCHING_UP},
    snapshot::Member,
    times::{duration, writes},
};
use crate::{cluster::state::dates::minute, membership::PeerIncidents};

/// Writes that wait this long although there is a link are an alarm, in seconds.
const PATIENCE_SECONDS: u64 = 60;

/// The alarms about writes.
pub(super) fn alarms(member: &Member, now: u64) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    for (id, name, peer) in member.peers() {
        alarms.extend(not_taken(id, &name, peer, now));
        if let Some(incidents) = member.incidents.peers.get(&id) {
            alarms.extend(of_incidents(id, &name, incidents, now));
        }
    }
    alarms
}

/// The alarm about writes that a peer with a link does not take. That it lacks them is known from its own reports; why
/// is not, unless it reports that too.
fn not_taken(id: MemberId, name: &str, peer: &Peer, now: u64) -> Option<Alarm> {
    let there = peer.missing_there.filter(|_| peer.is_connected && !catches_up(peer))?;
    let since = stuck(there, peer.up_for.unwrap_or_default(), now)?;
    let text = format!(
        "{name} has a link to this location and has not taken {} since {}: if it reports no reason here, see `waypost \
         cluster status` and the log there. The writes are kept here and sent as soon as it takes them",
        writes(there.writes),
        minute(since)
    );
    Some(Alarm::about(AlarmKind::WritesNotTaken, id, text).since(since))
}

/// Since when writes wait although there is a link, if that is long.
fn stuck(arrears: Arrears, up_for: Duration, now: u64) -> Option<u64> {
    let seconds = arrears.lasting.min(up_for).as_secs();
    (arrears.writes > 0 && seconds >= PATIENCE_SECONDS).then(|| now.saturating_sub(seconds))
}

/// Whether a peer catches up: from here, and it moves, or from another location, as it reports.
fn catches_up(peer: &Peer) -> bool {
    let reports_it = peer.conditions.iter().any(|one| one.code == CATCHING_UP);
    is_moving(peer.sending) || (peer.sending.is_none() && reports_it)
}

/// Whether a session is under way.
fn is_moving(pace: Option<Pace>) -> bool {
    pace.is_some_and(|pace| pace.per_second.is_none_or(|rate| rate > 0.0))
}

/// The alarms about what the replica has noticed of a peer.
fn of_incidents(id: MemberId, name: &str, incidents: &PeerIncidents, now: u64) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    if let Some((since, times)) = incidents.failing {
        let text = format!(
            "catch-up from {name} has failed {times} times since {}: what only {name} has does not arrive here. It \
             continues from where it stopped each time. See the log here and there, and the other alarms of both",
            minute(since)
        );
        alarms.push(Alarm::about(AlarmKind::CatchUpFails, id, text).since(since));
    }
    if let Some((since, reason)) = incidents.refused {
        let last = duration(now.saturating_sub(incidents.refused_last).saturating_mul(1000));
        let text = format!(
            "{name} sends rows that this location refuses ({reason}), last {last} ago: {}",
            what_follows(reason)
        );
        alarms.push(Alarm::about(AlarmKind::RowsRefused, id, text).since(since));
    }
    if let Some(since) = incidents.conflict {
        let text = format!(
            "{name} holds another write of the same version as one here, since {}: two stores have written under one \
             identity, as after a copy of a data directory was started twice. Each keeps what it has. Run `waypost \
             cluster verify {name}`, and write the keys again that it names; the alarm ends at both once they are equal",
            minute(since)
        );
        alarms.push(Alarm::about(AlarmKind::Conflict, id, text).since(since));
    }
    alarms
}

/// What becomes of refused rows, and what to do about them.
fn what_follows(reason: &str) -> &'static str {
    match reason {
        CLAIM => {
            "the link is closed if that goes on for 30 s. That location lies, or has believed one that does: see \
             docs/alarms.md"
        }
        FAR_AHEAD => {
            "nothing of it is taken over until most other locations confirm that time. Set this machine's clock if it is \
             behind, and see that most locations are linked"
        }
        _ => {
            "they are not applied here, and the link to it is made again each time. Upgrade the older one of the two, and \
             report this as a bug if both run the same version"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarms::testing::{AMS, NOW, linked, member};

    fn lacking(seconds: u64) -> Peer {
        let mut peer = linked();
        peer.missing_there = Some(Arrears { writes: 3, lasting: Duration::from_secs(seconds) });
        peer.up_for = Some(Duration::from_secs(3_600));
        peer
    }

    fn found(peer: Peer) -> Vec<Alarm> {
        alarms(&member([(AMS, peer)]), NOW)
    }

    #[test]
    fn writes_that_a_linked_peer_does_not_take_for_a_minute_are_an_alarm() {
        assert_eq!(found(linked()), []);
        assert_eq!(found(lacking(59)), []);
        let [alarm] = &found(lacking(60))[..] else { panic!("one alarm") };
        assert_eq!((alarm.kind, alarm.since), (AlarmKind::WritesNotTaken, Some(NOW - 60)));
        assert!(alarm.text.contains("not taken 3 writes since"), "{alarm:?}");
        let mut away = lacking(90);
        away.is_connected = false;
        assert_eq!(found(away), [], "the alarm about the link says it");
        let mut back = lacking(3_600);
        back.up_for = Some(Duration::from_secs(59));
        assert_eq!(found(back), [], "it has a link again since less than a minute");
    }

    #[test]
    fn writes_that_a_peer_does_not_take_while_it_catches_up_from_another_location_are_not_an_alarm()
    {
        let mut peer = lacking(90);
        peer.conditions =
            vec![kv_replicate::Condition { code: CATCHING_UP, about: None, for_ms: 0 }];
        assert_eq!(found(peer), []);
    }

    #[test]
    fn writes_that_wait_for_a_session_under_way_are_not_an_alarm() {
        for (per_second, count) in [(Some(10.0), 0), (None, 0), (Some(0.0), 1)] {
            let mut peer = lacking(90);
            peer.sending = Some(Pace { per_second, rest: None });
            assert_eq!(found(peer).len(), count, "{per_second:?}");
        }
    }

    #[test]
    fn what_the_replica_has_noticed_of_a_peer_is_an_alarm() {
        let mut member = member([(AMS, linked())]);
        let incidents = PeerIncidents {
            failing: Some((NOW - 90, 7)),
            refused: Some((NOW - 30, "a key is too long")),
            refused_last: NOW - 5,
            conflict: Some(NOW - 10),
            equal: None,
        };
        member.incidents.peers.insert(AMS, incidents);
        let alarms = alarms(&member, NOW);
        let kinds: Vec<_> = alarms.iter().map(|alarm| alarm.kind).collect();
        let all = [AlarmKind::CatchUpFails, AlarmKind::RowsRefused, AlarmKind::Conflict];
        assert_eq!(kinds, all);
        assert!(alarms[0].text.contains("failed 7 times since 2027-01-15"), "{alarms:?}");
        assert!(alarms[1].text.contains("(a key is too long), last 5.0 s ago"), "{alarms:?}");
        assert!(alarms[2].text.contains("waypost cluster verify ams"), "{alarms:?}");
    }
}
