//! A namespace that one location drops while another one, which is cut off, creates it and writes to it.
//!
//! Entries later than the drop live, and with them the namespace. Entries before the drop are gone. A dropped title may
//! be created again.

use std::{collections::BTreeMap, thread, time::Duration};

use serde_json::{Value, json};
use waypost_tests::{
    Server,
    cluster::{Cluster, Cut},
    http::Response,
    wait,
};

use super::{Entries, PATIENCE, assert_all_is_well, call, messages, server, start};

/// The namespace that is created and dropped.
const TITLE: &str = "t";

/// The location that is cut off, and the one that drops.
const AWAY: usize = 1;
const HERE: usize = 0;

/// Later by the clocks of two locations, which count in milliseconds.
fn later() {
    thread::sleep(Duration::from_millis(10));
}

fn ask(at: &Server, method: &str, path: &str, body: &Value) -> Response {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let path = format!("/v1/namespaces{path}");
    at.connect().request(method, &path, &[], body.as_bytes()).expect("the server answers")
}

fn create(at: &Server) -> String {
    at.create_namespace(TITLE, None)
}

fn drop_it(at: &Server) {
    let answer = ask(at, "DELETE", &format!("/{TITLE}"), &Value::Null);
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn put(at: &Server, key: &str) {
    let answer = call(at, "PUT", &format!("{TITLE}/{key}"), "", key.as_bytes());
    assert_eq!(answer.status, 200, "{key} is not put: {}", answer.text());
}

/// What a location answers to reads of these keys: the status of each.
fn read(at: &Server, keys: &[&str]) -> BTreeMap<String, u16> {
    let status = |key: &&str| call(at, "GET", &format!("{TITLE}/{key}"), "", b"").status;
    keys.iter().map(|key| ((*key).to_owned(), status(key))).collect()
}

/// Waits until the namespace is everywhere, with the entries that live and without those that the drop ended.
fn assert_namespace(cluster: &Cluster, live: &[&str], dead: &[&str], fault: &str) {
    for (number, location) in cluster.locations().iter().enumerate() {
        let at = location.server();
        let all_live = || {
            ask(at, "GET", &format!("/{TITLE}"), &Value::Null).status == 200
                && read(at, live).values().all(|status| *status == 200)
                && read(at, dead).values().all(|status| *status == 404)
        };
        let found = wait::until(PATIENCE, || all_live().then_some(()));
        assert!(
            found.is_some(),
            "after {fault}, at location {number}: the namespace is answered with {}, entries later than the drop \
             (to live) with {:?}, entries before it (to be gone) with {:?}",
            ask(at, "GET", &format!("/{TITLE}"), &Value::Null).status,
            read(at, live),
            read(at, dead)
        );
    }
}

fn assert_rest_is_well(cluster: &Cluster, fault: &str) {
    assert_all_is_well(cluster, &mut Entries::default(), fault);
}

#[test]
fn puts_of_a_location_that_creates_a_namespace_after_it_was_dropped_elsewhere_live() {
    for cut in [Cut::Network, Cut::Stopped] {
        let mut cluster = start(3);
        // Both create and drop, and the other only creates, but later: neither knows of the other.
        let fault = "a namespace was dropped, and then created by a location that was cut off";
        match cut {
            Cut::Network => {
                cluster.isolate(AWAY, cut);
                create(server(&cluster, HERE));
                put(server(&cluster, HERE), "before");
                later();
                drop_it(server(&cluster, HERE));
            }
            Cut::Stopped => {
                cluster.stop(AWAY);
                create(server(&cluster, HERE));
                put(server(&cluster, HERE), "before");
                later();
                drop_it(server(&cluster, HERE));
                (0..3).filter(|other| *other != AWAY).for_each(|other| cluster.stop(other));
                cluster.restart(AWAY);
            }
        }
        later();
        create(server(&cluster, AWAY));
        put(server(&cluster, AWAY), "later-0");
        put(server(&cluster, AWAY), "later-1");
        cluster.reunite();
        assert_namespace(&cluster, &["later-0", "later-1"], &["before"], fault);
        put(server(&cluster, HERE), "afterwards");
        assert_namespace(&cluster, &["later-0", "later-1", "afterwards"], &["before"], fault);
        assert_rest_is_well(&cluster, fault);
    }
}

#[test]
fn puts_later_than_a_drop_live_though_their_location_created_the_namespace_before_it() {
    let mut cluster = start(3);
    cluster.isolate(AWAY, Cut::Network);
    create(server(&cluster, AWAY));
    put(server(&cluster, AWAY), "before");
    later();
    create(server(&cluster, HERE));
    later();
    drop_it(server(&cluster, HERE));
    later();
    put(server(&cluster, AWAY), "later");
    cluster.reunite();
    let fault = "a namespace was dropped while a location that was cut off wrote to it";
    assert_namespace(&cluster, &["later"], &["before"], fault);
    assert_rest_is_well(&cluster, fault);
}

#[test]
fn puts_later_than_the_drop_of_a_namespace_that_both_had_live() {
    let mut cluster = start(3);
    create(server(&cluster, HERE));
    let fault = "a namespace of all was dropped while a location was cut off";
    assert_namespace(&cluster, &[], &[], "a start");
    put(server(&cluster, AWAY), "before");
    assert_namespace(&cluster, &["before"], &[], "a start");
    cluster.isolate(AWAY, Cut::Network);
    drop_it(server(&cluster, HERE));
    later();
    put(server(&cluster, AWAY), "later");
    cluster.reunite();
    assert_namespace(&cluster, &["later"], &["before"], fault);
    assert_rest_is_well(&cluster, fault);
}

#[test]
fn a_namespace_that_no_client_wrote_to_after_its_drop_is_gone_everywhere() {
    let mut cluster = start(3);
    cluster.isolate(AWAY, Cut::Network);
    create(server(&cluster, AWAY));
    put(server(&cluster, AWAY), "before");
    later();
    create(server(&cluster, HERE));
    drop_it(server(&cluster, HERE));
    cluster.reunite();
    let fault = "a namespace was dropped";
    for (number, location) in cluster.locations().iter().enumerate() {
        let status = || ask(location.server(), "GET", &format!("/{TITLE}"), &Value::Null).status;
        let gone = wait::until(PATIENCE, || (status() == 404).then_some(()));
        assert!(gone.is_some(), "after {fault}, location {number} still has it: {}", status());
    }
    assert_rest_is_well(&cluster, fault);
}

#[test]
fn a_dropped_namespace_is_created_again_empty_and_with_the_same_id() {
    let mut cluster = start(2);
    let id = create(server(&cluster, HERE));
    put(server(&cluster, HERE), "before");
    drop_it(server(&cluster, HERE));
    assert_eq!(create(server(&cluster, HERE)), id, "a title has one id");
    put(server(&cluster, HERE), "later");
    let fault = "a namespace was dropped and created again";
    assert_namespace(&cluster, &["later"], &["before"], fault);
    // An id that a client gives by hand may be created again as well.
    let by_hand = "0123456789abcdef0123456789abcdef";
    for round in ["first", "second"] {
        let body = json!({ "title": "by-hand", "id": by_hand });
        let made = ask(server(&cluster, HERE), "POST", "", &body);
        assert_eq!(made.status, 201, "the {round} creation: {}", made.text());
        let dropped = ask(server(&cluster, HERE), "DELETE", "/by-hand", &Value::Null);
        assert_eq!(dropped.status, 200, "{}", dropped.text());
    }
    cluster.kill(AWAY);
    cluster.restart(AWAY);
    assert_namespace(&cluster, &["later"], &["before"], fault);
    assert_rest_is_well(&cluster, fault);
}

#[test]
fn two_namespaces_with_one_title_are_reported_and_merged() {
    let mut cluster = start(2);
    let (older, newer) = ("a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0", "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0");
    cluster.isolate(AWAY, Cut::Network);
    server(&cluster, AWAY).create_namespace(TITLE, Some(older));
    later();
    server(&cluster, HERE).create_namespace(TITLE, Some(newer));
    put(server(&cluster, AWAY), "of-the-older");
    put(server(&cluster, HERE), "of-the-newer");
    cluster.reunite();
    let fault = "two locations that could not reach each other gave one title to two ids";
    for (number, location) in cluster.locations().iter().enumerate() {
        let reports = location.status_becomes(PATIENCE, |status| {
            status.has_alarm(&[older, newer, messages::TITLE_TWICE[0]]) && !status.is_success
        });
        assert!(reports.is_ok(), "after {fault}, location {number} reports no alarm: {reports:?}");
        let meant = ask(location.server(), "GET", &format!("/{TITLE}"), &Value::Null).text();
        assert!(meant.contains(older), "the title means the older one everywhere: {meant}");
    }
    let merged = cluster.locations()[HERE].call(&["namespace", "merge", newer, older]);
    assert!(merged.status.success(), "{merged:?}");
    assert_namespace(&cluster, &["of-the-older", "of-the-newer"], &[], fault);
    assert_rest_is_well(&cluster, fault);
}
