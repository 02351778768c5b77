//! The local state of a location is saved completely or not at all, whatever fails.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::ops::{Bound, ControlFlow};

use kv_core::{
    Options, Store, Table, check_row,
    engine::{Engine, Order, Snapshot, Visibility, redb::RedbEngine},
    limits::{CHUNK_BYTES, MAX_VALUE_BYTES},
};
use waypost_disk_tests::{
    disk::{Armed, Call, FailingDisk, Fault, Keep},
    rng::Rng,
};

const NAME: &str = "counters";

fn open(disk: &FailingDisk) -> Store {
    Options::new().open_disk(disk.process()).unwrap()
}

/// Bytes in pieces of various sizes, a little more than three chunks in all.
fn pieces(fill: u8) -> Vec<Vec<u8>> {
    [1, 3 * CHUNK_BYTES, 0, 20].map(|len| vec![fill; len]).to_vec()
}

fn kept(store: &Store) -> Option<Vec<u8>> {
    store.local(NAME).unwrap().map(|reader| reader.read().unwrap())
}

/// The rows of a table in a file that no store has open.
fn rows(disk: &FailingDisk, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    let engine = RedbEngine::open(disk.process(), 1 << 20).unwrap();
    let mut rows = Vec::new();
    let all = (Bound::Unbounded, Bound::Unbounded);
    let snapshot = engine.snapshot(Visibility::Latest).unwrap();
    snapshot
        .range(table, all, Order::Ascending, &mut |key, row| {
            check_row(table, key, row).unwrap();
            rows.push((key.to_vec(), row.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    engine.close().unwrap();
    rows
}

/// Waits until GC has freed unused bodies, and closes the store.
fn settle(store: Store) {
    while store.bodies_waiting() > 0 {
        std::thread::yield_now();
    }
    store.close().unwrap();
}

#[test]
fn local_state_is_kept_until_it_is_dropped_and_leaves_no_chunks() {
    let disk = FailingDisk::new(Rng::new(1));
    let store = open(&disk);
    assert_eq!(kept(&store), None);
    store.drop_local(NAME).unwrap();
    for fill in [1, 2] {
        store.save_local(NAME, pieces(fill)).unwrap();
        assert_eq!(kept(&store), Some(pieces(fill).concat()));
    }
    settle(store);
    assert_eq!(rows(&disk, Table::Chunks).len(), 4, "the chunks of the first state are freed");
    let store = open(&disk);
    assert_eq!(kept(&store), Some(pieces(2).concat()));
    let reader = store.local(NAME).unwrap().unwrap();
    store.drop_local(NAME).unwrap();
    assert_eq!(kept(&store), None);
    assert_eq!(
        reader.read().unwrap(),
        pieces(2).concat(),
        "an open reader reads the state to its end"
    );
    settle(store);
    for table in [Table::Local, Table::Chunks, Table::Pending] {
        assert_eq!(rows(&disk, table), [], "{table:?}");
    }
}

#[test]
fn local_state_may_be_empty_short_or_longer_than_a_value() {
    let disk = FailingDisk::new(Rng::new(2));
    let store = open(&disk);
    let longer = usize::try_from(MAX_VALUE_BYTES).unwrap() + 7;
    for bytes in [vec![], vec![7; 10], vec![7; longer]] {
        store.save_local(NAME, [&bytes]).unwrap();
        assert_eq!(store.local(NAME).unwrap().unwrap().len(), bytes.len() as u64);
        assert!(kept(&store) == Some(bytes));
    }
    assert!(store.save_local("", [b""]).is_err());
    assert!(store.save_local(&"x".repeat(65), [b""]).is_err());
}

#[test]
fn a_crash_during_a_save_leaves_the_old_or_the_new_state() {
    let mut seen = [0; 2];
    for seed in 0..120 {
        let mut rng = Rng::new(seed);
        let disk = FailingDisk::new(rng.fork());
        let store = open(&disk);
        store.save_local(NAME, pieces(1)).unwrap();
        let keep = Keep::random(&mut rng);
        let fail = Fault::Fail { keep, evict: rng.chance(50) };
        let (on, fault) = match rng.below(5) {
            0 => (Some(Call::Write), fail),
            1 => (Some(Call::Sync), fail),
            2 => (Some(Call::Write), Fault::Full),
            _ => (None, Fault::PowerLoss(keep)),
        };
        disk.arm(Armed {
            on,
            after: rng.below(if on == Some(Call::Sync) { 2 } else { 60 }),
            fault,
        });
        let saved = store.save_local(NAME, pieces(2));
        drop(store);
        disk.power_loss(keep);
        disk.disarm();
        disk.make_room();
        let store = open(&disk);
        let found = kept(&store).unwrap_or_else(|| panic!("seed {seed}: the state is missing"));
        let fill = found[0];
        assert!(found == pieces(fill).concat(), "seed {seed}: a mix of both states");
        assert!(saved.is_err() || fill == 2, "seed {seed}: the acknowledged state is missing");
        seen[usize::from(fill - 1)] += 1;
        settle(store);
        assert_eq!(rows(&disk, Table::Chunks).len(), 4, "seed {seed}");
    }
    assert!(seen.iter().all(|count| *count > 10), "{seen:?}");
}

#[test]
fn a_damaged_row_or_chunk_is_an_error_and_can_be_replaced_or_dropped() {
    for table in [Table::Local, Table::Chunks] {
        let disk = FailingDisk::new(Rng::new(3));
        let store = open(&disk);
        store.save_local(NAME, pieces(1)).unwrap();
        store.close().unwrap();
        let (key, mut row) = rows(&disk, table).pop().unwrap();
        row[0] ^= 1;
        let engine = RedbEngine::open(disk.process(), 1 << 20).unwrap();
        let n = engine.status().latest + 1;
        engine.commit(n, vec![(table, key, Some(row))]).unwrap();
        engine.sync(n).unwrap();
        engine.close().unwrap();
        let store = open(&disk);
        let read = store.local(NAME).and_then(|reader| reader.unwrap().read());
        assert!(read.is_err(), "{table:?}");
        store.save_local(NAME, pieces(2)).unwrap();
        assert_eq!(kept(&store), Some(pieces(2).concat()));
        store.drop_local(NAME).unwrap();
        assert_eq!(kept(&store), None);
    }
}
