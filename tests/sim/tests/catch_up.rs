//! Catching up costs what is missing, whatever else the stores hold.

use kv_replicate::Notice;
use waypost_sim_tests::mesh::{Mesh, Settings, traffic::Traffic};

/// What a catch-up cost.
#[derive(Debug)]
struct Cost {
    traffic: Traffic,
    read: [u64; 2],
    written: u64,
}

/// Two equal stores of so many keys, of which one then misses overwrites of `missed` of them.
fn catch_up(keys: u64, missed: u64, backlog_bytes: usize) -> Cost {
    let mut mesh = Mesh::new(Settings { places: 2, backlog_bytes, ..Settings::default() });
    mesh.connect();
    mesh.run_for(1_000);
    for n in 0..keys {
        mesh.put(usize::from(n % 2 == 1), format!("key {n:08}"), b"a value");
        if n % 100 == 99 {
            mesh.run_for(20);
        }
    }
    mesh.run_until_equal();
    mesh.cut(1);
    for n in 0..missed {
        mesh.put(0, format!("key {:08}", n * 7_919 % keys), b"other one");
    }
    mesh.run_for(1_000);
    let read = |mesh: &Mesh| [0, 1].map(|place| mesh.rows(place).read());
    let (traffic, before, written) = (mesh.traffic, read(&mesh), mesh.rows(1).written());
    mesh.heal();
    mesh.run_until_equal();
    let after = read(&mesh);
    Cost {
        traffic: mesh.traffic.since(&traffic),
        read: [after[0] - before[0], after[1] - before[1]],
        written: mesh.rows(1).written() - written,
    }
}

/// Holds the cost in a store ten times as large against the cost in a small one.
fn check(backlog_bytes: usize) -> Cost {
    let small = catch_up(1_000, 200, backlog_bytes);
    let large = catch_up(10_000, 200, backlog_bytes);
    assert_eq!(large.traffic, small.traffic, "messages and bytes");
    assert_eq!((large.read, large.written), (small.read, small.written), "rows");
    large
}

#[test]
fn a_session_costs_what_is_missing_and_not_what_the_store_holds() {
    let cost = check(1_000);
    assert!(cost.traffic.of(&["page"]).0 > 0, "no session: {cost:?}");
    // A row of the index and an entry for each; of each of two bursts the seek of three origins
    // and the row that says that there are more.
    assert!(cost.read[0] <= 2 * 200 + 2 * 4, "{cost:?}");
    assert!(cost.read[1] <= 200 + 10, "{cost:?}");
}

#[test]
fn what_the_ring_still_holds_costs_the_same_in_every_store() {
    let cost = check(8 << 20);
    assert_eq!(cost.traffic.of(&["page"]).0, 0, "a session: {cost:?}");
    assert_eq!(cost.read[0], 0, "a ring reads no rows: {cost:?}");
}

#[test]
fn work_and_bytes_rise_with_what_is_missing() {
    let some = catch_up(1_000, 100, 1_000);
    let more = catch_up(1_000, 400, 1_000);
    let ratio = |more: u64, some: u64| more as f64 / some as f64;
    let bytes = ratio(more.traffic.all().1, some.traffic.all().1);
    let rows = ratio(more.read[0], some.read[0]);
    assert!((3.0..4.2).contains(&bytes) && (3.0..4.2).contains(&rows), "{bytes}, {rows}");
}

/// The bytes of pages that bring 2,000 rows, where the link drops so often on the way.
fn pages_with_drops(drops: u64) -> u64 {
    let mut mesh = Mesh::new(Settings { places: 2, backlog_bytes: 1_000, ..Settings::default() });
    mesh.connect();
    mesh.run_for(1_000);
    mesh.cut(1);
    for n in 0..2_000 {
        mesh.put(0, format!("key {n:08}"), b"a value");
    }
    mesh.run_for(1_000);
    let before = mesh.traffic;
    mesh.heal();
    for drop in 0..drops {
        // A few bursts of sixteen, and another part of the way there and back each time.
        mesh.run_for(480 + 25 * drop);
        mesh.cut(1);
        mesh.run_for(100);
        mesh.heal();
    }
    mesh.run_until_equal();
    let is_suspension = |told: &&(usize, Notice)| matches!(told.1, Notice::SessionSuspended(_));
    assert_eq!(mesh.notices.iter().filter(is_suspension).count() as u64, drops);
    mesh.traffic.since(&before).of(&["page"]).1
}

#[test]
fn a_session_whose_link_drops_goes_on_where_it_was() {
    let (none, some) = (pages_with_drops(0), pages_with_drops(4));
    // Of each drop one burst comes again.
    assert!(some > none && some < none + none / 3, "{none} without a drop, {some} with four");
}
