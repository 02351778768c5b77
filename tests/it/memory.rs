//! Values pass through the server in pieces: it never holds a whole large value.

use std::{thread, time::Duration};

use waypost_tests::{Server, http::head, random::noise};

use crate::home;

/// Each client transfers a value of 25 MiB: together ten times the bound below.
const CLIENTS: usize = 24;
const VALUE_BYTES: usize = 26_214_400;

/// The bound on the server's peak memory, with the cache that this test configures. Each client
/// needs a small part of a value.
const MAX_PEAK_KIB: u64 = 64 << 10;

/// The peak of the process's resident memory, in KiB.
fn peak_kib(server: &Server) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("the server runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("Linux reports the peak");
    line.trim().trim_end_matches(" kB").parse().expect("the peak is a number")
}

/// Runs all clients at the same time, each with a key of its own.
fn all_at_once(client: impl Fn(String) + Sync) {
    thread::scope(|scope| {
        for index in 0..CLIENTS {
            let client = &client;
            scope.spawn(move || client(format!("/binding/memory/{index}")));
        }
    });
}

#[test]
fn many_clients_with_25_mib_values_do_not_exhaust_memory() {
    let home = home();
    let server = home.serve(&["--cache", "8MiB", "--limiter-memory", "64KiB"]);
    server.create_namespace("memory", None);
    let value = noise(1, VALUE_BYTES);

    all_at_once(|target| {
        let mut connection = server.connect();
        let length = [("Content-Length", &VALUE_BYTES.to_string()[..])];
        connection.send(head("PUT", &target, &length).as_bytes()).expect("the head is sent");
        for piece in value.chunks(1 << 20) {
            connection.send(piece).expect("the body is sent");
        }
        assert_eq!(connection.response_to("PUT").expect("the put is answered").status, 200);
    });
    let put_peak = peak_kib(&server);

    all_at_once(|target| {
        let mut connection = server.connect();
        connection.send(head("GET", &target, &[]).as_bytes()).expect("the get is sent");
        // Gives the server time to read ahead, if it does that.
        thread::sleep(Duration::from_millis(300));
        let answer = connection.response_to("GET").expect("the get is answered");
        assert!(
            answer.status == 200 && answer.body == value,
            "{target} is not the value that was put"
        );
    });
    let get_peak = peak_kib(&server);
    println!("peak memory: {put_peak} KiB after the puts, {get_peak} KiB after the gets");
    assert!(get_peak < MAX_PEAK_KIB, "the server held {get_peak} KiB (after puts: {put_peak})");
}
