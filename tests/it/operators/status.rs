//! What `waypost cluster status`, its JSON and the metrics show at the other locations, soon after something happened
//! to one.

use std::{num::NonZeroU64, process::Command, time::Duration};

use serde_json::Value;
use waypost_link_tests::{Conditions, Ways};
use waypost_tests::cluster::{Cluster, Status};

use super::{Entries, PATIENCE, assert_all_is_well, server, start};

/// How soon a status must be true.
const SOON: Duration = Duration::from_secs(5);

/// The location that something happens to.
const LOST: usize = 2;
const NAME: &str = "location-2";

/// Puts entries at the first location, which the lost one does not get.
fn put_unsent(cluster: &Cluster, entries: &mut Entries) {
    entries.put_many(server(cluster, 0), "unsent", 20);
}

/// Waits until a location's status is as wanted.
fn becomes(cluster: &Cluster, at: usize, limit: Duration, is: impl Fn(&Status) -> bool) -> Status {
    let found = cluster.locations()[at].status_becomes(limit, is);
    found.unwrap_or_else(|last| {
        panic!("the status of location {at} does not become so: {}", last.shown)
    })
}

/// Whether a location shows that the lost one lacks the unsent entries.
fn lacks_unsent(status: &Status) -> bool {
    status.peer(NAME)["missing_there"].as_u64().is_some_and(|missing| missing >= 20)
}

/// A metric of the lost location, as another one exports it.
fn metric(cluster: &Cluster, at: usize, name: &str) -> f64 {
    server(cluster, at).metric(&format!(r#"{name}{{peer="{NAME}"}}"#))
}

fn signal(cluster: &Cluster, number: usize, signal: &str) {
    let pid = server(cluster, number).pid().to_string();
    let sent = Command::new("kill").args([signal, &pid]).status().expect("`kill` runs");
    assert!(sent.success(), "the process gets the signal");
}

#[test]
fn a_location_that_was_killed_is_not_well_within_five_seconds_and_its_unsent_writes_are_counted() {
    let mut cluster = start(3);
    let mut entries = Entries::default();
    becomes(&cluster, 0, PATIENCE, Status::says_well);
    cluster.kill(LOST);
    put_unsent(&cluster, &mut entries);
    for at in [0, 1] {
        let status = becomes(&cluster, at, SOON, |status| !status.says_well());
        assert!(!status.shown.contains("well:"), "{}", status.shown);
        // Its link counts as up for a while; then the writes are counted without it.
        let status = becomes(&cluster, at, PATIENCE, |status| {
            status.peer(NAME)["is_connected"] == false && lacks_unsent(status)
        });
        assert!(status.peer(NAME)["missing_there_since"].is_u64(), "{}", status.info);
        assert!(
            status.shown.contains(NAME) && status.shown.contains("lacks 20 writes"),
            "{}",
            status.shown
        );
        assert!((metric(&cluster, at, "waypost_peer_missing_there") - 20.0).abs() < 0.5);
        assert!(metric(&cluster, at, "waypost_peer_up").abs() < 0.5);
    }
    cluster.restart(LOST);
    assert_all_is_well(&cluster, &mut entries, "a kill");
    becomes(&cluster, 0, PATIENCE, Status::says_well);
}

#[test]
fn a_location_that_was_stopped_has_reported_that_to_the_others() {
    let mut cluster = start(3);
    becomes(&cluster, 0, PATIENCE, Status::says_well);
    cluster.stop(LOST);
    for at in [0, 1] {
        let status = becomes(&cluster, at, SOON, |status| status.peer(NAME)["has_stopped"] == true);
        assert!(status.shown.contains("was shut down") && !status.says_well(), "{}", status.shown);
        assert!(metric(&cluster, at, "waypost_peer_live").abs() < 0.1);
    }
    cluster.restart(LOST);
    let back = becomes(&cluster, 0, PATIENCE, Status::says_well);
    assert_eq!(back.peer(NAME)["has_stopped"], Value::Null, "{}", back.info);
}

#[test]
fn a_frozen_location_is_silent_within_five_seconds_and_an_alarm_a_minute_after_its_last_message() {
    let cluster = start(3);
    let mut entries = Entries::default();
    becomes(&cluster, 0, PATIENCE, Status::says_well);
    signal(&cluster, LOST, "-STOP");
    put_unsent(&cluster, &mut entries);
    let silent = becomes(&cluster, 0, SOON, |status| !status.says_well());
    assert!(silent.shown.contains("silent"), "{}", silent.shown);
    let alarmed =
        becomes(&cluster, 0, Duration::from_secs(70), |status| !status.kinds().is_empty());
    assert_eq!(alarmed.kinds(), [("unreachable".to_owned(), Some(NAME.to_owned()))]);
    let last = alarmed.peer(NAME)["last_message_ms_ago"].as_u64().expect("there was a message");
    assert!((60_000..64_000).contains(&last), "the alarm rose {last} ms after the last message");
    let name = r#"waypost_alarm{kind="unreachable",of="here"}"#;
    assert!((server(&cluster, 0).metric(name) - 1.0).abs() < 0.1);
    signal(&cluster, LOST, "-CONT");
    assert_blames_nobody(&cluster);
    assert_all_is_well(&cluster, &mut entries, "a location was frozen");
    assert!(server(&cluster, 0).metric(name).abs() < 0.1);
}

/// A link with a rate at which some megabytes take a while.
fn narrow() -> Conditions {
    Conditions { bits_per_second: NonZeroU64::new(4_000_000), ..Conditions::default() }
}

#[test]
fn what_a_location_lacks_of_one_that_was_killed_meanwhile_is_counted_without_a_link() {
    let (source, receiver) = (0, 1);
    let mut cluster = start(2);
    let mut entries = Entries::default();
    becomes(&cluster, source, PATIENCE, Status::says_well);
    cluster.kill(receiver);
    for number in 0..300 {
        entries.put(server(&cluster, source), &format!("missed-{number}"), &"x".repeat(20_000));
    }
    cluster.set(narrow());
    cluster.restart_unready(receiver);
    let missing = |status: &Status| status.peer("location-0")["missing_here"].as_u64();
    becomes(&cluster, receiver, PATIENCE, |status| missing(status) > Some(0));
    cluster.kill(source);
    let status = becomes(&cluster, receiver, PATIENCE, |status| {
        status.peer("location-0")["is_connected"] == false
    });
    assert!(missing(&status) > Some(0), "{}", status.info);
    assert!(status.shown.contains("that have not arrived here"), "{}", status.shown);
    let metric = r#"waypost_peer_missing_here{peer="location-0"}"#;
    assert!(server(&cluster, receiver).metric(metric) > 0.5);
    cluster.set(Conditions::default());
    cluster.restart(source);
    assert_all_is_well(&cluster, &mut entries, "a location was killed that had more than another");
}

#[test]
fn a_comparison_with_a_frozen_location_says_that_it_does_not_respond() {
    let cluster = start(3);
    signal(&cluster, LOST, "-STOP");
    let compared = std::thread::scope(|scope| {
        let comparing = scope.spawn(|| cluster.locations()[0].call(&["cluster", "verify", NAME]));
        let status = becomes(&cluster, 0, SOON, |status| {
            let waits_for = &status.peer(NAME)["verifying"]["waits_for"];
            waits_for.as_str().is_some_and(|why| why.contains("has not answered for"))
        });
        assert!(status.shown.contains("comparison: "), "{}", status.shown);
        comparing.join().expect("the command ends")
    });
    signal(&cluster, LOST, "-CONT");
    let printed = String::from_utf8_lossy(&compared.stdout);
    assert!(!compared.status.success() && printed.contains("does not respond"), "{printed}");
}

/// Asserts that the lost location, which was frozen for a minute, has no alarm about the others and does not call them silent
/// before it is well again.
fn assert_blames_nobody(cluster: &Cluster) {
    let lost = &cluster.locations()[LOST];
    let resumed = lost.status_becomes(PATIENCE, |status| {
        assert!(status.kinds().is_empty(), "{}", status.shown);
        let blames = ["silent", "has sent nothing for"].map(|it| status.shown.contains(it));
        assert_eq!(blames, [false; 2], "{}", status.shown);
        status.says_well()
    });
    let status = resumed.unwrap_or_else(|last| panic!("it is not well again: {}", last.shown));
    assert!(status.info["pause"]["seconds"].as_u64() >= Some(55), "{}", status.info);
}

#[test]
fn a_location_that_is_up_never_shows_since_when_it_is_down() {
    let mut cluster = start(3);
    for _each_flap in 0..3 {
        cluster.kill(LOST);
        cluster.restart(LOST);
        let status =
            becomes(&cluster, 0, PATIENCE, |status| status.peer(NAME)["is_connected"] == true);
        assert_eq!(status.peer(NAME)["down_since"], Value::Null, "{}", status.info);
    }
}

#[test]
fn a_halted_location_reports_its_own_reason_and_is_unreachable_once_it_does_not_answer() {
    let mut cluster = start(3);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, 0), "base", 5);
    entries.assert_everywhere(&cluster, "a start");
    // Location 1 reaches only the one that is removed, and that one learns of its removal from location 0.
    cluster.cut(0, 1, Ways::Both);
    cluster.remove(LOST, 0);
    let status = becomes(&cluster, 1, SOON, |status| !status.peer(NAME)["halted"].is_null());
    let reason = status.peer(NAME)["halted"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("was removed from the cluster"), "{}", status.info);
    assert_eq!(status.kinds(), [("halted".to_owned(), Some(NAME.to_owned()))], "{}", status.shown);
    assert!(!status.shown.contains("UDP port"), "{}", status.shown);
    assert!((metric(&cluster, 1, "waypost_peer_halted") - 1.0).abs() < 0.1);
    cluster.kill(LOST);
    let gone = becomes(&cluster, 1, Duration::from_secs(90), |status| {
        // So is location 0, which is cut off.
        status.kinds().contains(&("unreachable".to_owned(), Some(NAME.to_owned())))
    });
    assert!(gone.has_alarm(&["its last answer", "was removed from the cluster"]), "{}", gone.shown);
    assert!(metric(&cluster, 1, "waypost_peer_halted").abs() < 0.1);
    cluster.heal();
    assert_all_is_well(&cluster, &mut entries, "a location was removed");
}

#[test]
fn a_location_that_was_started_while_another_is_down_does_not_claim_to_know_what_that_lacks() {
    let mut cluster = start(3);
    cluster.kill(LOST);
    cluster.stop(0);
    cluster.restart(0);
    let status =
        becomes(&cluster, 0, PATIENCE, |status| status.peer("location-1")["is_connected"] == true);
    assert_eq!(status.peer(NAME)["missing_there"], Value::Null, "{}", status.info);
    assert!(!status.says_well() && status.shown.contains("not known"), "{}", status.shown);
}
