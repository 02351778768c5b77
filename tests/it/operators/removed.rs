//! A removed location that somebody starts again. It serves reads, and never takes a write that no member would get.

use waypost_tests::{
    cluster::{Cluster, Cut, contains_all},
    wait,
};

use super::{Entries, PATIENCE, assert_all_is_well, call, messages, server, shared, start};

const REMOVED: usize = 2;

/// Waits until the removed location refuses writes for its removal.
fn assert_refuses_writes(cluster: &Cluster, entries: &Entries, when: &str) {
    let put = || call(server(cluster, REMOVED), "PUT", &shared("too-late"), "", b"lost");
    let refused = wait::until(PATIENCE, || {
        let answer = put();
        (answer.status == 503 && contains_all(&answer.text(), &messages::REMOVED)).then_some(())
    });
    let last = put();
    assert!(
        refused.is_some(),
        "a removed location {when} answers a write with {}: {}",
        last.status,
        last.text()
    );
    let wrong = entries.wrong_at(server(cluster, REMOVED));
    assert!(wrong.is_empty(), "a removed location {when} does not serve reads: {wrong:?}");
}

/// Asserts that it takes no write from its start on, while it reaches no other location. It is down.
fn assert_refuses_from_its_start(cluster: &mut Cluster, entries: &Entries) {
    cluster.restart_unready(REMOVED);
    let first = call(server(cluster, REMOVED), "PUT", &shared("too-late"), "", b"lost");
    assert_eq!(
        first.status,
        503,
        "a removed location takes a write at its start, while it reaches nobody: {}",
        first.text()
    );
    assert_refuses_writes(cluster, entries, "that reaches nobody");
    let status = cluster.locations()[REMOVED].status();
    assert!(
        status.has_alarm(&messages::REMOVED) && !status.is_success,
        "no alarm reports the removal: {}",
        status.shown
    );
}

#[test]
fn a_location_that_was_removed_while_it_ran_refuses_writes_after_a_restart_without_peers() {
    let mut cluster = start(3);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, REMOVED), "base", 5);
    entries.assert_everywhere(&cluster, "a start");
    cluster.remove(REMOVED, 0);
    assert_refuses_writes(&cluster, &entries, "that still runs");
    cluster.kill(REMOVED);
    cluster.isolate(REMOVED, Cut::Network);
    for _each_start in 0..2 {
        assert_refuses_from_its_start(&mut cluster, &entries);
        cluster.stop(REMOVED);
    }
    cluster.heal();
    assert_all_is_well(&cluster, &mut entries, "a location was removed");
}

#[test]
fn a_location_that_was_removed_while_it_was_down_learns_it_from_peers_and_remembers_it() {
    let mut cluster = start(3);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, REMOVED), "base", 5);
    entries.assert_everywhere(&cluster, "a start");
    cluster.stop(REMOVED);
    cluster.remove(REMOVED, 0);
    entries.assert_everywhere(&cluster, "a removal");
    cluster.restart_unready(REMOVED);
    assert_refuses_writes(&cluster, &entries, "that was down meanwhile");
    cluster.stop(REMOVED);
    cluster.isolate(REMOVED, Cut::Stopped);
    assert_refuses_from_its_start(&mut cluster, &entries);
    cluster.stop(REMOVED);
    cluster.reunite();
    assert_all_is_well(&cluster, &mut entries, "a location was removed while it was down");
}

#[test]
fn a_location_that_was_killed_and_removed_at_once_is_no_longer_listed_nor_verified() {
    let mut cluster = start(3);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, REMOVED), "base", 5);
    entries.assert_everywhere(&cluster, "a start");
    cluster.kill(REMOVED);
    // The link to it is up, as far as the others know.
    cluster.remove(REMOVED, 0);
    let status = cluster.locations()[0].status();
    let peers = status.info["peers"].as_array().map(Vec::len);
    assert_eq!(peers, Some(1), "{}", status.shown);
    let verified = cluster.locations()[0].call(&["cluster", "verify"]);
    assert!(verified.status.success(), "a removed location is verified: {verified:?}");
    assert_all_is_well(&cluster, &mut entries, "a location was killed and removed");
}
