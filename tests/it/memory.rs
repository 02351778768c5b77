//! Values go through the server in pieces: it never holds a whole large one.

use std::{thread, time::Duration};

use waypost_tests::{Server, http::head, random::noise};

use crate::home;

/// Each with a value of 25 MiB: together ten times the bound below.
const CLIENTS: usize = 24;
const VALUE_BYTES: usize = 26_214_400;

/// The server's whole memory at its peak, with the cache that it gets here. What it needs for each
/// of the clients is a small part of a value.
const MAX_PEAK_KIB: u64 = 64 << 10;

/// The most memory that the process has ever held, in KiB.
fn peak_kib(server: &mut Server) -> u64 {
    let id = server.process().child().id();
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells it");
    line.trim().trim_end_matches(" kB").parse().expect("it is a number")
}

/// Runs a client for each key, at once.
fn all_at_once(client: impl Fn(String) + Sync) {
    thread::scope(|scope| {
        for index in 0..CLIENTS {
            let client = &client;
            scope.spawn(move || client(format!("/binding/memory/{index}")));
        }
    });
}

#[test]
fn many_clients_with_25_mib_each_do_not_fill_the_memory() {
    let home = home();
    let mut server = home.serve(&["--cache", "8MiB", "--limiter-memory", "64KiB"]);
    server.create_namespace("memory", None);
    let value = noise(1, VALUE_BYTES);

    all_at_once(|target| {
        let mut connection = server.connect();
        let length = [("Content-Length", &VALUE_BYTES.to_string()[..])];
        connection.send(head("PUT", &target, &length).as_bytes()).expect("the head is sent");
        for piece in value.chunks(1 << 20) {
            connection.send(piece).expect("the body is sent");
        }
        assert_eq!(connection.answer_to("PUT").expect("the put is answered").status, 200);
    });
    let put_peak = peak_kib(&mut server);

    all_at_once(|target| {
        let mut connection = server.connect();
        connection.send(head("GET", &target, &[]).as_bytes()).expect("the get is sent");
        // The server has time to read ahead, if it does.
        thread::sleep(Duration::from_millis(300));
        let answer = connection.answer_to("GET").expect("the get is answered");
        assert!(answer.status == 200 && answer.body == value, "{target} is not what was put");
    });
    let get_peak = peak_kib(&mut server);
    println!("at its peak: {put_peak} KiB after the puts, {get_peak} KiB after the gets");
    assert!(get_peak < MAX_PEAK_KIB, "the server held {get_peak} KiB (after puts: {put_peak})");
}
