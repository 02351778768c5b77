//! Alarms, and one line on whether all is well.

use kv_core::{Mode, Namespaces};
use kv_replicate::quic::Status;

use super::info::PeerInfo;
use crate::{cluster::state::dates::minute, membership::progress};

/// A location that is unreachable for less than this may only have been restarted.
const PATIENCE_SECONDS: u64 = 60;

/// If nobody was reachable for this long, the cluster may consist of other locations by now.
const ALONE_SECONDS: u64 = 600;

/// What an operator must act on, each a sentence that says what to do. `alarms` are those about certificates.
pub(super) fn alarms(
    status: &Status,
    peers: &[PeerInfo],
    mut alarms: Vec<String>,
    now: u64,
) -> Vec<String> {
    if let Some(why) = status.halted {
        // Its view of the others is not meaningful then.
        return vec![format!("this location has stopped replicating: {why}")];
    }
    for peer in peers {
        let name = &peer.name;
        if let Some(since) = peer.down_since
            && now.saturating_sub(since) >= PATIENCE_SECONDS
        {
            let why = peer.last_error.as_ref().map_or(String::new(), |why| format!(" ({why})"));
            alarms.push(format!(
                "{name} {} since {}{why}: check that it is running and that its UDP port is \
                 reachable. Tombstones are kept until it returns; if it will not return, run: waypost \
                 cluster remove {name}",
                if peer.is_connected { "has had no lasting link" } else { "is unreachable" },
                minute(since)
            ));
        }
    }
    let is_away =
        |peer: &PeerInfo| peer.down_since.is_some_and(|at| now.saturating_sub(at) >= ALONE_SECONDS);
    if !peers.is_empty() && peers.iter().all(is_away) {
        alarms.push(
            "no other location is reachable: if the data directory is an old copy, and the locations that it knows \
             were removed since, restart it once with --join and a token that a location of today prints with \
             `waypost cluster invite`"
                .into(),
        );
    }
    alarms
}

/// An alarm if the store takes no writes, its own and those of others, with the reason.
pub(super) fn store_alarm(mode: &Mode) -> Option<String> {
    let (why, what_to_do) = match mode {
        Mode::Writer => return None,
        Mode::Waiting(why) => (why, "It continues by itself once that is over"),
        Mode::ReadOnly(why) | Mode::Closed(why) => {
            (why, "Check the disk, and restart this location")
        }
    };
    Some(format!(
        "the store of this location takes no writes, and receives none of the others: {why}. {what_to_do}"
    ))
}

/// An alarm for each namespace whose title another one has, with the command that repairs it.
pub(super) fn title_alarms(namespaces: &Namespaces) -> Vec<String> {
    let alarm = |conflict: &kv_core::TitleConflict<'_>| {
        let (older, newer) = (conflict.older.id, conflict.newer.id);
        let title = &conflict.older.title;
        format!(
            "two namespaces have the title {:?}: {older} (which the title names) and {newer}. Rename one, or \
             move the entries of the second into the first: waypost namespace merge {newer} {older}",
            title.as_str()
        )
    };
    namespaces.conflicts().iter().map(alarm).collect()
}

/// Whether all is well, in one line.
pub(super) fn verdict_of(status: &Status, peers: &[PeerInfo], alarms: usize) -> String {
    let missing: u64 = peers.iter().map(|peer| peer.missing_here).max().unwrap_or(0);
    let there: u64 = peers.iter().map(|peer| peer.missing_there).max().unwrap_or(0);
    let (up, all) = (peers.iter().filter(|peer| peer.is_connected).count(), peers.len());
    match (status.is_joined, alarms) {
        _ if status.halted.is_some() => "this location has stopped replicating".into(),
        (false, _) => format!("joining: {}", progress(status)),
        (true, 0) if peers.is_empty() => "well, and alone: invite another location".into(),
        (true, 0) if up < all => {
            format!("{up} of {all} links are up; the others went down less than a minute ago")
        }
        (true, 0) if (missing, there) == (0, 0) => {
            format!("well: all {up} links are up, nothing is missing")
        }
        (true, 0) if missing == 0 => format!("well: {there} writes are being sent to others"),
        (true, 0) => format!("catching up: {missing} writes are missing here"),
        _ => format!("{up} of {all} links are up; see the alarms"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kv_replicate::quic::Peer;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn well() -> Status {
        let mut status = Status::default();
        status.is_joined = true;
        status
    }

    fn ams(down_seconds: Option<u64>) -> PeerInfo {
        let mut peer = Peer::default();
        peer.is_connected = down_seconds.is_none();
        peer.down_for = down_seconds.map(Duration::from_secs);
        peer.last_error = Some("no answer".into());
        PeerInfo::new("ams".into(), "02".into(), &peer, NOW)
    }

    #[test]
    fn a_location_that_reaches_nobody_for_ten_minutes_says_how_to_join_again() {
        let (near, away) = (ams(None), ams(Some(600)));
        for (peers, is_alone) in [
            (vec![ams(Some(599))], false),
            (vec![ams(Some(600))], true),
            (vec![away.clone(), near], false),
            (Vec::new(), false),
        ] {
            let alarms = alarms(&well(), &peers, Vec::new(), NOW);
            let says = alarms.iter().any(|alarm| alarm.contains("waypost cluster invite"));
            assert_eq!(says, is_alone, "{alarms:?}");
        }
    }

    #[test]
    fn a_store_that_takes_no_writes_is_an_alarm_with_the_reason() {
        assert_eq!(store_alarm(&Mode::Writer), None);
        for (mode, does) in [
            (Mode::Waiting("the disk is full".into()), "continues by itself"),
            (Mode::ReadOnly("the disk is full".into()), "restart"),
            (Mode::Closed("the disk is full".into()), "restart"),
        ] {
            let alarm = store_alarm(&mode).expect("an alarm");
            assert!(alarm.contains("no writes") && alarm.contains("the disk is full"), "{alarm}");
            assert!(alarm.contains(does), "{alarm}");
        }
    }

    #[test]
    fn a_location_that_is_unreachable_for_a_minute_is_an_alarm_with_its_time() {
        for (down, count, verdict) in [
            (None, 0, "well: all 1 links are up, nothing is missing"),
            (Some(59), 0, "0 of 1 links are up; the others went down less than a minute ago"),
            (Some(60), 1, "0 of 1 links are up; see the alarms"),
        ] {
            let peers = [ams(down)];
            let alarms = alarms(&well(), &peers, Vec::new(), NOW);
            assert_eq!(alarms.len(), count, "{down:?}: {alarms:?}");
            assert_eq!(verdict_of(&well(), &peers, alarms.len()), verdict);
        }
        let [alarm] = &alarms(&well(), &[ams(Some(540))], Vec::new(), NOW)[..] else {
            panic!("one alarm")
        };
        assert!(
            alarm.starts_with(
                "ams is unreachable since 2027-01-15 07:51 UTC (no answer): check that"
            ),
            "{alarm}"
        );
        assert!(alarm.ends_with("waypost cluster remove ams"), "{alarm}");
    }

    #[test]
    fn a_link_that_fails_repeatedly_is_an_alarm_even_while_it_is_up() {
        let peer = PeerInfo { is_connected: true, ..ams(Some(3600)) };
        let alarms = alarms(&well(), &[peer], Vec::new(), NOW);
        assert!(
            alarms[0].starts_with("ams has had no lasting link since 2027-01-15 07:00 UTC"),
            "{alarms:?}"
        );
    }

    #[test]
    fn a_certificate_that_expires_soon_is_an_alarm_beside_the_others() {
        let certificate = vec!["the certificate of this location expires".to_owned()];
        let alarms = alarms(&well(), &[ams(Some(60))], certificate.clone(), NOW);
        assert_eq!((alarms.len(), &alarms[0]), (2, &certificate[0]), "{alarms:?}");
    }

    #[test]
    fn two_namespaces_with_one_title_are_an_alarm_that_names_both_and_the_repair() {
        let directory = tempfile::tempdir().unwrap();
        let store = kv_core::Store::open(directory.path()).unwrap();
        let older = store.create_namespace("a").unwrap().id;
        let newer = store.create_namespace("b").unwrap().id;
        assert_eq!(title_alarms(&store.namespaces()), Vec::<String>::new());
        let title = kv_core::Title::new("a").unwrap();
        let titled = kv_core::Namespace::titled(&kv_core::Account::default(), &title);
        // As a write of another location would do it.
        let (key, fields) = (kv_core::Namespace::key(newer), vec![titled]);
        let write = kv_core::Operation::WriteFields { key, fields };
        store.submit(write).unwrap().wait().unwrap();
        let [alarm] = &title_alarms(&store.namespaces())[..] else { panic!("one alarm") };
        let repair = format!("waypost namespace merge {newer} {older}");
        assert!(
            alarm.starts_with("two namespaces have the title \"a\": ") && alarm.ends_with(&repair)
        );
    }

    #[test]
    fn a_location_that_stopped_replicating_has_no_other_alarm() {
        let mut status = well();
        status.halted = Some(kv_replicate::HaltReason::Removed);
        let certificate = vec!["the certificate of this location expired".to_owned()];
        let alarms = alarms(&status, &[ams(Some(3600))], certificate, NOW);
        let why = "this location was removed from the cluster: to join again, start it with an empty data \
                   directory and `waypost serve --join TOKEN`";
        assert_eq!(alarms, [format!("this location has stopped replicating: {why}")]);
    }
}
