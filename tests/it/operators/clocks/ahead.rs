//! A clock that is ahead for one put, and then right: later writes replicate at once, other locations can join, and only
//! that key is dated ahead.

use waypost_tests::cluster::{Cluster, Cut};

use super::{
    super::{
        Entries, NAMESPACE, assert_all_is_well, assert_joins, assert_starts,
        assert_writes_replicate, found, messages, server,
    },
    HOUR, SAME_TIME_MS, assert_names_itself, off_by, prepare_with_clocks, start_with_clocks,
    to_2036,
};

/// Sets a clock ahead for one put. While it is wrong, the location must name itself if it has peers.
fn put_while_ahead(cluster: &Cluster, number: usize, ahead: i64, entries: &mut Entries) {
    cluster.set_clock(number, ahead);
    entries.put(server(cluster, number), "ahead", "put while the clock was ahead");
    cluster.set_clock(number, 0);
}

/// Asserts that only the key that was written while the clock was ahead is dated ahead, and that later writes of that
/// location, and writes of the others, replicate at once.
fn assert_only_one_key_is_ahead(
    cluster: &mut Cluster,
    number: usize,
    entries: &mut Entries,
    fault: &str,
) {
    let later = entries.put(server(cluster, number), "later", "put when the clock was right again");
    assert_writes_replicate(cluster, entries, fault);
    assert!(
        off_by(later) < SAME_TIME_MS,
        "after {fault}, a later put of another key is dated {} s off",
        off_by(later) / 1_000
    );
    // An overwrite of the key that is dated ahead wins, whoever writes it.
    for at in (0..cluster.len()).filter(|at| cluster.locations()[*at].is_up()) {
        entries.put(server(cluster, at), "ahead", &format!("overwritten at location {at}"));
        entries.assert_everywhere(cluster, fault);
    }
}

/// A member of three is ahead for one put; a fourth location joins afterwards.
fn assert_a_clock_ahead_harms_one_key(number: usize, ahead: i64, fault: &str) {
    let Some(mut cluster) = prepare_with_clocks(4) else { return };
    found(&mut cluster);
    cluster.join_at(1);
    cluster.join_at(2);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, number), "base", 3);
    entries.assert_everywhere(&cluster, "a start");
    put_while_ahead(&cluster, number, ahead, &mut entries);
    assert_only_one_key_is_ahead(&mut cluster, number, &mut entries, fault);
    assert_joins(&mut cluster, 3, fault);
    assert_all_is_well(&cluster, &mut entries, fault);
}

#[test]
fn a_member_that_puts_once_with_its_clock_8_hours_ahead_harms_that_key_alone() {
    assert_a_clock_ahead_harms_one_key(1, 8 * HOUR, "a put with a clock 8 hours ahead");
}

#[test]
fn the_first_location_that_puts_once_with_its_clock_8_hours_ahead_harms_that_key_alone() {
    assert_a_clock_ahead_harms_one_key(0, 8 * HOUR, "a put with a clock 8 hours ahead");
}

#[test]
fn a_member_that_puts_once_in_2036_harms_that_key_alone() {
    assert_a_clock_ahead_harms_one_key(2, to_2036(), "a put with a clock in 2036");
}

#[test]
fn a_member_that_is_cut_off_and_puts_once_with_its_clock_8_hours_ahead_harms_that_key_alone() {
    let Some(mut cluster) = start_with_clocks(3) else { return };
    let fault = "a put with a clock 8 hours ahead at a location that was cut off";
    let mut entries = Entries::default();
    cluster.isolate(1, Cut::Network);
    put_while_ahead(&cluster, 1, 8 * HOUR, &mut entries);
    let alone = entries.put(server(&cluster, 1), "alone", "put when the clock was right again");
    cluster.reunite();
    entries.assert_everywhere(&cluster, fault);
    assert_only_one_key_is_ahead(&mut cluster, 1, &mut entries, fault);
    assert!(off_by(alone) < SAME_TIME_MS, "a later put is dated {} s off", off_by(alone) / 1_000);
    assert_all_is_well(&cluster, &mut entries, fault);
}

/// A first location, still alone, is ahead for one put; two locations join afterwards.
fn assert_a_founder_ahead_can_be_joined(ahead: i64, fault: &str) {
    let Some(mut cluster) = prepare_with_clocks(3) else { return };
    found(&mut cluster);
    let mut entries = Entries::default();
    put_while_ahead(&cluster, 0, ahead, &mut entries);
    assert_joins(&mut cluster, 1, fault);
    assert_joins(&mut cluster, 2, fault);
    assert_only_one_key_is_ahead(&mut cluster, 0, &mut entries, fault);
    assert_all_is_well(&cluster, &mut entries, fault);
}

#[test]
fn a_first_location_that_was_alone_and_8_hours_ahead_for_one_put_can_be_joined() {
    assert_a_founder_ahead_can_be_joined(8 * HOUR, "a put with a clock 8 hours ahead");
}

#[test]
fn a_first_location_that_was_alone_and_in_2036_for_one_put_can_be_joined() {
    assert_a_founder_ahead_can_be_joined(to_2036(), "a put with a clock in 2036");
}

/// A store in no cluster is ahead for one put, and founds a cluster afterwards.
fn assert_a_store_ahead_can_found_a_cluster(ahead: i64, fault: &str) {
    let Some(mut cluster) = prepare_with_clocks(3) else { return };
    cluster.serve(0, &["--namespaces", NAMESPACE]);
    let mut entries = Entries::default();
    put_while_ahead(&cluster, 0, ahead, &mut entries);
    cluster.stop(0);
    cluster.init_first();
    assert_starts(&mut cluster, 0, fault);
    assert_joins(&mut cluster, 1, fault);
    assert_joins(&mut cluster, 2, fault);
    assert_only_one_key_is_ahead(&mut cluster, 0, &mut entries, fault);
    assert_all_is_well(&cluster, &mut entries, fault);
}

#[test]
fn a_single_store_that_was_8_hours_ahead_for_one_put_can_found_a_cluster() {
    assert_a_store_ahead_can_found_a_cluster(8 * HOUR, "a put with a clock 8 hours ahead");
}

#[test]
fn a_single_store_that_was_in_2036_for_one_put_can_found_a_cluster() {
    assert_a_store_ahead_can_found_a_cluster(to_2036(), "a put with a clock in 2036");
}

#[test]
fn a_location_whose_clock_is_8_hours_ahead_names_itself_and_the_offset_until_it_is_right() {
    let Some(cluster) = start_with_clocks(3) else { return };
    let mut entries = Entries::default();
    let fault = "a clock was 8 hours ahead";
    for number in [1, 0] {
        cluster.set_clock(number, 8 * HOUR);
        entries.put(server(&cluster, number), "ahead", &format!("put at location {number}"));
        assert_writes_replicate(&cluster, &mut entries, fault);
        let way = &messages::CLOCK_AHEAD;
        assert_names_itself(&cluster, number, way, &messages::EIGHT_HOURS);
        cluster.set_clock(number, 0);
        assert_all_is_well(&cluster, &mut entries, fault);
    }
}
