//! What several tests need: a store in memory whose rows a test damages, and the fixtures below.

pub(crate) mod disk;
pub(crate) mod owed;
pub(crate) mod peer;
pub(crate) mod replica;
pub(crate) mod writer;

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use kv_core::{
    Attributes, Hlc, Key, NamespaceId, OpenError, Operation, Outcome, Table,
    commit::{Applied, Committer, Creation, GcLimits, GcStep, Remote},
    derive_id,
    engine::{
        Engine as _, Order, Snapshot as _, Visibility,
        disk::{Directory, memory},
        redb::RedbEngine,
    },
};

/// The time of all commits, in milliseconds.
pub(crate) const NOW: u64 = 1_000_000;

/// A store with the namespace `t`.
pub(crate) struct Case {
    disk: Arc<dyn Directory>,
    pub(crate) store: Committer<RedbEngine>,
    pub(crate) namespace: NamespaceId,
    /// The origins of a process that has ended, if a test has noted them.
    pub(crate) pair: Option<[kv_core::OriginId; 2]>,
}

fn open(engine: Arc<RedbEngine>) -> Committer<RedbEngine> {
    try_open(engine).unwrap()
}

fn try_open(engine: Arc<RedbEngine>) -> Result<Committer<RedbEngine>, OpenError> {
    static NEXT: AtomicU16 = AtomicU16::new(100);
    let random = || {
        let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut id = [low; 16];
        id[15] ^= high;
        Ok(id)
    };
    Committer::open(engine, Creation::default(), random)
}

fn disk_engine(disk: &Arc<dyn Directory>) -> RedbEngine {
    RedbEngine::open(Arc::clone(disk), 1 << 20).unwrap()
}

impl Case {
    pub(crate) fn new() -> Case {
        let disk = memory();
        let store = open(Arc::new(disk_engine(&disk)));
        let mut case = Case { disk, store, namespace: derive_id("", "t", 0), pair: None };
        let (account, title) = (kv_core::Account::default(), kv_core::Title::new("t").unwrap());
        case.commit(Operation::CreateNamespace { account, title, id: None });
        case
    }

    pub(crate) fn commit(&mut self, operation: Operation) -> Outcome {
        self.store.commit(NOW, vec![operation]).results.remove(0).unwrap()
    }

    pub(crate) fn apply(&mut self, remote: Remote) -> Applied {
        match self.commit(Operation::Remote(remote)) {
            Outcome::Applied(applied) => applied,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn put(&mut self, name: &str) {
        let mut upload = self.store.upload();
        upload.push(name.as_bytes()).unwrap();
        let (namespace, key, body) = (self.namespace, key(name), upload.finish().1);
        self.commit(Operation::Put { namespace, key, body, attributes: Attributes::default() });
    }

    /// Makes another location a member.
    pub(crate) fn add_member(&mut self) {
        let (name, addresses) = ("other".into(), vec!["other:1".into()]);
        let id = kv_core::MemberId([6; 16]);
        self.commit(Operation::PutMember { id, name, addresses });
    }

    /// Changes rows of the engine, as a disk may, and opens the store again.
    pub(crate) fn damage(&mut self, table: Table, rows: &[Vec<u8>]) {
        let engine = Arc::clone(self.store.engine());
        let snapshot = engine.snapshot(Visibility::Latest).unwrap();
        let damaged = rows.iter().map(|key| {
            let mut row = snapshot.get(table, key).unwrap().unwrap().to_vec();
            row[3] ^= 1;
            (table, key.clone(), Some(row))
        });
        self.write(damaged.collect());
    }

    /// Writes rows of the engine, and opens the store again.
    pub(crate) fn write(&mut self, rows: kv_core::engine::Batch) {
        let engine = Arc::clone(self.store.engine());
        engine.commit(engine.status().latest + 1, rows).unwrap();
        engine.sync(engine.status().latest).unwrap();
        self.reopen();
    }

    /// Flips bits of a key where it is on the disk, out of the order of its table perhaps, and opens the store again, which
    /// may fail then.
    pub(crate) fn flip_key(
        &mut self,
        table: Table,
        key: &[u8],
        at: usize,
        bits: u8,
    ) -> Result<(), OpenError> {
        // The keys of a page stand one after the other.
        let rows = self.rows(table);
        let behind = rows.iter().map(|(key, _)| key).skip_while(|one| *one != key).take(2);
        let keys = behind.flatten().copied().collect::<Vec<_>>();
        self.store.sync().unwrap();
        self.store.engine().close().unwrap();
        let file = self.disk.open("waypost.redb").unwrap();
        let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        let found = bytes.windows(keys.len()).enumerate().filter(|(_, one)| *one == keys);
        let places: Vec<_> = found.map(|(place, _)| place).collect();
        assert!(!places.is_empty());
        places.into_iter().for_each(|place| bytes[place + at] ^= bits);
        file.write_at(0, &bytes).unwrap();
        self.store = try_open(Arc::new(disk_engine(&self.disk)))?;
        Ok(())
    }

    /// Collects garbage until nothing is left to do, or the disk fails.
    pub(crate) fn try_check(&mut self) {
        let limits = GcLimits {
            rows: 9,
            bodies: 9,
            stable: Hlc::ZERO,
            expired_ms: None,
            collects_expired: false,
        };
        while self.store.collect_garbage(NOW, &limits).is_ok_and(|step| step.more) {}
    }

    pub(crate) fn reopen(&mut self) {
        self.store = open(Arc::clone(self.store.engine()));
    }

    /// All rows of a table.
    pub(crate) fn rows(&self, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
        let snapshot = self.store.engine().snapshot(Visibility::Latest).unwrap();
        let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        let mut rows = Vec::new();
        let visit = &mut |key: &[u8], row: &[u8]| {
            rows.push((key.to_vec(), row.to_vec()));
            std::ops::ControlFlow::Continue(())
        };
        snapshot.range(table, all, Order::Ascending, visit).unwrap();
        rows
    }

    /// The key of the row of the index that names an entry of the namespace.
    pub(crate) fn indexed(&self, name: &str) -> Vec<u8> {
        let entry = [&self.namespace.0, name.as_bytes()].concat();
        let rows = self.rows(Table::Dots);
        let is_it = |row: &&(Vec<u8>, Vec<u8>)| row.1.starts_with(&entry);
        rows.iter().find(is_it).unwrap().0.clone()
    }

    /// One step of garbage collection.
    pub(crate) fn collect(&mut self) -> GcStep {
        let (rows, stable, expired_ms) = (9, Hlc::ZERO, None);
        let limits = GcLimits { rows, bodies: 9, stable, expired_ms, collects_expired: false };
        self.store.collect_garbage(NOW, &limits).unwrap()
    }

    /// The keys that are owed.
    pub(crate) fn owed(&mut self) -> Vec<Vec<u8>> {
        self.store.view().owed().iter().map(|(_, key, _)| key.to_vec()).collect()
    }
}

pub(crate) fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}
