//! A location that is stopped, after which its directory may be discarded.

use std::{thread, time::Duration};

use waypost_link_tests::Ways;
use waypost_tests::{cluster::Cluster, wait};

use super::{Entries, PATIENCE, call, server, shared, start};

/// The location that is stopped.
const STOPPED: usize = 1;

fn cut(cluster: &Cluster) {
    cluster.locations().iter().for_each(|location| location.proxy().cut_all(Ways::Both));
}

fn heal(cluster: &Cluster) {
    cluster.locations().iter().for_each(|location| location.proxy().heal());
}

#[test]
fn a_location_that_stops_hands_over_what_it_has_acknowledged_before_it_ends() {
    let mut cluster = start(2);
    let mut entries = Entries::default();
    entries.put(server(&cluster, 0), "base", "1");
    entries.assert_everywhere(&cluster, "a start");
    cut(&cluster);
    entries.put(server(&cluster, STOPPED), "unsent", "2");
    cluster.stop_while(STOPPED, |cluster| {
        thread::sleep(Duration::from_secs(1));
        heal(cluster);
    });
    let is_there = wait::until(PATIENCE, || {
        let read = call(server(&cluster, 0), "GET", &shared("unsent"), "", b"");
        (read.status == 200).then_some(())
    });
    assert!(is_there.is_some(), "the location has ended, and nobody else has what it acknowledged");
}
