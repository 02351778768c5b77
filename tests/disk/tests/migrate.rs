//! A store is migrated from an older format on a disk that fails at any call: the next opening continues, and an older
//! program never takes a half migrated store for one of its own.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use kv_core::{
    FORMAT_VERSION, OpenError, Table,
    commit::{Committer, Creation, Formats, Program, Slice, Step},
    engine::{Engine, Order, Snapshot, Visibility, redb::RedbEngine},
};
use waypost_disk_tests::{
    disk::{Armed, Call, FailingDisk, Fault, Image, Keep},
    rng::Rng,
};

/// Rows that the steps rewrite: several slices of each step.
const ROWS: u8 = 24;
const ROW_BYTES: usize = 100_000;

/// Two steps that no program has. Each appends its format to every row, so that a slice that ran twice shows.
static CHAIN: [Step; 2] = [
    Step { from: FORMAT_VERSION, slice: |snapshot, after| append(snapshot, after, 1) },
    Step { from: FORMAT_VERSION + 1, slice: |snapshot, after| append(snapshot, after, 2) },
];

fn append(snapshot: &dyn Snapshot, after: &[u8], mark: u8) -> Result<Slice, OpenError> {
    Slice::rewrite(snapshot, Table::Local, after, &mut |batch, key, row| {
        batch.push((Table::Local, key.to_vec(), Some([row, &[mark]].concat())));
        Ok(())
    })
}

fn later() -> Program {
    let formats = Formats { newest: FORMAT_VERSION + 2, chain: &CHAIN };
    Program { formats, ..Program::default() }
}

fn open(disk: &FailingDisk, program: Program) -> Result<Committer<RedbEngine>, OpenError> {
    let engine = RedbEngine::open(disk.process(), 0).map_err(OpenError::Engine)?;
    let mut rng = Rng::new(7);
    Committer::open_as(Arc::new(engine), Creation::default(), move || Ok(rng.id()), program)
}

/// The file of a store of this program's format.
fn image() -> Image {
    let disk = FailingDisk::new(Rng::new(1));
    let store = open(&disk, Program::default()).unwrap();
    let engine = Arc::clone(store.engine());
    let row = |key| (Table::Local, vec![key], Some(vec![key; ROW_BYTES]));
    let last = engine.status().latest + 1;
    engine.commit(last, (0..ROWS).map(row).collect()).unwrap();
    engine.sync(last).unwrap();
    drop((store, engine));
    disk.image()
}

/// The bytes that the steps have appended to each row.
fn marks(store: &Committer<RedbEngine>) -> Vec<Vec<u8>> {
    let snapshot = store.engine().snapshot(Visibility::Durable).unwrap();
    let mut marks = Vec::new();
    let all = (Bound::Unbounded, Bound::Unbounded);
    snapshot
        .range(Table::Local, all, Order::Ascending, &mut |_, row| {
            marks.push(row[ROW_BYTES..].to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    marks
}

/// Migrates a copy with a fault armed, then checks what two programs find there.
fn migrate_with(image: &Image, armed: Armed, seed: u64) -> bool {
    let disk = FailingDisk::holding(image.clone(), Rng::new(seed));
    disk.arm(armed);
    let has_failed = open(&disk, later()).is_err();
    disk.disarm();
    disk.kill();
    match open(&disk, Program::default()) {
        Ok(store) => {
            let untouched = vec![Vec::<u8>::new(); usize::from(ROWS)];
            assert_eq!(marks(&store), untouched, "{armed:?}: an older program opened it");
        }
        Err(OpenError::Format { found, .. }) => assert!(found > FORMAT_VERSION, "{armed:?}"),
        Err(error) => panic!("{armed:?}: {error}"),
    }
    disk.kill();
    let store = open(&disk, later()).unwrap();
    assert_eq!(marks(&store), vec![vec![1, 2]; usize::from(ROWS)], "{armed:?}");
    has_failed
}

#[test]
fn a_migration_continues_after_a_crash_at_any_sync_and_at_many_writes() {
    let image = image();
    let disk = FailingDisk::holding(image.clone(), Rng::new(2));
    drop(open(&disk, later()).unwrap());
    let (syncs, writes) = (disk.counts().syncs, disk.counts().writes);
    assert!(syncs >= 6, "each step has several commits: {syncs}");
    let mut rng = Rng::new(3);
    let mut crashes = 0;
    for after in 0..syncs {
        for keep in [Keep::Nothing, Keep::All, Keep::random(&mut rng)] {
            let armed = Armed { on: Some(Call::Sync), after, fault: Fault::PowerLoss(keep) };
            crashes += usize::from(migrate_with(&image, armed, after));
        }
    }
    let step = usize::try_from(writes / 12).unwrap().max(1);
    for after in (0..writes).step_by(step) {
        let keep = Keep::random(&mut rng);
        for fault in [Fault::Kill, Fault::PowerLoss(keep), Fault::Fail { keep, evict: true }] {
            let armed = Armed { on: Some(Call::Write), after, fault };
            crashes += usize::from(migrate_with(&image, armed, after));
        }
    }
    assert!(crashes > 20, "the faults hit the migration: {crashes}");
}

#[test]
fn a_full_disk_stops_a_migration_until_there_is_room() {
    let image = image();
    for after in [0, 3, 9] {
        let armed = Armed { on: Some(Call::Write), after, fault: Fault::Full };
        let disk = FailingDisk::holding(image.clone(), Rng::new(after));
        disk.arm(armed);
        assert!(open(&disk, later()).is_err());
        disk.disarm();
        disk.make_room();
        let store = open(&disk, later()).unwrap();
        assert_eq!(marks(&store), vec![vec![1, 2]; usize::from(ROWS)]);
    }
}
