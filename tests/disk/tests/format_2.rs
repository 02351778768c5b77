//! A store of format 2, which had tombstones among the entries, is migrated on a disk that fails at any call.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use kv_core::{
    Account, Attributes, Hlc, Key, NamespaceId, Table, Title,
    commit::{Committer, Creation, GcLimits, Operation},
    engine::{Batch, Engine, Order, Snapshot, Visibility, redb::RedbEngine},
};
use waypost_disk_tests::{
    disk::{Armed, Call, FailingDisk, Fault, Image, Keep},
    rng::Rng,
};

/// Unix milliseconds.
const NOW: u64 = 1_800_000_000_000;
/// Keys, a third of which are deleted, and a third of which have expired. Values as long as a row takes.
const KEYS: u16 = 900;
const VALUE: &[u8] = &[7; 3500];

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn open(disk: &FailingDisk) -> Option<Committer<RedbEngine>> {
    let engine = RedbEngine::open(disk.process(), 0).ok()?;
    let mut rng = Rng::new(7);
    Committer::open(Arc::new(engine), Creation::default(), move || Ok(rng.id())).ok()
}

fn rows(engine: &RedbEngine, table: Table) -> Rows {
    let snapshot = engine.snapshot(Visibility::Latest).unwrap();
    let (mut rows, all) = (Rows::new(), (Bound::Unbounded, Bound::Unbounded));
    snapshot
        .range(table, all, Order::Ascending, &mut |key, row| {
            rows.insert(key.to_vec(), row.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    rows
}

/// The tables that the migration changes.
const CHANGED: [Table; 4] =
    [Table::Entries, Table::Deleted, Table::Tombstones, Table::ExpiredTombstones];

/// Their rows.
fn changed(engine: &RedbEngine) -> [Rows; 4] {
    CHANGED.map(|table| rows(engine, table))
}

/// A row with its checksum.
fn sealed(table: Table, key: &[u8], payload: &[u8]) -> Vec<u8> {
    let crc = crc32c::crc32c(&[&[table.number()], key, payload].concat());
    [payload, &crc.to_be_bytes()].concat()
}

/// Puts, deletes and lets expire.
fn write(store: &mut Committer<RedbEngine>) -> NamespaceId {
    let (account, title) = (Account::default(), Title::new("t").unwrap());
    store.commit(NOW, vec![Operation::CreateNamespace { account, title, id: None }]);
    let namespace = kv_core::derive_id("", "t", 0);
    for n in 0..KEYS {
        let mut upload = store.upload();
        upload.push(VALUE).unwrap();
        let (key, body) = (Key::new(n.to_be_bytes()).unwrap(), upload.finish().1);
        let expires_at = (n % 3 == 1).then_some(NOW / 1000 - 1);
        let attributes = Attributes { metadata: None, expires_at };
        let put = Operation::Put { namespace, key: key.clone(), body, attributes };
        let delete = (n % 3 == 2).then_some(Operation::Delete { namespace, key });
        let made = store.commit(NOW, [put].into_iter().chain(delete).collect());
        assert!(made.results.iter().all(Result::is_ok));
    }
    let limits = GcLimits {
        rows: 10_000,
        bodies: 10,
        stable: Hlc::ZERO,
        expired_ms: Some(NOW),
        collects_expired: false,
    };
    while store.collect_garbage(NOW, &limits).unwrap().more {}
    namespace
}

/// The file of a store of format 2, and the tables that it must get.
fn image() -> (Image, [Rows; 4]) {
    let disk = FailingDisk::new(Rng::new(1));
    let mut store = open(&disk).unwrap();
    write(&mut store);
    let engine = Arc::clone(store.engine());
    let tables = changed(&engine);
    assert_eq!(tables[1].len(), usize::from(KEYS) / 3 * 2);
    let mut batch: Batch = vec![(
        Table::Meta,
        b"format".to_vec(),
        Some(sealed(Table::Meta, b"format", &[0, 0, 0, 2])),
    )];
    for (key, row) in &tables[1] {
        let payload = &row[..row.len() - 4];
        let among = sealed(Table::Entries, key, payload);
        batch.push((Table::Entries, key.clone(), Some(among)));
        batch.push((Table::Deleted, key.clone(), None));
    }
    for (table, rows) in CHANGED.iter().zip(&tables).skip(2) {
        assert_eq!(rows.len(), usize::from(KEYS) / 3);
        batch.extend(rows.keys().map(|key| (*table, key.clone(), Some(sealed(*table, key, &[])))));
    }
    let last = engine.status().latest + 1;
    engine.commit(last, batch).unwrap();
    engine.sync(last).unwrap();
    drop((store, engine));
    (disk.image(), tables)
}

#[test]
fn the_tombstones_of_a_store_of_format_2_are_set_apart_whatever_interrupts_that() {
    let (image, tables) = image();
    let disk = FailingDisk::holding(image.clone(), Rng::new(2));
    assert_eq!(changed(open(&disk).unwrap().engine()), tables);
    let (syncs, writes) = (disk.counts().syncs, disk.counts().writes);
    assert!(syncs >= 3, "it has several commits: {syncs}");
    let mut rng = Rng::new(3);
    let mut cases = Vec::new();
    for after in 0..syncs {
        for keep in [Keep::Nothing, Keep::All, Keep::random(&mut rng)] {
            cases.push(Armed { on: Some(Call::Sync), after, fault: Fault::PowerLoss(keep) });
        }
    }
    let step = usize::try_from(writes / 8).unwrap().max(1);
    for after in (0..writes).step_by(step) {
        let keep = Keep::random(&mut rng);
        for fault in [Fault::Kill, Fault::PowerLoss(keep)] {
            cases.push(Armed { on: Some(Call::Write), after, fault });
        }
    }
    let mut interrupted = 0;
    for (seed, armed) in (0..).zip(cases) {
        let disk = FailingDisk::holding(image.clone(), Rng::new(seed));
        disk.arm(armed);
        interrupted += usize::from(open(&disk).is_none());
        disk.disarm();
        disk.kill();
        assert_eq!(changed(open(&disk).unwrap().engine()), tables, "{armed:?}");
    }
    assert!(interrupted > 5, "the faults hit the migration: {interrupted}");
}
