//! The alarms about links, and about what peers report of themselves.

use kv_core::MemberId;
use kv_replicate::{Condition, quic::Peer};

use super::{
    alarm::Alarm,
    kind::{AlarmKind, Audience},
    snapshot::Member,
};
use crate::{cluster::state::dates::minute, terminal::shell_word};

/// A location that was silent for less than this may only have been restarted, in seconds.
pub(super) const PATIENCE_SECONDS: u64 = 60;

/// If all others were silent for this long, the cluster may consist of other locations by now.
const ALONE_SECONDS: u64 = 600;

/// The alarms about links, and those that peers report.
pub(super) fn alarms(member: &Member, now: u64) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    for (id, name, peer) in member.peers() {
        alarms.extend(link(id, &name, peer, now));
        let reported = peer
            .conditions
            .iter()
            .filter_map(|condition| reported(member.id, (id, &name), condition, now));
        alarms.extend(reported);
    }
    let is_away = |peer: &Peer| away(peer).is_some_and(|seconds| seconds >= ALONE_SECONDS);
    if !member.status.peers.is_empty() && member.status.peers.values().all(is_away) {
        alarms.push(Alarm::here(
            AlarmKind::Alone,
            "no other location is reachable: check this machine's network. If the data directory is an old copy, and \
             the locations that it knows were removed since, restart it once with --join and a token that a location \
             of today prints with `waypost cluster invite`; if this is the CA holder, move the CA's key there first \
             (`waypost cluster ca move`)",
        ));
    }
    alarms
}

/// For how many seconds a peer is away: for which this process has waited for a message of it.
pub(super) fn away(peer: &Peer) -> Option<u64> {
    peer.silent_for.map(|time| time.as_secs())
}

/// The alarm about the link to a peer.
fn link(id: MemberId, name: &str, peer: &Peer, now: u64) -> Option<Alarm> {
    let is_away = away(peer).filter(|seconds| *seconds >= PATIENCE_SECONDS);
    if let Some(why) = peer.halted.as_ref().filter(|_| is_away.is_none()) {
        let since = if peer.is_halt_old { "; it has not answered since" } else { "" };
        let text = format!(
            "{name} does not replicate any more, and has reported why: {why}{since}. It gets none of the writes of the \
             others. Do there what it reports; if it will not return, run: waypost cluster remove {}",
            shell_word(name)
        );
        return Some(Alarm { is_reported: true, ..Alarm::about(AlarmKind::Halted, id, text) });
    }
    if let Some(seconds) = is_away {
        let since = now.saturating_sub(seconds);
        let why = why(peer);
        if peer.is_answering && !peer.is_connected {
            let text = format!(
                "{name} has had no link since {}, although something answers at its address{why}: do what the error \
                 says; `waypost cluster status` and the log of {name} may know more",
                minute(since)
            );
            return Some(Alarm::about(AlarmKind::UnstableLink, id, text).since(since));
        }
        let stopped = if peer.has_stopped { ", and it had reported that it shut down" } else { "" };
        let why = [&why[..], stopped, &halted(peer)].concat();
        let text = format!(
            "{name} is unreachable since {}{why}: check that it is running and that its UDP port is reachable from \
             here. Tombstones are kept until it returns; if it will not return, run: waypost cluster remove {}",
            minute(since),
            shell_word(name)
        );
        return Some(Alarm::about(AlarmKind::Unreachable, id, text).since(since));
    }
    let unstable = peer.unstable_for.map(|time| time.as_secs());
    let seconds = unstable.filter(|seconds| *seconds >= PATIENCE_SECONDS)?;
    let since = now.saturating_sub(seconds);
    let why = why(peer);
    let text = format!(
        "{name} has had no lasting link since {}{why}: check that neither of the two locations restarts again and again, \
         and that the network between them does not lose packets",
        minute(since)
    );
    Some(Alarm::about(AlarmKind::UnstableLink, id, text).since(since))
}

/// What a peer that is away has last reported, if that is that it had halted.
fn halted(peer: &Peer) -> String {
    let halted = peer.halted.as_ref();
    halted
        .map_or(String::new(), |why| format!(", and its last answer was that it had halted: {why}"))
}

/// The last error of a link, in brackets.
fn why(peer: &Peer) -> String {
    peer.last_error.as_ref().map_or(String::new(), |why| format!(" ({why})"))
}

/// The alarm about what a peer reports of itself, if it concerns this location.
fn reported(
    own: MemberId,
    (id, name): (MemberId, &str),
    condition: &Condition,
    now: u64,
) -> Option<Alarm> {
    let kind = AlarmKind::of_code(condition.code)?;
    let concerns = match kind.audience() {
        Audience::Here => false,
        Audience::Everywhere => true,
        Audience::BothEnds => condition.about == Some(own),
    };
    let since = now.saturating_sub(condition.for_ms / 1000);
    let at = minute(since);
    let text = match kind {
        _ if !concerns => return None,
        AlarmKind::StoreRefusesWrites => format!(
            "{name} reports since {at} that its store takes no writes, so that it receives none: writes wait here for \
             it. Check its disk; `waypost cluster status` there has the reason"
        ),
        AlarmKind::Rebuilding => format!(
            "{name} reports since {at} that it is rebuilt from another location and serves none: it was restored from \
             an old copy, or has lost its store. If this does not end, see `waypost cluster status` there"
        ),
        AlarmKind::DamagedIndex => format!(
            "{name} reports since {at} that rows of its index of writes are damaged: no location can catch up from it until \
             they are made again. Check its disk; if this does not end, see `waypost cluster status` there"
        ),
        AlarmKind::AnotherProcess => format!(
            "{name} reports since {at} that two processes run as it, on copies of one data directory: stop one of the \
             two; `waypost cluster status` at {name} says which takes writes"
        ),
        AlarmKind::CatchUpFails => format!(
            "{name} reports since {at} that its catch-up from this location fails again and again: `waypost cluster \
             status` there, and the logs of both, have the reason"
        ),
        AlarmKind::RowsRefused => format!(
            "{name} reports since {at} that it refuses rows that this location sends: upgrade the older one of the two, \
             and report this as a bug if both run the same version; its log has the rule that the rows break"
        ),
        AlarmKind::Conflict => format!(
            "{name} reports since {at} that this location and it hold different writes of one version: run `waypost \
             cluster verify {name}`, and write the keys again that it names; the alarm ends at both once they are equal"
        ),
        AlarmKind::WritesNotTaken => format!(
            "{name} reports since {at} that this location does not take its writes, although there is a link: check \
             this location's disk and its log"
        ),
        _ => return None,
    };
    let alarm = Alarm::about(kind, id, text).since(since);
    Some(Alarm { is_reported: true, ..alarm })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::alarms::testing::{AMS, FRA, NOW, PAR, linked, member};

    fn down(seconds: u64) -> Peer {
        let mut peer = linked();
        peer.is_connected = false;
        let silent = Some(Duration::from_secs(seconds));
        (peer.down_for, peer.last_message, peer.silent_for) = (silent, silent, silent);
        peer.last_error = Some("198.51.100.7:8421: no answer within 5s".into());
        peer
    }

    fn kinds(peer: Peer) -> Vec<AlarmKind> {
        alarms(&member([(AMS, peer), (PAR, linked())]), NOW)
            .iter()
            .map(|alarm| alarm.kind)
            .collect()
    }

    #[test]
    fn a_location_that_is_silent_for_a_minute_is_an_alarm_with_its_time() {
        assert_eq!(kinds(linked()), []);
        assert_eq!(kinds(down(59)), []);
        assert_eq!(kinds(down(60)), [AlarmKind::Unreachable]);
        let found = alarms(&member([(AMS, down(540)), (PAR, linked())]), NOW);
        let text = &found[0].text;
        let begin = "ams is unreachable since 2027-01-15 07:51 UTC (198.51.100.7:8421: no answer within 5s): check that";
        assert!(text.starts_with(begin), "{text}");
        assert!(text.ends_with("waypost cluster remove ams"), "{text}");
        assert_eq!(found[0].since, Some(NOW - 540));
    }

    #[test]
    fn a_location_that_answers_and_refuses_the_link_is_not_called_unreachable() {
        let mut refused = down(600);
        refused.is_answering = true;
        refused.last_error = Some("198.51.100.7:8421: its certificate has expired".into());
        let found = alarms(&member([(AMS, refused), (PAR, linked())]), NOW);
        assert_eq!(found[0].kind, AlarmKind::UnstableLink);
        assert!(found[0].text.contains("certificate has expired"), "{}", found[0].text);
    }

    #[test]
    fn a_link_on_which_nothing_arrives_is_an_alarm_after_a_minute_even_while_it_counts_as_up() {
        let silent = |seconds| {
            let mut peer = linked();
            peer.silent_for = Some(Duration::from_secs(seconds));
            peer
        };
        assert_eq!(kinds(silent(59)), []);
        assert_eq!(kinds(silent(60)), [AlarmKind::Unreachable]);
    }

    #[test]
    fn a_link_that_fails_repeatedly_is_an_alarm_even_while_it_is_up() {
        let mut peer = linked();
        peer.unstable_for = Some(Duration::from_secs(3600));
        let found = alarms(&member([(AMS, peer)]), NOW);
        let text = &found[0].text;
        assert!(
            text.starts_with("ams has had no lasting link since 2027-01-15 07:00 UTC"),
            "{text}"
        );
    }

    #[test]
    fn a_halted_location_is_reported_with_its_own_reason_and_not_as_unreachable() {
        // It has answered the last attempt.
        let mut peer = down(3600);
        peer.silent_for = Some(Duration::from_secs(12));
        peer.halted = Some("this location was removed from the cluster".into());
        let found = alarms(&member([(AMS, peer), (PAR, linked())]), NOW);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].kind, AlarmKind::Halted);
        assert!(found[0].text.contains("was removed from the cluster"), "{:?}", found[0]);
        assert!(!found[0].text.contains("UDP port"), "{:?}", found[0]);
    }

    #[test]
    fn a_halted_location_that_does_not_answer_any_more_is_unreachable_after_a_minute() {
        let silent = |seconds| {
            let mut peer = down(seconds);
            (peer.halted, peer.is_halt_old) = (Some("it was removed".into()), true);
            alarms(&member([(AMS, peer), (PAR, linked())]), NOW).remove(0)
        };
        let soon = silent(59);
        assert_eq!(soon.kind, AlarmKind::Halted);
        assert!(soon.text.contains("it was removed; it has not answered since"), "{soon:?}");
        let later = silent(60);
        assert_eq!((later.kind, later.is_reported), (AlarmKind::Unreachable, false));
        assert!(
            later.text.contains("last answer was that it had halted: it was removed"),
            "{later:?}"
        );
    }

    #[test]
    fn a_location_that_was_shut_down_and_not_started_again_is_unreachable_with_what_it_reported() {
        let mut peer = down(60);
        peer.has_stopped = true;
        let found = alarms(&member([(AMS, peer), (PAR, linked())]), NOW).remove(0);
        assert_eq!(found.kind, AlarmKind::Unreachable);
        assert!(found.text.contains("it had reported that it shut down: check"), "{found:?}");
    }

    #[test]
    fn a_pause_of_this_process_makes_no_other_location_unreachable() {
        let mut peer = down(3600);
        peer.silent_for = Some(Duration::from_secs(1));
        assert_eq!(kinds(peer), []);
    }

    #[test]
    fn a_location_that_gets_no_message_for_ten_minutes_says_how_to_join_again() {
        for (peers, is_alone) in [
            (vec![(AMS, down(599))], false),
            (vec![(AMS, down(600))], true),
            (vec![(AMS, down(600)), (PAR, linked())], false),
            (Vec::new(), false),
        ] {
            let found = alarms(&member(peers), NOW);
            assert_eq!(found.iter().any(|alarm| alarm.kind == AlarmKind::Alone), is_alone);
        }
    }

    #[test]
    fn what_a_peer_reports_is_an_alarm_here_if_it_concerns_this_location() {
        let report = |kind: AlarmKind, about| {
            let mut peer = linked();
            peer.conditions = vec![Condition { code: kind.code(), about, for_ms: 90_000 }];
            alarms(&member([(AMS, peer)]), NOW)
        };
        for (kind, about, is_alarm) in [
            (AlarmKind::StoreRefusesWrites, None, true),
            (AlarmKind::Rebuilding, None, true),
            (AlarmKind::DamagedIndex, None, true),
            (AlarmKind::AnotherProcess, None, true),
            (AlarmKind::ClockOff, None, false),
            (AlarmKind::RowsRefused, Some(FRA), true),
            (AlarmKind::RowsRefused, Some(PAR), false),
            (AlarmKind::Conflict, Some(FRA), true),
            (AlarmKind::CatchUpFails, Some(FRA), true),
            (AlarmKind::WritesNotTaken, Some(FRA), true),
            (AlarmKind::WritesNotTaken, None, false),
        ] {
            let found = report(kind, about);
            assert_eq!(found.len(), usize::from(is_alarm), "{kind}");
            for alarm in found {
                assert_eq!((alarm.kind, alarm.since), (kind, Some(NOW - 90)));
                assert!(
                    alarm.is_reported && alarm.text.starts_with("ams reports since"),
                    "{alarm:?}"
                );
            }
        }
        let mut later = linked();
        later.conditions = vec![Condition { code: u16::MAX, about: None, for_ms: 0 }];
        assert_eq!(alarms(&member([(AMS, later)]), NOW), [], "a later version defines it");
    }
}
