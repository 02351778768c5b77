//! A location whose data directory is replaced by an older copy: by an operator who restores a backup, or by a disk that
//! lost what it had acknowledged.
//!
//! What it lost comes back from the others. What it writes before it meets them, however much, is kept too: a
//! start never reuses a number that the lost writes had.

use std::{thread, time::Duration};

use kv_core::Table;
use waypost_tests::{
    cluster::{Cluster, Cut},
    wait,
};

use super::{Entries, PATIENCE, assert_all_is_well, authority::ca, server, start};

/// How many writes the image lacks.
const LOST: u32 = 20;

/// What happens between the lost writes and the reunion.
#[derive(Clone, Copy)]
struct Case {
    location: usize,
    /// `kill -9`, or SIGTERM, before the image is put in place.
    is_killed: bool,
    cut: Cut,
    /// How many entries it writes before it meets the others.
    written: u32,
}

fn assert_nothing_is_lost(case: Case) {
    let Case { location, is_killed, cut, written } = case;
    let mut cluster = start(3);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, location), "base", 10);
    entries.assert_everywhere(&cluster, "a start");
    cluster.stop(location);
    let image = cluster.locations()[location].image();
    cluster.restart(location);
    entries.put_many(server(&cluster, location), "lost", LOST);
    entries.assert_everywhere(&cluster, "a clean restart");

    if is_killed {
        cluster.kill(location);
    } else {
        cluster.stop(location);
    }
    cluster.locations()[location].restore(&image);
    cluster.isolate(location, cut);
    cluster.restart(location);
    entries.put_many(server(&cluster, location), "new", written);
    if written > 0 {
        // The location does not know the value that this replaces.
        entries.put(server(&cluster, location), "lost-7", "written again after the restore");
    }
    cluster.reunite();
    assert_all_is_well(&cluster, &mut entries, "a location was restored from an old copy");
}

#[test]
fn a_restored_location_that_writes_nothing_gets_back_what_it_lost() {
    let cut = Cut::Stopped;
    assert_nothing_is_lost(Case { location: 1, is_killed: false, cut, written: 0 });
}

#[test]
fn a_restored_location_that_writes_less_than_it_lost_keeps_both() {
    let cut = Cut::Network;
    assert_nothing_is_lost(Case { location: 2, is_killed: true, cut, written: 10 });
}

#[test]
fn a_restored_location_that_writes_as_much_as_it_lost_keeps_both() {
    let cut = Cut::Stopped;
    assert_nothing_is_lost(Case { location: 1, is_killed: true, cut, written: LOST - 1 });
}

#[test]
fn a_restored_location_that_writes_more_than_it_lost_keeps_both() {
    let cut = Cut::Network;
    assert_nothing_is_lost(Case { location: 1, is_killed: false, cut, written: 30 });
}

#[test]
fn the_first_location_is_restored_writes_more_than_it_lost_and_keeps_both() {
    let cut = Cut::Stopped;
    assert_nothing_is_lost(Case { location: 0, is_killed: false, cut, written: 30 });
}

#[test]
fn a_location_that_is_restored_twice_from_one_image_keeps_what_it_wrote_each_time() {
    let mut cluster = start(2);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, 1), "base", 10);
    cluster.stop(1);
    let image = cluster.locations()[1].image();
    for round in 0..3 {
        cluster.restart(1);
        entries.put_many(server(&cluster, 1), &format!("round-{round}"), 10 + round);
        entries.assert_everywhere(&cluster, "a location was restored from one image several times");
        cluster.kill(1);
        cluster.locations()[1].restore(&image);
    }
    cluster.restart(1);
    let fault = "a location was restored from one image several times";
    assert_all_is_well(&cluster, &mut entries, fault);
}

#[test]
fn a_location_restored_from_an_image_older_than_deletes_does_not_bring_back_the_deleted() {
    let mut cluster = start(2);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, 1), "deleted", 6);
    entries.put_many(server(&cluster, 1), "base", 6);
    entries.assert_everywhere(&cluster, "a start");
    cluster.stop(1);
    let image = cluster.locations()[1].image();
    cluster.restart(1);
    cluster.wait_until_linked();
    (0..6).for_each(|index| entries.delete(server(&cluster, 0), &format!("deleted-{index}")));
    entries.assert_everywhere(&cluster, "deletes");
    wait_until_tombstones_are_collected(&mut cluster);

    cluster.kill(1);
    cluster.locations()[1].restore(&image);
    cluster.isolate(1, Cut::Network);
    cluster.restart_unready(1);
    // It may be written to before it learns how old it is.
    let put = |entries: &mut Entries| {
        entries.try_put(server(&cluster, 1), "new", "written after the restore", "").status
    };
    let taken = wait::until(PATIENCE, || (put(&mut entries) == 200).then_some(()));
    assert!(taken.is_some(), "a restored location takes no writes while it reaches nobody");
    cluster.reunite();
    let fault = "a location was restored from an image that is older than deletes";
    assert_all_is_well(&cluster, &mut entries, fault);
}

#[test]
fn a_location_restored_from_an_image_whose_other_members_were_all_removed_joins_again_with_a_token()
{
    let mut cluster = start(3);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, 2), "base", 6);
    entries.assert_everywhere(&cluster, "a start");
    cluster.stop(2);
    let image = cluster.locations()[2].image();
    cluster.restart(2);
    entries.put_many(server(&cluster, 2), "lost", 6);
    cluster.join();
    move_the_ca(&mut cluster, 3);
    for removed in [0, 1] {
        cluster.stop(removed);
        cluster.remove(removed, 3);
    }
    entries.put_many(server(&cluster, 3), "later", 6);

    cluster.kill(2);
    cluster.locations()[2].restore(&image);
    cluster.isolate(2, Cut::Network);
    cluster.restart_unready(2);
    entries.put_many(server(&cluster, 2), "new", 6);
    cluster.stop(2);
    cluster.heal();
    cluster.join_again(2, 3);
    let fault = "a location was restored from an image that knows no other member of today";
    assert_all_is_well(&cluster, &mut entries, fault);
}

/// Moves the key of the CA from the first location to another one.
fn move_the_ca(cluster: &mut Cluster, to: usize) {
    let places = tempfile::tempdir().expect("a directory");
    let file = places.path().join("moved");
    let file = file.to_str().expect("a path in UTF-8");
    ca(cluster, 0, &["move", file]);
    ca(cluster, to, &["import", file]);
    cluster.stop(to);
    cluster.restart(to);
}

/// Waits until the first location has forgotten its deletes: it has no tombstone of them any more.
pub(super) fn wait_until_tombstones_are_collected(cluster: &mut Cluster) {
    const LOOKS: u32 = 20;
    for _ in 0..LOOKS {
        thread::sleep(Duration::from_secs(1));
        cluster.stop(0);
        let is_collected = cluster.locations()[0].rows(Table::Deleted).is_empty();
        cluster.restart(0);
        cluster.wait_until_linked();
        if is_collected {
            return;
        }
    }
    panic!("tombstones that all locations have are still there after {LOOKS} seconds");
}
