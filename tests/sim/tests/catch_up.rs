//! The cost of catching up depends on what is missing, not on the size of the stores.

use kv_replicate::Notice;
use waypost_sim_tests::mesh::{Mesh, Settings, traffic::Traffic};

/// The cost of a catch-up.
#[derive(Debug)]
struct Cost {
    traffic: Traffic,
    read: [u64; 2],
    written: u64,
}

/// Makes two equal stores of `keys` keys. One of them then misses overwrites of `missed` keys, and
/// catches up.
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

/// Compares the cost in a store with that in one ten times as large.
fn check(backlog_bytes: usize) -> Cost {
    let small = catch_up(1_000, 200, backlog_bytes);
    let large = catch_up(10_000, 200, backlog_bytes);
    assert_eq!(large.traffic, small.traffic, "messages and bytes");
    assert_eq!((large.read, large.written), (small.read, small.written), "rows");
    large
}

#[test]
fn the_cost_of_a_session_depends_on_missing_rows_only() {
    let cost = check(1_000);
    assert!(cost.traffic.of(&["page"]).0 > 0, "no session: {cost:?}");
    // An index row and an entry for each; and for each of two batches the rows before and behind those of
    // four origins.
    assert!(cost.read[0] <= 2 * 200 + 2 * 8, "{cost:?}");
    assert!(cost.read[1] <= 200 + 10, "{cost:?}");
}

#[test]
fn rows_from_the_backlog_cost_the_same_in_every_store() {
    let cost = check(8 << 20);
    assert_eq!(cost.traffic.of(&["page"]).0, 0, "a session: {cost:?}");
    assert_eq!(cost.read[0], 0, "rows from the backlog are not read from the store: {cost:?}");
}

#[test]
fn work_and_bytes_grow_with_missing_rows() {
    let some = catch_up(1_000, 100, 1_000);
    let more = catch_up(1_000, 400, 1_000);
    let ratio = |more: u64, some: u64| more as f64 / some as f64;
    let bytes = ratio(more.traffic.all().1, some.traffic.all().1);
    let rows = ratio(more.read[0], some.read[0]);
    assert!((3.0..4.2).contains(&bytes) && (3.0..4.2).contains(&rows), "{bytes}, {rows}");
}

/// The bytes of the pages that carry 2,000 rows, if the link closes `drops` times.
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
        // Each drop happens after a few batches of sixteen rows, at different phases of a round
        // trip.
        mesh.run_for(480 + 25 * drop);
        mesh.cut(1);
        mesh.run_for(100);
        mesh.heal();
    }
    mesh.run_until_equal();
    let is_suspension = |notice: &&(usize, Notice)| matches!(notice.1, Notice::SessionSuspended(_));
    assert_eq!(mesh.notices.iter().filter(is_suspension).count() as u64, drops);
    mesh.traffic.since(&before).of(&["page"]).1
}

#[test]
fn a_session_resumes_where_its_link_closed() {
    let (none, some) = (pages_with_drops(0), pages_with_drops(4));
    // Each drop costs the repetition of one batch.
    assert!(some > none && some < none + none / 3, "{none} bytes without a drop, {some} with four");
}
