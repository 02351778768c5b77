//! Where there are many locations, progress costs less than the writes, and nothing waits for it.

use kv_core::{Attributes, Dot};
use waypost_sim_tests::mesh::{Mesh, Settings, traffic::Traffic};

/// A number of members with which progress is sent every 200 ms at most.
const PLACES: usize = 40;

/// A linked mesh in which each location has written.
fn mesh() -> Mesh {
    let mut mesh = Mesh::new(Settings { places: PLACES, ..Settings::default() });
    mesh.connect();
    mesh.run_for(1_000);
    for place in 0..PLACES {
        mesh.put(place, format!("first {place}"), b"first");
    }
    mesh.run_until_equal();
    mesh.run_for(7_000);
    mesh
}

fn bytes(traffic: &Traffic) -> (u64, u64) {
    (traffic.of(&["live"]).1, traffic.of(&["progress", "durable"]).1)
}

#[test]
fn progress_takes_fewer_bytes_than_the_writes_that_it_is_about() {
    let mut mesh = mesh();
    let before = mesh.traffic;
    for n in 0..600 {
        mesh.put(n % PLACES, format!("key {n}"), &[b'v'; 1024]);
        mesh.run_for(5);
    }
    mesh.run_for(500);
    let (live, progress) = bytes(&mesh.traffic.since(&before));
    assert!(progress * 2 < live, "{progress} bytes of progress, {live} of writes");
}

#[test]
fn progress_of_an_idle_mesh_does_not_grow_with_the_number_of_origins() {
    let mut mesh = mesh();
    let before = mesh.traffic;
    mesh.run_for(30_000);
    let (messages, bytes) = mesh.traffic.since(&before).all();
    assert!(bytes < 110 * messages, "{bytes} bytes in {messages} messages");
}

#[test]
fn a_writer_learns_of_durable_copies_before_the_next_progress() {
    let mut mesh = mesh();
    let Settings { latency_ms, sync_ms, .. } = Settings::default();
    // Everyone has just sent progress about another write.
    mesh.put(1, "other", b"value");
    mesh.run_until_equal();
    mesh.run_for(1);
    let operations = mesh.put_operations(0, "key", b"value", Attributes::default());
    let dots = mesh.write(0, operations);
    let dot: Dot = *dots.last().expect("it has written");
    // The write is synced, travels, is synced there, and the answer travels.
    mesh.run_for(2 * (latency_ms + sync_ms) + 20);
    assert_eq!(mesh.core(0).durable_copies(dot), PLACES);
}
