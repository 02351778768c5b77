//! Monitors that probe a healthy server at the same time: each finds it ready.

use std::{collections::BTreeMap, sync::Barrier, thread};

use kv_core::{Mode, Store};
use tempfile::TempDir;
use waypost_tests::Server;

use super::{prepare, server, start};

/// How many callers there are at once, and how often each probes.
const CALLERS: usize = 16;
const REQUESTS: usize = 600;

/// Asks `/readyz` from many connections at once. Returns how often each answer came that is not 200.
fn hammer(at: &Server) -> BTreeMap<String, usize> {
    let mut refused = BTreeMap::new();
    thread::scope(|scope| {
        let caller = || {
            let mut connection = at.connect();
            let mut refused = Vec::new();
            for _each_request in 0..REQUESTS {
                let answer = connection.get("/readyz").expect("the server answers");
                if answer.status != 200 {
                    refused.push(format!("{}: {}", answer.status, answer.text()));
                }
            }
            refused
        };
        let running: Vec<_> = (0..CALLERS).map(|_| scope.spawn(caller)).collect();
        for answer in running.into_iter().flat_map(|one| one.join().expect("a caller ends")) {
            *refused.entry(answer).or_default() += 1;
        }
    });
    refused
}

#[test]
fn a_healthy_server_is_ready_for_each_of_many_callers() {
    let mut cluster = prepare(1);
    cluster.serve(0, &["--threads", "4"]);
    let refused = hammer(server(&cluster, 0));
    assert!(refused.is_empty(), "a healthy server told callers that it is not ready: {refused:?}");
}

#[test]
fn a_healthy_member_is_ready_for_each_of_many_callers() {
    let cluster = start(2);
    let refused = hammer(server(&cluster, 1));
    assert!(refused.is_empty(), "a healthy member told callers that it is not ready: {refused:?}");
}

/// The race is narrower in the server, where each caller does other work in between.
#[test]
fn an_open_store_is_a_writer_for_each_of_many_callers() {
    let directory = TempDir::new().expect("a temporary directory");
    let store = Store::open(directory.path()).expect("a store");
    // All begin at once, and some are still at it when the last begins.
    let begin = Barrier::new(4);
    let caller = || {
        begin.wait();
        (0..1_000_000).filter(|_| store.status().mode != Mode::Writer).count()
    };
    let wrong: usize = thread::scope(|scope| {
        let running: Vec<_> = (0..4).map(|_| scope.spawn(caller)).collect();
        running.into_iter().map(|one| one.join().expect("a caller ends")).sum()
    });
    assert_eq!(
        wrong, 0,
        "so often was an open store reported as closed, to callers at the same time"
    );
    store.close().expect("the store closes");
}
