//! The alarms of a snapshot.

use kv_core::{MemberId, Mode};
use kv_replicate::Condition;

use super::{
    alarm::Alarm,
    clock, configuration, damage, directory,
    kind::{AlarmKind, CATCHING_UP},
    links,
    snapshot::{Member, Snapshot},
    store, titles, writes,
};
use crate::{
    cluster::{Expiring, state::dates::minute},
    membership::{FOUND_EQUAL, OriginState},
};

/// What remains of an ended process is exchanged within seconds once all locations are linked. This long is an alarm, in
/// seconds.
const UNSETTLED_SECONDS: u64 = 600;

/// Returns all alarms of a snapshot.
#[must_use]
pub fn alarms(snapshot: &Snapshot) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    match &snapshot.member {
        Some(Member { ended: Some(since), .. }) => alarms.push(ended(*since, &snapshot.mode)),
        Some(member) => alarms.extend(of_member(member, snapshot.now)),
        None => {}
    }
    alarms.extend(store::refuses_writes(&snapshot.mode, snapshot.room));
    alarms.extend(damage::alarms(&snapshot.damage));
    alarms.extend(titles::alarms(&snapshot.titles));
    alarms.extend(snapshot.lost.as_deref().map(directory::alarm));
    alarms.extend(configuration::alarm(&snapshot.configuration));
    alarms
}

/// The alarm about a replica that has ended although the server runs. What it knew of the others is too old to be an alarm.
fn ended(since: u64, mode: &Mode) -> Alarm {
    let why = match mode {
        Mode::Writer => "the log has the reason".into(),
        Mode::Waiting(why) | Mode::ReadOnly(why) | Mode::Closed(why) => {
            format!("the log has the reason, and the store says: {why}")
        }
    };
    let reads = match mode {
        Mode::Closed(_) => "Reads and writes are refused",
        _ => {
            "Reads are answered from what is here. Writes are refused, because no other location would get them"
        }
    };
    let text = format!(
        "this location has stopped replicating: its replica ended at {}; {why}. {reads}. What the status shows of other \
         locations is as of then. Restart the server",
        minute(since)
    );
    Alarm::here(AlarmKind::Halted, text).since(since)
}

/// The alarms of a member.
fn of_member(member: &Member, now: u64) -> Vec<Alarm> {
    if let Some(why) = member.status.halted {
        // Its view of the others is not meaningful then.
        let text = format!(
            "this location has stopped replicating: {why}. Until then it answers reads, and refuses writes"
        );
        return vec![Alarm::here(AlarmKind::Halted, text)];
    }
    let mut alarms = certificates(member, now);
    alarms.extend(links::alarms(member, now));
    alarms.extend(writes::alarms(member, now));
    alarms.extend(clock::alarms(member, now));
    alarms.extend(origins(&member.origins));
    alarms.extend(unsettled(member, now));
    alarms.extend(store::incidents(member));
    alarms
}

/// The alarm about certificates.
fn certificates(member: &Member, now: u64) -> Vec<Alarm> {
    let alarm = member.expiry.alarm(now, &member.renewal).map(|(what, text)| {
        let kind = match what {
            Expiring::Location => AlarmKind::CertificateExpires,
            Expiring::Ca => AlarmKind::CaExpires,
        };
        Alarm::here(kind, text)
    });
    alarm.into_iter().collect()
}

/// The alarms about the store's origins.
fn origins(state: &OriginState) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    if state.is_superseded {
        alarms.push(Alarm::here(
            AlarmKind::AnotherProcess,
            "another process runs as this location, on a copy of its data directory, and started later, so that this \
             one takes no more writes: stop one of the two; if this one is to continue, stop the other and restart \
             this one",
        ));
    }
    if state.is_rebuilding {
        alarms.push(Alarm::here(
            AlarmKind::Rebuilding,
            "this location was restored from a copy that is older than deletions that the others no longer keep, or \
             its store was lost: it takes what it lacks from another location, and serves none until then; if this \
             does not end, check that it has a link to another location",
        ));
    }
    if state.has_many() {
        let most = kv_core::limits::MAX_ORIGINS;
        let text = format!(
            "this cluster's locations have been started very often: it knows {} origins, two for each start, and can \
             have {most}; find out why they restart, and plan to move to a new cluster",
            state.known
        );
        alarms.push(Alarm::here(AlarmKind::ManyOrigins, text));
    }
    alarms
}

/// The alarm about writes of processes that have ended, which may be missing at a location although all are linked.
fn unsettled(member: &Member, now: u64) -> Option<Alarm> {
    let seconds = member.status.unsettled_for?.as_secs();
    let is_away = member.status.peers.values().any(|peer| !peer.is_connected);
    let is_waiting = is_away || !member.status.is_joined;
    if seconds < UNSETTLED_SECONDS || is_waiting {
        return None;
    }
    let since = now.saturating_sub(seconds);
    let text = format!(
        "since {} it is not known whether every location has all writes of processes that have ended: tombstones are kept \
         meanwhile, and the disk fills with deletions. See the other alarms here and at the other locations; if there are \
         none, restart this location, and report this as a bug if it stays",
        minute(since)
    );
    Some(Alarm::here(AlarmKind::Unsettled, text).since(since))
}

/// Returns what this location reports to its peers about itself: whether it catches up, which conflicts are over, and its own
/// alarms, without those that peers have reported, and since when they last. Of the alarms those come first that are alarms
/// elsewhere too: there is room for some only.
pub fn conditions<'a>(
    snapshot: &Snapshot,
    alarms: impl Iterator<Item = (&'a Alarm, u64)>,
) -> Vec<Condition> {
    let mut own: Vec<_> = alarms.filter(|(alarm, _)| !alarm.is_reported).collect();
    own.sort_by_key(|(alarm, _)| alarm.kind.audience());
    let told = own.into_iter().map(|(alarm, since)| Condition {
        code: alarm.kind.code(),
        about: alarm.about,
        for_ms: snapshot.now.saturating_sub(since).saturating_mul(1000),
    });
    let catching_up = Condition { code: CATCHING_UP, about: None, for_ms: 0 };
    let is_catching_up = snapshot.member.as_ref().is_some_and(catches_up);
    let equal = snapshot.member.iter().flat_map(|member| found_equal(member, snapshot.now));
    is_catching_up.then_some(catching_up).into_iter().chain(equal).chain(told).collect()
}

/// The locations that report a conflict with this one, and that a comparison here has found equal since: theirs is over, too.
fn found_equal(member: &Member, now: u64) -> impl Iterator<Item = Condition> + '_ {
    let reports_it = move |id: &MemberId, equal: u64| {
        let peer = member.status.peers.get(id)?;
        let conflict = peer.conditions.iter().find(|condition| {
            condition.code == AlarmKind::Conflict.code() && condition.about == Some(member.id)
        })?;
        (now.saturating_sub(conflict.for_ms / 1000) <= equal).then_some(())
    };
    member.incidents.peers.iter().filter_map(move |(id, incidents)| {
        let equal = incidents.equal?;
        reports_it(id, equal)?;
        let for_ms = now.saturating_sub(equal).saturating_mul(1000);
        Some(Condition { code: FOUND_EQUAL, about: Some(*id), for_ms })
    })
}

/// Whether a location receives a session, or joins.
fn catches_up(member: &Member) -> bool {
    let status = &member.status;
    !status.is_joined || status.peers.values().any(|peer| peer.receiving.is_some())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kv_replicate::HaltReason;

    use super::*;
    use crate::alarms::testing::{self, AMS, NOW, linked};

    #[test]
    fn a_location_that_stopped_replicating_has_no_other_alarm() {
        let mut away = linked();
        (away.is_connected, away.down_for) = (false, Some(Duration::from_secs(3600)));
        let mut member = testing::member([(AMS, away)]);
        member.status.halted = Some(HaltReason::Removed);
        member.expiry.location = NOW;
        let found = alarms(&testing::snapshot(Some(member)));
        let why = "this location was removed from the cluster: to join again, start it with an empty data \
                   directory and `waypost serve --join TOKEN`";
        let text = format!(
            "this location has stopped replicating: {why}. Until then it answers reads, and refuses writes"
        );
        assert_eq!(found, [Alarm::here(AlarmKind::Halted, text)]);
    }

    #[test]
    fn a_replica_that_has_ended_is_an_alarm_although_nothing_else_is_known() {
        let mut away = linked();
        (away.is_connected, away.silent_for) = (false, Some(Duration::from_secs(3600)));
        let mut member = testing::member([(AMS, away)]);
        member.ended = Some(NOW - 90);
        let mut snapshot = testing::snapshot(Some(member));
        let [alarm] = &alarms(&snapshot)[..] else { panic!("one alarm") };
        assert_eq!((alarm.kind, alarm.since), (AlarmKind::Halted, Some(NOW - 90)));
        assert!(alarm.text.contains("Reads are answered"), "{alarm:?}");
        snapshot.mode = Mode::Closed("the disk is gone".into());
        let text = alarms(&snapshot).remove(0).text;
        assert!(text.contains("the disk is gone. Reads and writes are refused"), "{text}");
    }

    #[test]
    fn writes_of_ended_processes_that_may_be_missing_for_long_are_an_alarm_if_all_are_linked() {
        let found = |seconds, is_connected| {
            let mut peer = linked();
            peer.is_connected = is_connected;
            let mut member = testing::member([(AMS, peer)]);
            member.status.unsettled_for = Some(Duration::from_secs(seconds));
            unsettled(&member, NOW).map(|alarm| (alarm.kind, alarm.since))
        };
        assert_eq!(found(599, true), None);
        assert_eq!(found(600, true), Some((AlarmKind::Unsettled, Some(NOW - 600))));
        assert_eq!(found(600, false), None, "it may be there");
    }

    #[test]
    fn a_location_reports_its_own_alarms_to_others_and_not_theirs() {
        let own = Alarm::about(AlarmKind::RowsRefused, AMS, "a rule");
        let theirs = Alarm { is_reported: true, ..own.clone() };
        let snapshot = testing::snapshot(Some(testing::member([(AMS, linked())])));
        let alarms = || [(&own, NOW - 2), (&theirs, NOW - 2)].into_iter();
        let code = AlarmKind::RowsRefused.code();
        let refused = Condition { code, about: Some(AMS), for_ms: 2_000 };
        assert_eq!(conditions(&snapshot, alarms()), [refused]);
        let mut receives = linked();
        receives.receiving = Some(kv_replicate::quic::Pace::default());
        let snapshot = testing::snapshot(Some(testing::member([(AMS, receives)])));
        let catching_up = Condition { code: CATCHING_UP, about: None, for_ms: 0 };
        assert_eq!(conditions(&snapshot, alarms()), [catching_up, refused]);
    }

    #[test]
    fn a_location_that_reports_a_conflict_is_told_that_both_were_found_equal_since() {
        let reported = |equal| {
            let mut peer = linked();
            let code = AlarmKind::Conflict.code();
            let about = Some(testing::FRA);
            peer.conditions = vec![Condition { code, about, for_ms: 60_000 }];
            let mut member = testing::member([(AMS, peer)]);
            member.incidents.peers.entry(AMS).or_default().equal = equal;
            conditions(&testing::snapshot(Some(member)), std::iter::empty())
        };
        assert_eq!(reported(None), []);
        assert_eq!(reported(Some(NOW - 61)), [], "they were compared before the conflict");
        let equal = Condition { code: FOUND_EQUAL, about: Some(AMS), for_ms: 59_000 };
        assert_eq!(reported(Some(NOW - 59)), [equal]);
    }

    #[test]
    fn what_is_an_alarm_elsewhere_too_is_reported_first() {
        let snapshot = testing::snapshot(None);
        let [here, both, all] =
            [AlarmKind::Unreachable, AlarmKind::Conflict, AlarmKind::StoreRefusesWrites]
                .map(|kind| Alarm::here(kind, "a text"));
        let told =
            conditions(&snapshot, [&here, &both, &all].map(|alarm| (alarm, NOW)).into_iter());
        let codes: Vec<_> = told.iter().map(|condition| condition.code).collect();
        assert_eq!(codes, [all, both, here].map(|alarm| alarm.kind.code()));
    }
}
