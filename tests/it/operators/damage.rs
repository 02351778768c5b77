//! A flipped bit in a store's file, in an entry's row or in a chunk of a large value.
//!
//! The location serves everything else. It reports the damaged key until it has the entry again, from its peers or by a
//! put; a list leaves the key out; and neither GC nor replication stops at the row.

use std::{thread, time::Duration};

use waypost_tests::{
    cluster::{Cluster, Cut},
    http::Response,
    random::noise,
    wait,
};

use super::{
    AT_ONCE, Entries, NAMESPACE, PATIENCE, assert_all_is_well, assert_joins, assert_starts,
    assert_writes_replicate, call, found, messages, prepare, server, shared, start,
};

/// The name of the damaged key.
const KEY: &str = "damaged-key";

/// What is damaged of the entry.
#[derive(Clone, Copy)]
enum Place {
    /// The row of a small value, which has the value in it.
    Row,
    /// The row of a large value, which has the metadata in it.
    Head,
    /// A chunk of a large value.
    Chunk,
}

impl Place {
    /// A value that nothing else in the store's file looks like.
    fn value(self) -> String {
        let length = match self {
            Place::Row => 400,
            Place::Head | Place::Chunk => 150_000,
        };
        noise(7, length).iter().map(|byte| char::from(b'a' + byte % 26)).collect()
    }

    /// Damages the entry at a location that is down.
    fn damage(self, cluster: &Cluster, number: usize) {
        let value = self.value();
        let bytes = match self {
            Place::Row | Place::Chunk => &value[100..164],
            Place::Head => METADATA,
        };
        let places = cluster.locations()[number].damage(bytes.as_bytes());
        assert!(places > 0, "the bytes are not in the store's file as they are");
    }
}

/// How long after its last commit an idle store needs at most until a damaged row costs only this row after a crash.
const SEALED_WITHIN: Duration = Duration::from_secs(4);

/// The metadata of the entry.
const METADATA: &str = r#""metadata of the key that gets damaged""#;

/// Puts the entry that gets damaged, among others before and after it.
fn put_all(cluster: &Cluster, at: usize, place: Place, entries: &mut Entries) {
    entries.put_many(server(cluster, at), "a", 5);
    let (value, path) = (place.value(), format!("/binding/{}?urlencoded=true", shared(KEY)));
    let headers = [("CF-KV-Metadata", METADATA)];
    let answer = server(cluster, at).connect().request("PUT", &path, &headers, value.as_bytes());
    assert_eq!(answer.expect("the server answers").status, 200, "the entry is put");
    entries.expect(KEY, &value);
    entries.put_many(server(cluster, at), "z", 5);
    entries.assert_everywhere(cluster, "a start");
}

/// Asserts that a list which crosses the damaged key is answered and has all other keys.
fn assert_lists(cluster: &Cluster, at: usize) {
    let target = format!("/binding/{NAMESPACE}?key_count_limit=1000");
    let answer = server(cluster, at).connect().get(&target).expect("the server answers");
    let text = answer.text();
    assert_eq!(answer.status, 200, "a list that crosses a damaged row fails: {text}");
    let names = ["a", "z"].iter().flat_map(|name| (0..5).map(move |i| format!("\"{name}-{i}\"")));
    for name in names {
        assert!(text.contains(&name), "a list that crosses a damaged row lacks {name}: {text}");
    }
}

/// Reads the damaged key. The connection of a value whose chunk is damaged breaks.
fn read_damaged(cluster: &Cluster, at: usize) -> Option<Response> {
    let target = format!("/binding/{}?urlencoded=true", shared(KEY));
    server(cluster, at).connect().get(&target).ok()
}

/// Asserts that a read of the damaged key is an error: never 404, and never other bytes.
fn assert_read_is_an_error(cluster: &Cluster, at: usize) {
    if let Some(answer) = read_damaged(cluster, at) {
        let (status, text) = (answer.status, answer.text());
        let start: String = text.chars().take(80).collect();
        assert!(status >= 500, "a read of a damaged row is answered with {status}: {start}");
    }
}

/// Waits until the status of a location names the damaged key.
fn assert_names_the_key(cluster: &Cluster, at: usize) {
    let named = cluster.locations()[at].status_becomes(PATIENCE, |status| {
        !status.is_success && status.shown.contains(KEY) && status.has_alarm(&messages::DAMAGED)
    });
    if let Err(status) = named {
        panic!("location {at} does not report its damaged key: {}", status.shown);
    }
}

/// Damages the key at a member that then starts alone, and lets it meet the others.
fn assert_peers_repair(place: Place) {
    let mut cluster = start(3);
    let mut entries = Entries::default();
    put_all(&cluster, 0, place, &mut entries);
    cluster.stop(1);
    place.damage(&cluster, 1);
    cluster.isolate(1, Cut::Network);
    assert_starts(&mut cluster, 1, "a bit flipped at a location");
    assert_lists(&cluster, 1);
    assert_read_is_an_error(&cluster, 1);
    assert_lists(&cluster, 1);
    entries.put(server(&cluster, 1), "while-damaged", "other keys are written");
    assert_names_the_key(&cluster, 1);
    cluster.reunite();
    assert_all_is_well(&cluster, &mut entries, "a bit flipped at a location");
    let status = cluster.locations()[1].status();
    assert!(!status.shown.contains(KEY), "the key is repaired: {}", status.shown);
}

/// Damages the key after the location's process was killed, some seconds after its last write: after a crash the engine
/// must not take the damage for a commit that the crash interrupted, which would cost other entries or the store.
fn assert_a_killed_store_starts(place: Place, count: usize) {
    let mut cluster = start(count);
    let mut entries = Entries::default();
    let at = count - 1;
    put_all(&cluster, at, place, &mut entries);
    thread::sleep(SEALED_WITHIN);
    cluster.kill(at);
    place.damage(&cluster, at);
    cluster.isolate(at, Cut::Network);
    let fault = "a bit flipped after kill -9";
    assert_starts(&mut cluster, at, fault);
    assert_read_is_an_error(&cluster, at);
    assert_lists(&cluster, at);
    entries.put(server(&cluster, at), "while-damaged", "other keys are written");
    if count == 1 {
        // There is no other location to fetch the entry from, or to compare with.
        entries.put(server(&cluster, at), KEY, "put again");
        entries.assert_everywhere(&cluster, fault);
        return;
    }
    cluster.reunite();
    assert_all_is_well(&cluster, &mut entries, fault);
}

#[test]
fn a_damaged_row_of_a_killed_process_comes_back_from_peers() {
    assert_a_killed_store_starts(Place::Row, 2);
}

#[test]
fn a_damaged_chunk_of_a_killed_process_comes_back_from_peers() {
    assert_a_killed_store_starts(Place::Chunk, 2);
}

#[test]
fn a_damaged_row_of_a_killed_process_costs_a_single_location_no_other_entry() {
    assert_a_killed_store_starts(Place::Row, 1);
}

#[test]
fn a_damaged_row_comes_back_from_peers_and_is_reported_until_then() {
    assert_peers_repair(Place::Row);
}

#[test]
fn a_damaged_chunk_comes_back_from_peers_and_is_reported_until_then() {
    assert_peers_repair(Place::Chunk);
}

/// What another location writes to the damaged key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Write {
    Nothing,
    /// While the location with the damaged row is down: it comes in a session.
    PutMeanwhile,
    /// When it is up again: it comes live.
    Put,
    Delete,
}

/// Damages the key at a member, to which another one then replicates writes.
fn assert_a_receiver_continues(place: Place, write: Write) {
    let mut cluster = start(2);
    let mut entries = Entries::default();
    put_all(&cluster, 0, place, &mut entries);
    cluster.stop(1);
    place.damage(&cluster, 1);
    if write == Write::PutMeanwhile {
        entries.put(server(&cluster, 0), KEY, "overwritten while the other was down");
    }
    entries.put(server(&cluster, 0), "missed", "written while the other was down");
    let fault = "a bit flipped at a receiver";
    assert_starts(&mut cluster, 1, fault);
    match write {
        Write::Nothing | Write::PutMeanwhile => {}
        Write::Put => drop(entries.put(server(&cluster, 0), KEY, "overwritten by the other")),
        Write::Delete => entries.delete(server(&cluster, 0), KEY),
    }
    // Each write of the origin that wrote the damaged row arrives at once.
    for index in 0..5 {
        let key = format!("later-{index}");
        entries.put(server(&cluster, 0), &key, "written afterwards");
        let arrives = || call(server(&cluster, 1), "GET", &shared(&key), "", b"").status == 200;
        let arrived = wait::until(AT_ONCE / 2, || arrives().then_some(()));
        assert!(arrived.is_some(), "after {fault}, {key} does not arrive within {:?}", AT_ONCE / 2);
    }
    assert_lists(&cluster, 1);
    // A read finds the damage, if nothing has yet.
    let _repaired_or_not = read_damaged(&cluster, 1);
    assert_all_is_well(&cluster, &mut entries, fault);
}

#[test]
fn a_damaged_row_at_a_receiver_delays_no_write() {
    assert_a_receiver_continues(Place::Row, Write::Nothing);
}

#[test]
fn a_damaged_row_at_a_receiver_is_replaced_by_a_write_that_it_missed() {
    assert_a_receiver_continues(Place::Row, Write::PutMeanwhile);
}

#[test]
fn a_damaged_row_at_a_receiver_is_replaced_by_a_live_put() {
    assert_a_receiver_continues(Place::Row, Write::Put);
}

#[test]
fn a_damaged_row_of_a_large_value_at_a_receiver_is_replaced_by_a_live_put() {
    assert_a_receiver_continues(Place::Head, Write::Put);
}

#[test]
fn a_damaged_row_of_a_large_value_at_a_receiver_is_replaced_by_a_live_delete() {
    assert_a_receiver_continues(Place::Head, Write::Delete);
}

#[test]
fn a_damaged_chunk_at_a_receiver_is_replaced_by_a_write_that_it_missed() {
    assert_a_receiver_continues(Place::Chunk, Write::PutMeanwhile);
}

/// Damages the key at the only location, from which another one joins.
fn assert_a_source_serves_the_rest(place: Place) {
    let mut cluster = prepare(2);
    found(&mut cluster);
    let mut entries = Entries::default();
    put_all(&cluster, 0, place, &mut entries);
    cluster.stop(0);
    place.damage(&cluster, 0);
    let fault = "a bit flipped at a source";
    assert_starts(&mut cluster, 0, fault);
    // The new location is ready once it has everything that the source can read.
    assert_joins(&mut cluster, 1, fault);
    entries.forget(KEY);
    entries.assert_everywhere(&cluster, fault);
    assert_writes_replicate(&cluster, &mut entries, fault);
    assert_lists(&cluster, 0);
    assert_lists(&cluster, 1);
    // Nobody has the entry, so both report it until somebody puts it.
    assert_names_the_key(&cluster, 0);
    assert_names_the_key(&cluster, 1);
    entries.put(server(&cluster, 1), KEY, "put again");
    assert_all_is_well(&cluster, &mut entries, fault);
}

#[test]
fn a_location_joins_from_a_source_with_a_damaged_row() {
    assert_a_source_serves_the_rest(Place::Row);
}

#[test]
fn a_location_joins_from_a_source_with_a_damaged_row_of_a_large_value() {
    assert_a_source_serves_the_rest(Place::Head);
}

#[test]
fn a_location_joins_from_a_source_with_a_damaged_chunk() {
    assert_a_source_serves_the_rest(Place::Chunk);
}

#[test]
fn a_location_that_joins_beside_a_damaged_source_gets_the_entry_from_another() {
    let mut cluster = prepare(3);
    found(&mut cluster);
    cluster.join_at(1);
    let mut entries = Entries::default();
    put_all(&cluster, 0, Place::Row, &mut entries);
    cluster.stop(0);
    Place::Row.damage(&cluster, 0);
    let fault = "a bit flipped at one of two sources";
    assert_starts(&mut cluster, 0, fault);
    assert_joins(&mut cluster, 2, fault);
    // A read finds the damage, if nothing has yet.
    let _repaired_or_not = read_damaged(&cluster, 0);
    assert_all_is_well(&cluster, &mut entries, fault);
}

/// Damages the key of a store that has no peers.
fn assert_a_single_store_continues(place: Place) {
    let mut cluster = prepare(1);
    cluster.serve(0, &["--namespaces", NAMESPACE]);
    let mut entries = Entries::default();
    put_all(&cluster, 0, place, &mut entries);
    cluster.stop(0);
    place.damage(&cluster, 0);
    cluster.serve(0, &[]);
    assert_lists(&cluster, 0);
    assert_read_is_an_error(&cluster, 0);
    entries.put(server(&cluster, 0), "while-damaged", "other keys are written");
    entries.put(server(&cluster, 0), KEY, "put again");
    entries.assert_everywhere(&cluster, "a put of a damaged key");
    assert_lists(&cluster, 0);
}

#[test]
fn a_single_store_with_a_damaged_row_lists_the_rest_and_a_put_repairs_it() {
    assert_a_single_store_continues(Place::Row);
}

#[test]
fn a_single_store_with_a_damaged_row_of_a_large_value_lists_the_rest_and_a_put_repairs_it() {
    assert_a_single_store_continues(Place::Head);
}

#[test]
fn a_single_store_with_a_damaged_chunk_lists_the_rest_and_a_put_repairs_it() {
    assert_a_single_store_continues(Place::Chunk);
}

/// Damages the key of a namespace that is then merged into another one.
fn assert_a_merge_loses_nothing(place: Place) {
    let mut cluster = prepare(1);
    cluster.serve(0, &["--namespaces", &format!("{NAMESPACE},other")]);
    let mut entries = Entries::default();
    put_all(&cluster, 0, place, &mut entries);
    cluster.stop(0);
    place.damage(&cluster, 0);
    cluster.serve(0, &[]);
    let merge = |from, into| cluster.locations()[0].call(&["namespace", "merge", from, into]);
    let refused = merge(NAMESPACE, "other");
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "the damaged entry is lost: {refused:?}");
    assert!(why.contains("damaged") && why.contains(KEY), "{why}");
    assert_lists(&cluster, 0);
    assert_read_is_an_error(&cluster, 0);
    // Once a put has repaired it, all entries move there and back.
    entries.put(server(&cluster, 0), KEY, "put again");
    let moved = merge(NAMESPACE, "other");
    assert!(moved.status.success(), "it is repaired: {moved:?}");
    server(&cluster, 0).create_namespace(NAMESPACE, None);
    let moved = merge("other", NAMESPACE);
    assert!(moved.status.success(), "nothing is damaged: {moved:?}");
    entries.assert_everywhere(&cluster, "two merges");
}

#[test]
fn a_namespace_with_a_damaged_row_is_not_dropped_by_a_merge() {
    assert_a_merge_loses_nothing(Place::Row);
}

#[test]
fn a_namespace_with_a_damaged_row_of_a_large_value_is_not_dropped_by_a_merge() {
    assert_a_merge_loses_nothing(Place::Head);
}

#[test]
fn a_namespace_with_a_damaged_chunk_is_not_dropped_by_a_merge() {
    assert_a_merge_loses_nothing(Place::Chunk);
}
