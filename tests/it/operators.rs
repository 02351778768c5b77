//! What operators do to locations, on purpose or by accident, with real processes: they restore and copy data
//! directories, let clocks be wrong, remove locations, let certificates expire, and their disks flip bits.
//!
//! Each test names one fault and asserts first what the fault must not do: lose an acknowledged entry. Then all
//! locations hold the same, no alarm is left, and writes replicate. `messages` has what an operator sees meanwhile.

mod authority;
mod certificates;
mod clocks;
mod copied;
mod damage;
mod damaged_rows;
mod doctor;
mod entries;
mod messages;
mod namespaces;
mod readiness;
mod removed;
mod restored;
mod salvaged;
mod status;
mod stopped;

use std::time::Duration;

use waypost_link_tests::Conditions;
use waypost_tests::{
    Server,
    cluster::{Cluster, Setup, Status},
    http::Response,
    wait,
};

use crate::binary;

use self::entries::Entries;

/// The namespace of all entries.
const NAMESPACE: &str = "shared";

/// How long locations may take to repair a fault before a test fails; not how long they should.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a write may take to another location over a healthy link before a test calls it delayed. It takes
/// some milliseconds; a fault that parks a sender or repeats sessions costs more than this for each write.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Makes places for `count` locations. The network between them only delays.
fn prepare(count: usize) -> Cluster {
    let setup = Setup {
        binary: binary().to_owned(),
        directory: None,
        conditions: Some(Conditions::default()),
        seed: 1,
        flags: Vec::new(),
        patience: Duration::from_secs(60),
    };
    Cluster::prepare(setup, count)
}

/// Makes the cluster at the first location, with the namespace of all entries.
fn found(cluster: &mut Cluster) {
    cluster.init_first();
    cluster.start_first(NAMESPACE);
}

/// Starts a cluster of `count` locations.
fn start(count: usize) -> Cluster {
    let mut cluster = prepare(count);
    found(&mut cluster);
    (1..count).for_each(|number| cluster.join_at(number));
    cluster
}

fn server(cluster: &Cluster, number: usize) -> &Server {
    cluster.locations()[number].server()
}

/// Sends a request for a key of a namespace. `options` is the rest of the query, such as `expiration_ttl=60`.
fn call(server: &Server, method: &str, key: &str, options: &str, body: &[u8]) -> Response {
    let target = format!("/binding/{key}?urlencoded=true&{options}");
    server.connect().request(method, &target, &[], body).expect("the server answers")
}

/// The path of a key in the namespace of all entries.
fn shared(key: &str) -> String {
    format!("{NAMESPACE}/{key}")
}

/// Starts a location that is down, and asserts that it gets ready.
fn assert_starts(cluster: &mut Cluster, number: usize, fault: &str) {
    if let Err(why) = cluster.try_restart(number, PATIENCE) {
        panic!("after {fault}, location {number} does not start: {why}");
    }
}

/// Lets a location join, and asserts that it can.
fn assert_joins(cluster: &mut Cluster, number: usize, fault: &str) {
    if let Err(why) = cluster.try_join(number, PATIENCE) {
        let statuses: Vec<String> = (cluster.locations().iter())
            .filter(|location| location.is_up())
            .map(|location| location.status().shown)
            .collect();
        panic!("after {fault}, location {number} can't join: {why}\n{}", statuses.join("\n"));
    }
}

/// Asserts what must be true after every fault is over: no acknowledged entry is lost, all locations hold the same,
/// none has an alarm, and a write at each reaches all others at once. The comparison may meet damage, which is an alarm
/// until it is repaired.
fn assert_all_is_well(cluster: &Cluster, entries: &mut Entries, fault: &str) {
    entries.assert_everywhere(cluster, fault);
    cluster.converge_within(PATIENCE);
    for (number, location) in cluster.locations().iter().enumerate().filter(|(_, it)| it.is_up()) {
        if let Err(status) = location.status_becomes(PATIENCE, Status::is_well) {
            panic!("after {fault}, location {number} is not well: {}", status.shown);
        }
    }
    assert_writes_replicate(cluster, entries, fault);
}

/// Asserts that a write at each location that is up reaches all others that are up at once.
fn assert_writes_replicate(cluster: &Cluster, entries: &mut Entries, fault: &str) {
    for number in (0..cluster.len()).filter(|number| cluster.locations()[*number].is_up()) {
        let key = format!("after-{number}");
        entries.put(server(cluster, number), &key, "written afterwards");
        let arrived = wait::until(AT_ONCE, || entries.wrong(cluster).is_empty().then_some(()));
        assert!(
            arrived.is_some(),
            "after {fault}, a write at location {number} does not replicate within {AT_ONCE:?}: {:?}",
            entries.wrong(cluster)
        );
    }
}
