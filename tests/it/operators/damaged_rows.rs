//! A flipped bit in rows that a client never sees: the opening row of an origin, and a row of the index of writes.
//!
//! Locations catch up from one with such damage, and get everything. What can be made again of other rows is; the rest is
//! reported until it is clear that no location has it.

use kv_core::{MemberId, NamespaceId, OriginInfo, Table};
use waypost_tests::{cluster::Cluster, wait};

use super::{
    Entries, PATIENCE, assert_all_is_well, assert_joins, assert_starts, call, found, messages,
    prepare, server, shared, start,
};

/// How long garbage collection may take to check the index of a small store.
const CHECKED: std::time::Duration = PATIENCE;

/// Damages the row of the index that names this entry, at a location that is down.
pub(super) fn damage_index(cluster: &Cluster, number: usize, key: &str) {
    let location = &cluster.locations()[number];
    let rows = location.rows(Table::Dots);
    // The id of the namespace, the key, and the checksum.
    let is_it = |row: &&(Vec<u8>, Vec<u8>)| row.1[16..row.1.len() - 4] == *key.as_bytes();
    let (_, row) = rows.iter().find(is_it).expect("the index names the entry");
    assert!(location.damage(row) > 0, "the row is not in the store's file as it is");
}

/// Which opening rows are damaged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Openings {
    /// One of each pair.
    OneOfEachPair,
    /// All.
    All,
}

/// Damages opening rows at a location that is down. Returns how many.
fn damage_openings(cluster: &Cluster, number: usize, which: Openings) -> usize {
    let location = &cluster.locations()[number];
    let rows = location.rows(Table::Entries);
    let (system, name) = (NamespaceId::SYSTEM.0, |key: &[u8]| key[16..].to_vec());
    let openings = rows.iter().filter(|(key, _)| key.starts_with(&system));
    let openings = openings.filter(|(key, _)| OriginInfo::id_of(&name(key)).is_some());
    let members: Vec<_> = rows
        .iter()
        .filter_map(|(key, _)| kv_core::Member::id_of(key.strip_prefix(&system[..])?))
        .collect();
    // The first field has the location, and then 0 for the first origin of the pair and 1 for the second one.
    let lane = |row: &[u8]| {
        let at = |MemberId(id): &MemberId| row.windows(16).position(|bytes| bytes == id);
        let at = members.iter().find_map(at).expect("it names a member");
        row[at + 16]
    };
    let damaged = openings.filter(|(_, row)| which == Openings::All || lane(row) == 0);
    let damaged: Vec<_> = damaged.collect();
    for (_, row) in &damaged {
        assert!(location.damage(row) > 0, "the row is not in the store's file as it is");
    }
    damaged.len()
}

#[test]
fn a_location_catches_up_from_one_with_a_damaged_row_of_the_index() {
    let mut cluster = start(2);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, 0), "a", 5);
    entries.assert_everywhere(&cluster, "a start");
    cluster.stop(1);
    entries.put_many(server(&cluster, 0), "missed", 9);
    cluster.stop(0);
    damage_index(&cluster, 0, "missed-4");
    let fault = "a bit flipped in the index of a source";
    assert_starts(&mut cluster, 0, fault);
    assert_starts(&mut cluster, 1, fault);
    // Nobody knows which write the row was of: all arrive once the index is checked.
    let has = |key: &str| call(server(&cluster, 1), "GET", &shared(key), "", b"").status == 200;
    let has_all = || ["missed-3", "missed-4", "missed-8"].into_iter().all(has);
    let arrived = wait::until(CHECKED, || has_all().then_some(()));
    assert!(arrived.is_some(), "after {fault}, entries do not arrive within {CHECKED:?}");
    assert_all_is_well(&cluster, &mut entries, fault);
}

#[test]
fn a_location_joins_from_one_with_damaged_rows_of_the_index() {
    let mut cluster = prepare(2);
    found(&mut cluster);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, 0), "a", 9);
    cluster.stop(0);
    ["a-0", "a-4", "a-8"].iter().for_each(|key| damage_index(&cluster, 0, key));
    let fault = "bits flipped in the index of a source";
    assert_starts(&mut cluster, 0, fault);
    assert_joins(&mut cluster, 1, fault);
    assert_all_is_well(&cluster, &mut entries, fault);
}

#[test]
fn a_damaged_row_of_the_index_is_made_again_by_a_verification() {
    let mut cluster = start(2);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, 0), "a", 9);
    entries.assert_everywhere(&cluster, "a start");
    cluster.stop(1);
    let rows = cluster.locations()[1].rows(Table::Dots);
    damage_index(&cluster, 1, "a-4");
    let fault = "a bit flipped in an index that nobody reads";
    assert_starts(&mut cluster, 1, fault);
    assert_all_is_well(&cluster, &mut entries, fault);
    let verified = cluster.locations()[1].call(&["cluster", "verify", "location-0"]);
    assert!(verified.status.success(), "the rows differ: {verified:?}");
    let is_repaired = |cluster: &mut Cluster| {
        // Garbage collection runs each second.
        std::thread::sleep(std::time::Duration::from_secs(3));
        cluster.stop(1);
        let now = cluster.locations()[1].rows(Table::Dots);
        assert_starts(cluster, 1, fault);
        rows.iter().all(|row| now.contains(row))
    };
    assert!((0..3).any(|_| is_repaired(&mut cluster)), "the row is not written again");
    assert_all_is_well(&cluster, &mut entries, fault);
}

#[test]
fn one_damaged_opening_row_of_a_pair_is_made_again_of_the_other() {
    let mut cluster = prepare(2);
    found(&mut cluster);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, 0), "a", 5);
    cluster.stop(0);
    let damaged = damage_openings(&cluster, 0, Openings::OneOfEachPair);
    assert!(damaged > 0, "no origin was opened");
    let fault = "a bit flipped in opening rows of a source";
    assert_starts(&mut cluster, 0, fault);
    assert_joins(&mut cluster, 1, fault);
    assert_all_is_well(&cluster, &mut entries, fault);
}

#[test]
fn a_location_joins_from_a_source_whose_opening_rows_are_damaged_and_gets_them_from_another() {
    let mut cluster = prepare(3);
    found(&mut cluster);
    cluster.join_at(1);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, 0), "a", 5);
    entries.put_many(server(&cluster, 1), "b", 5);
    entries.assert_everywhere(&cluster, "a start");
    cluster.stop(1);
    cluster.stop(0);
    let damaged = damage_openings(&cluster, 0, Openings::All);
    assert!(damaged > 2, "few origins were opened");
    let fault = "bits flipped in all opening rows of the only source";
    assert_starts(&mut cluster, 0, fault);
    entries.put_many(server(&cluster, 0), "c", 5);
    // The new location is ready once it has everything that the source can read.
    assert_joins(&mut cluster, 2, fault);
    entries.assert_everywhere(&cluster, fault);
    for at in [0, 2] {
        let named = cluster.locations()[at]
            .status_becomes(PATIENCE, |status| status.has_alarm(&messages::DAMAGED_OPENING));
        if let Err(status) = named {
            panic!("location {at} does not report the damaged rows: {}", status.shown);
        }
    }
    // The rows come from the location that still has them.
    assert_starts(&mut cluster, 1, fault);
    assert_all_is_well(&cluster, &mut entries, fault);
}

#[test]
fn locations_go_on_where_every_copy_of_opening_rows_is_destroyed() {
    let mut cluster = prepare(2);
    found(&mut cluster);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, 0), "a", 5);
    cluster.stop(0);
    damage_openings(&cluster, 0, Openings::All);
    let fault = "bits flipped in all opening rows of the only location";
    assert_starts(&mut cluster, 0, fault);
    entries.assert_everywhere(&cluster, fault);
    assert_joins(&mut cluster, 1, fault);
    assert_all_is_well(&cluster, &mut entries, fault);
}
