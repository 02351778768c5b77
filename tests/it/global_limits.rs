//! One limit across three real locations, with clients at all of them.

use std::{thread, time::Duration};

use serde_json::Value;
use waypost_link_tests::{Conditions, Ways};
use waypost_tests::{Address, cluster::Cluster, http::Connection, wait};

use crate::binary;

const LIMIT: u64 = 60;
/// How long a count may take to arrive, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

fn cluster(count: usize, seed: u64) -> Cluster {
    let delay = Duration::from_millis(10);
    Cluster::start(binary(), count, "shared", Conditions { delay, ..Conditions::default() }, seed)
}

/// The body of a check. The period is long, so that no window ends in a test.
fn body(key: &str, more: &str) -> String {
    format!(
        r#"{{"namespace":"n","key":"{key}","limit":{LIMIT},"period":"700d","algorithm":"fixed","scope":"global"{more}}}"#
    )
}

fn send(connection: &mut Connection, body: &str) -> Value {
    let response = connection.request("POST", "/ratelimit", &[], body.as_bytes());
    let response = response.expect("the server responds");
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_str(&response.text()).expect("a response in JSON")
}

fn connect(address: &Address) -> Connection {
    Connection::to(address).expect("the server accepts connections")
}

/// Sends so many checks of a key to a location. Returns how many were allowed.
fn check(address: &Address, key: &str, times: u64) -> u64 {
    let (mut connection, body) = (connect(address), body(key, ""));
    let allowed = (0..times).filter(|_| send(&mut connection, &body)["success"] == true);
    allowed.count() as u64
}

/// Waits until a location has heard of so many requests that were allowed. It looks, and counts nothing.
fn wait_for_count(address: &Address, key: &str, count: u64) {
    let (mut connection, body) = (connect(address), body(key, r#","peek":true"#));
    let mut last = Value::Null;
    let is_there = wait::until(PATIENCE, || {
        last = send(&mut connection, &body);
        (last["remaining"] == LIMIT.saturating_sub(count)).then_some(())
    });
    assert!(is_there.is_some(), "{count} requests were allowed, and this location says {last}");
}

fn address(cluster: &Cluster, number: usize) -> Address {
    cluster.addresses().get(number).expect("the location is up")
}

#[test]
fn clients_at_three_locations_are_allowed_one_limit() {
    let cluster = cluster(3, 1);
    let at = |number| address(&cluster, number);
    // In turn: each location knows what the others have allowed.
    let mut allowed = 0;
    for number in [0, 1, 2] {
        allowed += check(&at(number), "in turn", LIMIT / 3);
        (0..3).for_each(|other| wait_for_count(&at(other), "in turn", allowed));
    }
    assert_eq!(allowed, LIMIT);
    assert_eq!((0..3).map(|number| check(&at(number), "in turn", 10)).sum::<u64>(), 0);
    // At once: what is under way may be allowed too, and no more than that.
    let clients: Vec<_> = (0..3).map(at).collect();
    let clients = clients.into_iter().map(|at| thread::spawn(move || check(&at, "at once", 500)));
    let clients: Vec<_> = clients.collect();
    let allowed: Vec<u64> = clients.into_iter().map(|it| it.join().expect("no panic")).collect();
    println!("{LIMIT} at once: {allowed:?} were allowed");
    let sum: u64 = allowed.iter().sum();
    assert!((LIMIT..=3 * LIMIT).contains(&sum), "{allowed:?}");
    (0..3).for_each(|number| wait_for_count(&at(number), "at once", LIMIT));
    let server = cluster.locations()[0].server();
    assert!(server.metric("waypost_limiter_global_keys") >= 2.0);
    assert!(server.metric("waypost_limiter_global_others") >= 4.0);
}

#[test]
fn crashes_restarts_and_joins_forget_nothing_that_was_reported() {
    let mut cluster = cluster(3, 2);
    for number in [0, 1, 2] {
        assert_eq!(check(&address(&cluster, number), "k", LIMIT / 3), LIMIT / 3);
    }
    (0..3).for_each(|number| wait_for_count(&address(&cluster, number), "k", LIMIT));
    cluster.kill(1);
    cluster.restart(1);
    wait_for_count(&address(&cluster, 1), "k", LIMIT);
    cluster.stop(2);
    cluster.restart(2);
    // It knows that before any link is up.
    assert_eq!(check(&address(&cluster, 2), "k", 5), 0);
    cluster.join();
    wait_for_count(&address(&cluster, 3), "k", LIMIT);
    assert_eq!((0..4).map(|number| check(&address(&cluster, number), "k", 5)).sum::<u64>(), 0);
}

#[test]
fn locations_that_are_cut_off_allow_one_limit_each_and_count_together_afterwards() {
    let cluster = cluster(3, 3);
    let at = |number| address(&cluster, number);
    assert_eq!(check(&at(0), "k", 10), 10);
    (0..3).for_each(|number| wait_for_count(&at(number), "k", 10));
    cluster.cut_off(2, Ways::Both);
    cluster.wait_until_alone(2);
    assert_eq!(check(&at(2), "k", 100), LIMIT - 10);
    assert_eq!(check(&at(0), "k", 20), 20);
    wait_for_count(&at(1), "k", 30);
    assert!(cluster.locations()[2].server().metric("waypost_limiter_global_oldest_seconds") > 0.0);
    cluster.heal();
    (0..3).for_each(|number| wait_for_count(&at(number), "k", LIMIT));
    assert_eq!((0..3).map(|number| check(&at(number), "k", 5)).sum::<u64>(), 0);
}
