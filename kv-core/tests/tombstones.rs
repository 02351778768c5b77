//! Tombstones are apart from the entries: lists do not read them, and everything else finds them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{ops::ControlFlow, sync::Arc};

use kv_core::{
    Attributes, Dot, Hlc, Key, ListQuery, NamespaceId, OriginId, ReadError, Table, VersionVector,
    commit::{
        Applied, Committer, Creation, GcLimits, NewContent, Operation, Outcome, Remote, RemoteWrite,
    },
    engine::{Engine, Order, Snapshot, Visibility, disk, redb::RedbEngine},
    view::FoundState,
};

/// Unix milliseconds.
const NOW: u64 = 1_800_000_000_000;

/// A store of one location.
struct Case {
    store: Committer<RedbEngine>,
    namespace: NamespaceId,
}

/// Opens a store with random ids from `first` on.
fn open(engine: Arc<RedbEngine>, first: u8) -> Committer<RedbEngine> {
    let mut ids = first..=u8::MAX;
    let random = move || Ok([ids.next().unwrap(); 16]);
    Committer::open(engine, Creation::default(), random).unwrap()
}

impl Case {
    fn new() -> Case {
        let store = open(Arc::new(RedbEngine::open(disk::memory(), 1 << 20).unwrap()), 1);
        let mut case = Case { store, namespace: kv_core::derive_id("", "t", 0) };
        let (account, title) = (kv_core::Account::default(), kv_core::Title::new("t").unwrap());
        case.commit(Operation::CreateNamespace { account, title, id: None });
        case
    }

    fn commit(&mut self, operation: Operation) -> Outcome {
        self.store.commit(NOW, vec![operation]).results.remove(0).unwrap()
    }

    fn put_until(&mut self, name: &str, expires_at: Option<u64>) {
        let mut upload = self.store.upload();
        upload.push(b"value").unwrap();
        let body = upload.finish().1;
        let (namespace, key) = (self.namespace, Key::new(name).unwrap());
        let attributes = Attributes { metadata: None, expires_at };
        self.commit(Operation::Put { namespace, key, body, attributes });
    }

    fn put(&mut self, name: &str) {
        self.put_until(name, None);
    }

    fn delete(&mut self, name: &str) {
        let (namespace, key) = (self.namespace, Key::new(name).unwrap());
        self.commit(Operation::Delete { namespace, key });
    }

    /// Collects what is earlier than `stable`, and frees what has expired by `expired_ms`.
    fn collect(&mut self, stable: Hlc, expired_ms: u64) {
        let expired_ms = Some(expired_ms);
        let limits =
            GcLimits { rows: 10_000, bodies: 10, stable, expired_ms, collects_expired: true };
        while self.store.collect_garbage(NOW, &limits).unwrap().more {}
    }

    fn row_of(&self, name: &str) -> Vec<u8> {
        [&self.namespace.0, name.as_bytes()].concat()
    }

    /// The keys of the namespace that have a row in a table.
    fn rows(&mut self, table: Table) -> Vec<String> {
        let snapshot = self.store.engine().snapshot(Visibility::Latest).unwrap();
        let mut keys = Vec::new();
        let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        snapshot
            .range(table, all, Order::Ascending, &mut |key, _| {
                if let Some(key) = key.strip_prefix(&self.namespace.0) {
                    keys.push(String::from_utf8(key.to_vec()).unwrap());
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        keys
    }

    /// Flips a bit of a row, and opens the store again.
    fn damage(&mut self, table: Table, name: &str) {
        let key = self.row_of(name);
        let engine = Arc::clone(self.store.engine());
        let snapshot = engine.snapshot(Visibility::Latest).unwrap();
        let mut row = snapshot.get(table, &key).unwrap().unwrap().to_vec();
        row[3] ^= 1;
        engine.commit(engine.status().latest + 1, vec![(table, key, Some(row))]).unwrap();
        self.store = open(engine, 100);
    }

    /// The keys of a list that reads at most this many rows; none if these do not suffice.
    fn list(&mut self, rows: usize) -> Option<Vec<String>> {
        let view = self.store.view();
        let query = ListQuery::default();
        let (page, stopped) = view.list_some(self.namespace, &query, NOW, rows).unwrap();
        let keys = page.entries.into_iter().map(|listed| String::from_utf8(listed.key.to_vec()));
        (stopped.is_none() && page.complete).then(|| keys.map(Result::unwrap).collect())
    }

    fn get(&mut self, name: &str) -> Result<bool, ReadError> {
        let view = self.store.view();
        view.get(self.namespace, name.as_bytes(), NOW).map(|found| found.is_some())
    }
}

#[test]
fn a_list_reads_no_tombstones() {
    let mut case = Case::new();
    for n in 0..200 {
        let name = format!("a{n}");
        case.put_until(&name, (n % 2 == 0).then_some(NOW / 1000 - 10));
        if n % 2 == 1 {
            case.delete(&name);
        }
    }
    case.put("b");
    case.collect(Hlc::ZERO, NOW);
    assert_eq!(case.rows(Table::Deleted).len(), 200);
    assert_eq!(case.list(2), Some(vec!["b".to_owned()]));
}

#[test]
fn the_row_of_a_key_is_in_one_table_whatever_becomes_of_it() {
    let mut case = Case::new();
    let one = ["k".to_owned()];
    for _ in 0..2 {
        case.put_until("k", Some(NOW / 1000 - 10));
        assert_eq!((case.rows(Table::Entries), case.rows(Table::Deleted)), (one.to_vec(), vec![]));
        case.collect(Hlc::ZERO, NOW);
        assert_eq!((case.rows(Table::Entries), case.rows(Table::Deleted)), (vec![], one.to_vec()));
        case.put("k");
        assert_eq!((case.rows(Table::Entries), case.rows(Table::Deleted)), (one.to_vec(), vec![]));
        case.delete("k");
        assert_eq!((case.rows(Table::Entries), case.rows(Table::Deleted)), (vec![], one.to_vec()));
    }
    case.collect(Hlc(u64::MAX), NOW);
    assert_eq!((case.rows(Table::Entries), case.rows(Table::Deleted)), (vec![], vec![]));
}

#[test]
fn a_tombstone_beats_an_earlier_write_that_arrives_late() {
    let mut case = Case::new();
    case.delete("k");
    let mut upload = case.store.upload();
    upload.push(b"late").unwrap();
    let change = NewContent::Put { body: upload.finish().1, attributes: Attributes::default() };
    let write = RemoteWrite {
        dot: Dot { origin: OriginId([9; 16]), seq: 2 },
        hlc: Hlc::at_millis(NOW - 1000),
        prev: None,
        namespace: case.namespace,
        key: Key::new("k").unwrap(),
        change,
    };
    let applied = case.commit(Operation::Remote(Remote::Found(write)));
    assert!(matches!(applied, Outcome::Applied(Applied::Lost)), "{applied:?}");
    assert!(!case.get("k").unwrap());
}

#[test]
fn a_catch_up_brings_tombstones() {
    let mut case = Case::new();
    case.put("k");
    case.delete("k");
    let changes = case.store.view().changes(&VersionVector::default(), None, 100).unwrap();
    let change = changes.changes.iter().find(|change| change.key[..] == *b"k").unwrap();
    assert_eq!(change.found.state, FoundState::Tombstone);
}

#[test]
fn the_tombstones_of_a_dropped_namespace_are_purged() {
    let mut case = Case::new();
    for n in 0..50 {
        case.put(&format!("a{n}"));
        case.delete(&format!("b{n}"));
    }
    let id = case.namespace;
    case.commit(Operation::DropNamespace { id });
    case.collect(Hlc::ZERO, 0);
    assert_eq!((case.rows(Table::Entries), case.rows(Table::Deleted)), (vec![], vec![]));
}

#[test]
fn a_damaged_tombstone_is_a_deletion_to_readers_until_it_is_owed() {
    let mut case = Case::new();
    case.put("k");
    case.delete("k");
    case.damage(Table::Deleted, "k");
    assert!(!case.get("k").unwrap());
    // Garbage collection meets it.
    case.collect(Hlc(u64::MAX), NOW);
    assert!(matches!(case.get("k"), Err(ReadError::Damaged { table: Table::Deleted, .. })));
    let page = case.store.view().list(case.namespace, &ListQuery::default(), NOW).unwrap();
    assert_eq!(page.damaged, [Key::new("k").unwrap()]);
}

#[test]
fn a_write_over_a_damaged_row_leaves_no_other_row_of_its_key() {
    let one = ["k".to_owned()];
    for (table, has_deleted) in [(Table::Deleted, true), (Table::Entries, false)] {
        let mut case = Case::new();
        case.put("k");
        if has_deleted {
            case.delete("k");
        }
        case.damage(table, "k");
        if has_deleted {
            case.put("k");
        } else {
            case.delete("k");
        }
        let expected = if has_deleted { (one.to_vec(), vec![]) } else { (vec![], one.to_vec()) };
        assert_eq!((case.rows(Table::Entries), case.rows(Table::Deleted)), expected, "{table:?}");
        assert_eq!(case.get("k").unwrap(), has_deleted);
    }
}
