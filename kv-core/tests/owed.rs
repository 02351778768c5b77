//! Damaged rows: which keys a store owes, what readers get meanwhile, and what ends it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
};

use kv_core::{
    Attributes, BodyId, Dot, Hlc, JoinedRow, Key, Lane, ListQuery, MemberId, NamespaceId,
    Operation, OriginId, OriginInfo, Outcome, OwedReason, ReadError, Table, Version, VersionVector,
    commit::{Applied, BatchWrite, Committer, Creation, GcLimits, NewContent, Remote, RemoteWrite},
    engine::{Engine as _, disk::StorageBackend, redb::RedbEngine},
};

/// A disk in memory.
#[derive(Debug, Default)]
struct Disk(Mutex<Vec<u8>>);

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.0.lock().unwrap()[offset..offset + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.0.lock().unwrap()[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }
}

const NOW: u64 = 1_000_000;
const THEIRS: OriginId = OriginId([7; 16]);

fn open(engine: Arc<RedbEngine>) -> Committer<RedbEngine> {
    static NEXT: AtomicU8 = AtomicU8::new(100);
    let random = || Ok([NEXT.fetch_add(1, Ordering::Relaxed); 16]);
    Committer::open(engine, Creation::default(), random).unwrap()
}

/// The first write of the peer's origin.
fn opening() -> RemoteWrite {
    let (member, lane, partner, opened) =
        (MemberId([6; 16]), Lane::Small, OriginId([8; 16]), Hlc(1));
    let info = OriginInfo { id: THEIRS, member, lane, partner, closes: [].into(), opened };
    let version = Version { hlc: opened, origin: THEIRS };
    let row = JoinedRow::written(version, 1, [info.field()]).unwrap();
    RemoteWrite {
        dot: Dot { origin: THEIRS, seq: 1 },
        hlc: opened,
        prev: None,
        namespace: NamespaceId::SYSTEM,
        key: Key::new(OriginInfo::key(THEIRS)).unwrap(),
        change: NewContent::Joined(Arc::new(row)),
    }
}

/// A store whose rows can be damaged.
struct Case {
    store: Committer<RedbEngine>,
    namespace: NamespaceId,
}

impl Case {
    fn new() -> Case {
        let disk = Arc::new(Disk::default());
        let engine = RedbEngine::open(Box::new(move || Ok(Arc::clone(&disk) as _)), 1 << 20);
        let mut store = open(Arc::new(engine.unwrap()));
        let opening = Operation::Remote(Remote::Next(opening()));
        store
            .commit(NOW, vec![create(), opening])
            .results
            .into_iter()
            .for_each(|made| drop(made.unwrap()));
        Case { store, namespace: kv_core::derive_id("", "t", 0) }
    }

    fn commit(&mut self, operation: Operation) -> Outcome {
        self.store.commit(NOW, vec![operation]).results.remove(0).unwrap()
    }

    fn put(&mut self, name: &str, value: &[u8]) {
        let mut upload = self.store.upload();
        for operation in upload.push(value).unwrap() {
            self.commit(operation);
        }
        let (last, body) = upload.finish();
        last.into_iter().for_each(|operation| drop(self.commit(operation)));
        let (namespace, key) = (self.namespace, key(name));
        self.commit(Operation::Put { namespace, key, body, attributes: Attributes::default() });
    }

    /// Changes a row of the engine, as a disk may.
    fn damage(&mut self, table: Table, row: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
        let engine = Arc::clone(self.store.engine());
        let snapshot = engine.snapshot(kv_core::engine::Visibility::Latest).unwrap();
        let mut bytes =
            kv_core::engine::Snapshot::get(&snapshot, table, row).unwrap().unwrap().to_vec();
        change(&mut bytes);
        engine
            .commit(engine.status().latest + 1, vec![(table, row.to_vec(), Some(bytes))])
            .unwrap();
        engine.sync(engine.status().latest).unwrap();
        self.reopen();
    }

    fn reopen(&mut self) {
        let engine = Arc::clone(self.store.engine());
        self.store = open(engine);
    }

    fn damage_head(&mut self, name: &str) {
        let row = [&self.namespace.0, name.as_bytes()].concat();
        self.damage(Table::Entries, &row, |bytes| bytes[3] ^= 1);
    }

    fn damage_tombstone(&mut self, name: &str) {
        let row = [&self.namespace.0, name.as_bytes()].concat();
        self.damage(Table::Deleted, &row, |bytes| bytes[3] ^= 1);
    }

    fn damage_value(&mut self, name: &str) {
        let row = [&self.namespace.0, name.as_bytes()].concat();
        self.damage(Table::Entries, &row, |bytes| {
            let last = bytes.len() - 6;
            bytes[last] ^= 1;
        });
    }

    /// Damages the row of the namespace.
    fn damage_namespace(&mut self) {
        let row = [NamespaceId::SYSTEM.0, self.namespace.0].concat();
        self.damage(Table::Entries, &row, |bytes| bytes[3] ^= 1);
    }

    /// The keys that are owed.
    fn owed(&mut self) -> Vec<(String, OwedReason)> {
        let view = self.store.view();
        let owed = view.owed().iter();
        owed.map(|(_, key, owed)| (String::from_utf8(key.to_vec()).unwrap(), owed.reason)).collect()
    }

    fn get(&mut self, name: &str) -> Result<bool, ReadError> {
        let view = self.store.view();
        view.get(self.namespace, name.as_bytes(), NOW).map(|found| found.is_some())
    }

    fn remote(&self, name: &str, seq: u64, time: u64, value: &str) -> RemoteWrite {
        let mut upload = self.store.upload();
        upload.push(value.as_bytes()).unwrap();
        let body = upload.finish().1;
        RemoteWrite {
            dot: Dot { origin: THEIRS, seq },
            hlc: Hlc::at_millis(time),
            prev: None,
            namespace: self.namespace,
            key: key(name),
            change: NewContent::Put { body, attributes: Attributes::default() },
        }
    }

    /// Damages the second chunk of a value, and notes that a reader met it.
    fn damage_chunk(&mut self, name: &str) -> BodyId {
        let view = self.store.view();
        let body =
            view.row(self.namespace, name.as_bytes()).unwrap().unwrap().large().unwrap().body;
        let chunk = [&body.0.to_be_bytes()[..], &1u32.to_be_bytes()].concat();
        self.damage(Table::Chunks, &chunk, |bytes| bytes[100] ^= 1);
        let view = self.store.view();
        view.note_damaged_chunk(self.namespace, name.as_bytes(), body, 0);
        self.store.record_damage(NOW);
        assert_eq!(self.owed(), [], "that chunk can be read");
        view.note_damaged_chunk(self.namespace, name.as_bytes(), body, 1);
        body
    }

    /// Adopts this write of the peer, which the source could not read.
    fn adopt(&mut self, name: &str, seq: u64) {
        let dot = Dot { origin: THEIRS, seq };
        let damaged = vec![kv_core::DamagedKey { namespace: self.namespace, key: key(name), dot }];
        self.commit(Operation::Remote(Remote::Adopt {
            vector: [dot].into_iter().collect(),
            collected: VersionVector::default(),
            floor: Hlc::ZERO,
            damaged,
        }));
    }

    /// The peer's writes after this one that are named as damaged.
    fn named(&mut self, since: u64) -> Vec<u64> {
        let seen: VersionVector = [Dot { origin: THEIRS, seq: since }].into_iter().collect();
        let damaged = self.store.view().changes(&seen, None, 99).unwrap().damaged;
        damaged
            .into_iter()
            .map(|one| one.dot)
            .filter(|dot| dot.origin == THEIRS)
            .map(|dot| dot.seq)
            .collect()
    }

    /// Makes another location a member.
    fn add_member(&mut self) {
        let (name, addresses) = ("other".into(), vec!["other:1".into()]);
        self.commit(Operation::PutMember { id: MemberId([6; 16]), name, addresses });
    }

    /// Puts these keys in one batch.
    fn batch(&mut self, names: &[&str]) {
        let write = |name: &&str| {
            let mut upload = self.store.upload();
            upload.push(b"local").unwrap();
            let (body, attributes) = (upload.finish().1, Attributes::default());
            let content = NewContent::Put { body, attributes };
            BatchWrite { namespace: self.namespace, key: key(name), content }
        };
        let writes = names.iter().map(write).collect();
        self.commit(Operation::Batch(writes));
    }

    /// Collects garbage. Returns how many tombstones.
    fn collect(&mut self) -> usize {
        let limits = GcLimits {
            rows: 9,
            bodies: 9,
            stable: Hlc(u64::MAX),
            expired_ms: Some(NOW),
            collects_expired: true,
        };
        self.store.collect_garbage(NOW, &limits).unwrap().collected
    }

    fn settle(&mut self, name: &str, is_nothing: bool) -> Outcome {
        let (namespace, key) = (self.namespace, key(name));
        let is_destroyed = false;
        self.commit(Operation::Remote(Remote::Settled { namespace, key, is_nothing, is_destroyed }))
    }
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn row(name: &str) -> (String, OwedReason) {
    (name.into(), OwedReason::Row)
}

fn is_damaged(read: &Result<bool, ReadError>) -> bool {
    matches!(read, Err(ReadError::Damaged { .. }))
}

#[test]
fn a_damaged_row_that_a_reader_meets_is_recorded_over_a_restart_until_a_local_write() {
    for damage in [Case::damage_head, Case::damage_value] {
        let mut case = Case::new();
        case.put("k", b"value");
        damage(&mut case, "k");
        assert!(is_damaged(&case.get("k")));
        assert!(case.store.record_damage(NOW) && case.owed() == [row("k")]);
        assert!(is_damaged(&case.get("k")) && !case.store.record_damage(NOW), "once is enough");
        case.reopen();
        assert_eq!(case.owed(), [row("k")]);
        case.put("k", b"another");
        assert_eq!((case.owed(), case.get("k").unwrap()), (vec![], true));
    }
}

#[test]
fn damage_that_was_repaired_before_it_is_recorded_is_not_owed() {
    let mut case = Case::new();
    case.put("k", b"value");
    case.damage_head("k");
    assert!(is_damaged(&case.get("k")));
    case.put("k", b"another");
    case.store.record_damage(NOW);
    assert_eq!(case.owed(), []);
}

#[test]
fn a_list_names_the_damaged_key_and_goes_on() {
    let mut case = Case::new();
    ["a", "b", "c", "d"].iter().for_each(|name| case.put(name, b"value"));
    case.damage_head("b");
    let view = case.store.view();
    let list = |after: Option<&[u8]>, limit| {
        let query = ListQuery { prefix: b"", after, limit };
        let page = view.list(case.namespace, &query, NOW).unwrap();
        let names =
            |keys: Vec<&Key>| keys.into_iter().map(|key| key.to_vec()).collect::<Vec<_>>().concat();
        let entries = names(page.entries.iter().map(|entry| &entry.key).collect());
        (entries, names(page.damaged.iter().collect()), page.complete)
    };
    assert_eq!(list(None, 10), (b"acd".to_vec(), b"b".to_vec(), true));
    assert_eq!(list(None, 2), (b"ac".to_vec(), b"b".to_vec(), false));
    assert_eq!(list(Some(b"c"), 2), (b"d".to_vec(), vec![], true));
}

#[test]
fn a_row_of_a_peer_replaces_a_damaged_one_which_stays_owed() {
    let mut case = Case::new();
    case.put("k", b"value");
    case.damage_head("k");
    let write = case.remote("k", 2, 5, "older");
    let applied = case.commit(Operation::Remote(Remote::Next(write)));
    assert_eq!(applied, Outcome::Applied(Applied::Won { concurrent: false }));
    assert_eq!(case.owed(), [row("k")], "a later write may have been there");
    assert!(case.store.view().vector().covers(Dot { origin: THEIRS, seq: 2 }));
    case.settle("k", false);
    assert_eq!((case.owed(), case.get("k").unwrap()), (vec![], true));
}

#[test]
fn a_row_that_was_found_by_name_restores_its_own_version() {
    for damage in [Case::damage_head, Case::damage_value] {
        let mut case = Case::new();
        let write = case.remote("k", 2, 5, "value");
        case.commit(Operation::Remote(Remote::Next(write)));
        damage(&mut case, "k");
        assert!(is_damaged(&case.get("k")));
        let found = case.remote("k", 2, 5, "value");
        case.commit(Operation::Remote(Remote::Found(found)));
        assert!(case.get("k").unwrap());
    }
}

#[test]
fn a_value_that_was_found_by_name_replaces_its_expired_tombstone() {
    let mut case = Case::new();
    let mut expired = case.remote("k", 2, 5, "");
    expired.change = NewContent::Expired { expires_at: 1 };
    case.commit(Operation::Remote(Remote::Next(expired)));
    for (time, is_there) in [(4, false), (5, true)] {
        let found = case.remote("k", 2, time, "value");
        case.commit(Operation::Remote(Remote::Found(found)));
        assert_eq!(case.get("k").unwrap(), is_there, "{time}");
    }
}

#[test]
fn a_row_that_nobody_has_is_removed_and_one_that_somebody_has_is_not() {
    let mut case = Case::new();
    case.put("k", b"value");
    case.damage_head("k");
    assert!(is_damaged(&case.get("k")));
    case.store.record_damage(NOW);
    case.settle("k", false);
    assert_eq!(case.owed(), [row("k")], "what others have did not come");
    case.settle("k", true);
    assert_eq!((case.owed(), case.get("k").unwrap()), (vec![], false));
}

#[test]
fn a_row_whose_value_no_location_can_read_gives_way_to_the_earlier_one_of_the_others() {
    for is_chunk in [false, true] {
        let mut case = Case::new();
        case.put("k", &vec![b'v'; if is_chunk { 150_000 } else { 100 }]);
        if is_chunk {
            case.damage_chunk("k");
        } else {
            case.damage_value("k");
            assert!(is_damaged(&case.get("k")));
        }
        case.store.record_damage(NOW);
        let earlier = case.remote("k", 2, 5, "earlier");
        let applied = case.commit(Operation::Remote(Remote::Found(earlier)));
        assert_eq!(applied, Outcome::Applied(Applied::Lost), "its version is known");
        case.settle("k", false);
        assert_eq!(case.owed(), [row("k")]);
        assert!(is_damaged(&case.get("k")), "nobody may take it for deleted");
        let earlier = case.remote("k", 2, 5, "earlier");
        case.commit(Operation::Remote(Remote::Found(earlier)));
        case.settle("k", false);
        assert_eq!((case.owed(), case.get("k").unwrap()), (vec![], true));
        assert!(!is_chunk || case.store.view().pending().unwrap() == 1, "its chunks are freed");
    }
}

#[test]
fn a_deletion_whose_tombstone_was_damaged_and_settled_counts_as_collected() {
    let mut case = Case::new();
    let (namespace, key) = (case.namespace, key("k"));
    case.commit(Operation::Delete { namespace, key });
    case.damage_tombstone("k");
    assert!(case.store.view().row(namespace, b"k").is_err() && case.store.record_damage(NOW));
    let read = |case: &mut Case| {
        case.store
            .view()
            .changes(&VersionVector::default(), None, 99)
            .map(|changes| changes.damaged.len())
    };
    assert_eq!(read(&mut case).unwrap(), 1);
    case.settle("k", true);
    assert!(matches!(read(&mut case), Err(ReadError::Gone)));
    let limits = GcLimits {
        rows: 9,
        bodies: 9,
        stable: Hlc(u64::MAX),
        expired_ms: None,
        collects_expired: true,
    };
    case.store.collect_garbage(NOW, &limits).unwrap();
    assert!(matches!(read(&mut case), Err(ReadError::Gone)), "the index names it still");
    case.put("k", b"value");
    assert_eq!(read(&mut case).unwrap(), 0);
}

#[test]
fn a_damaged_chunk_is_owed_until_the_value_is_replaced() {
    let mut case = Case::new();
    case.put("k", &vec![b'v'; 150_000]);
    let body = case.damage_chunk("k");
    let view = case.store.view();
    assert!(view.chunk(body, 1).is_err());
    case.store.record_damage(NOW);
    assert_eq!(case.owed(), [("k".into(), OwedReason::Chunk)]);
    let since = VersionVector::default();
    let changes = case.store.view().changes(&since, None, 9).unwrap();
    assert!(changes.changes.iter().all(|change| change.key != key("k")), "nobody can fetch it");
    assert_eq!(changes.damaged.iter().map(|damaged| &damaged.key).collect::<Vec<_>>(), [&key("k")]);
    let later = case.remote("k", 2, 2 * NOW, "later");
    case.commit(Operation::Remote(Remote::Next(later)));
    assert_eq!(case.owed(), [], "the version of what was damaged is known");
}

#[test]
fn keys_that_a_source_could_not_read_are_adopted_with_its_vector_if_their_writes_are_missing() {
    let mut case = Case::new();
    for (name, seq) in [("has", 2), ("covered", 3)] {
        let write = case.remote(name, seq, 5, "value");
        case.commit(Operation::Remote(Remote::Next(write)));
    }
    let uncounted = case.remote("uncounted", 9, 5, "value");
    case.commit(Operation::Remote(Remote::Row(uncounted)));
    let damaged = |name, seq| kv_core::DamagedKey {
        namespace: case.namespace,
        key: key(name),
        dot: Dot { origin: THEIRS, seq },
    };
    let damaged = vec![damaged("covered", 3), damaged("uncounted", 9), damaged("missing", 8)];
    let vector: VersionVector = [Dot { origin: THEIRS, seq: 9 }].into_iter().collect();
    let collected = VersionVector::default();
    case.commit(Operation::Remote(Remote::Adopt {
        vector: vector.clone(),
        collected,
        floor: Hlc::ZERO,
        damaged,
    }));
    assert_eq!(case.owed(), [("missing".into(), OwedReason::Source)]);
    let view = case.store.view();
    assert!(view.vector().covers_all(&vector));
    assert!(is_damaged(&case.get("missing")), "nobody may take it for deleted");
    let view = case.store.view();
    let page = view.list(case.namespace, &ListQuery::default(), NOW).unwrap();
    assert_eq!((page.entries.len(), page.damaged), (3, vec![key("missing")]));
    assert_eq!(case.named(7), [8], "it is named to those that lack the write");
    assert_eq!(case.named(9), []);
}

#[test]
fn each_write_that_some_source_could_not_read_is_named_to_those_that_lack_it() {
    let mut case = Case::new();
    case.adopt("k", 5);
    case.adopt("k", 8);
    assert_eq!(case.owed(), [("k".into(), OwedReason::Source)]);
    assert_eq!((case.named(1), case.named(5), case.named(8)), (vec![5, 8], vec![8], vec![]));
    let found = case.remote("k", 8, 5, "value");
    case.commit(Operation::Remote(Remote::Found(found)));
    case.settle("k", false);
    assert_eq!(case.named(1), []);
}

#[test]
fn a_local_write_is_later_than_the_damaged_row_that_was_there_however_far_ahead_that_is_dated() {
    // The row that replaces the damaged one before the local write does, if there is one.
    for earlier in [None, Some(5)] {
        for is_batch in [false, true] {
            let mut case = Case::new();
            let ahead = case.remote("k", 2, 90 * NOW, "ahead");
            case.commit(Operation::Remote(Remote::Next(ahead)));
            case.damage_head("k");
            if let Some(time) = earlier {
                let write = case.remote("k", 3, time, "earlier");
                case.commit(Operation::Remote(Remote::Next(write)));
                assert_eq!(case.owed(), [row("k")]);
            }
            case.reopen();
            if is_batch {
                case.batch(&["k", "l", "k"]);
            } else {
                case.put("k", b"local");
            }
            assert_eq!(case.owed(), []);
            let ahead = case.remote("k", 2, 90 * NOW, "ahead");
            let applied = case.commit(Operation::Remote(Remote::Found(ahead)));
            assert_eq!(applied, Outcome::Applied(Applied::Lost));
        }
    }
}

#[test]
fn a_local_write_does_not_end_that_what_a_source_could_not_read_is_owed() {
    let mut case = Case::new();
    case.add_member();
    case.adopt("k", 8);
    case.put("k", b"local");
    assert_eq!(case.owed(), [("k".into(), OwedReason::Source)], "that write may be later");
    assert!(case.get("k").unwrap());
    // The local row is damaged in its turn, and written again.
    case.damage_head("k");
    assert!(is_damaged(&case.get("k")) && case.store.record_damage(NOW));
    assert_eq!(case.owed(), [row("k")]);
    case.put("k", b"local");
    assert_eq!(case.owed(), [("k".into(), OwedReason::Source)]);
    let later = case.remote("k", 8, 90 * NOW, "later");
    let applied = case.commit(Operation::Remote(Remote::Found(later)));
    assert_eq!(applied, Outcome::Applied(Applied::Won { concurrent: true }));
    case.settle("k", false);
    assert_eq!(case.owed(), []);
}

#[test]
fn a_local_write_ends_that_a_key_is_owed_where_there_is_no_other_location() {
    let mut case = Case::new();
    case.adopt("k", 8);
    case.put("k", b"local");
    assert_eq!(case.owed(), []);
}

#[test]
fn a_drop_is_later_than_the_damaged_rows_of_the_namespace() {
    for is_replaced in [false, true] {
        let mut case = Case::new();
        let ahead = case.remote("k", 2, 90 * NOW, "ahead");
        case.commit(Operation::Remote(Remote::Next(ahead)));
        case.damage_head("k");
        if is_replaced {
            let write = case.remote("k", 3, 5, "earlier");
            case.commit(Operation::Remote(Remote::Next(write)));
        }
        case.commit(Operation::DropNamespace { id: case.namespace });
        let ahead = case.remote("k", 2, 90 * NOW, "ahead");
        let applied = case.commit(Operation::Remote(Remote::Found(ahead)));
        assert_eq!(applied, Outcome::Applied(Applied::Dropped));
    }
}

#[test]
fn a_creation_is_later_than_the_damaged_row_of_the_namespace() {
    let mut case = Case::new();
    case.add_member();
    let id = case.namespace;
    let ahead = case.remote("k", 2, 90 * NOW, "ahead");
    case.commit(Operation::Remote(Remote::Next(ahead)));
    case.commit(Operation::DropNamespace { id });
    let row = case.store.view().row(NamespaceId::SYSTEM, &id.0).unwrap().unwrap();
    case.damage_namespace();
    case.commit(create());
    let found = found_namespace(id, &row);
    case.commit(Operation::Remote(Remote::Found(found)));
    assert!(case.store.view().namespaces().get(id).is_some(), "the drop was dated ahead");
}

#[test]
fn a_damaged_row_of_a_dropped_namespace_is_owed_where_another_location_may_have_a_later_one() {
    for has_others in [false, true] {
        let mut case = Case::new();
        if has_others {
            case.add_member();
        }
        case.put("k", b"value");
        case.damage_head("k");
        case.commit(Operation::DropNamespace { id: case.namespace });
        case.collect();
        let expected = if has_others { vec![row("k")] } else { vec![] };
        assert_eq!(case.owed(), expected);
        let view = case.store.view();
        assert!(view.row(case.namespace, b"k").unwrap().is_none(), "the row itself is gone");
    }
}

#[test]
fn a_damaged_row_that_was_purged_with_its_namespace_counts_as_no_deletion_that_was_forgotten() {
    let mut case = Case::new();
    case.put("k", b"value");
    case.damage_head("k");
    case.commit(Operation::DropNamespace { id: case.namespace });
    case.collect();
    case.commit(create());
    let all = case.store.view().rows_missing_in(&VersionVector::default(), None, 99).unwrap();
    assert_eq!(all.gone, [], "a location that catches up from here would rebuild");
    let names: Vec<_> = all.damaged.iter().map(|one| one.key.to_vec()).collect();
    assert_eq!(names, [b"k".to_vec()], "it asks the others for the key");
}

#[test]
fn the_tombstone_of_an_owed_key_is_not_collected() {
    let mut case = Case::new();
    case.add_member();
    case.adopt("k", 8);
    let (namespace, key) = (case.namespace, key("k"));
    case.commit(Operation::Delete { namespace, key });
    assert_eq!(case.collect(), 0, "an earlier row of it may be on its way");
    case.settle("k", false);
    assert_eq!(case.collect(), 1);
}

#[test]
fn a_row_that_was_found_by_name_does_not_come_back_after_its_deletion_was_collected() {
    let mut case = Case::new();
    let found = case.remote("k", 2, 5, "value");
    case.commit(Operation::Remote(Remote::Next(found)));
    let (namespace, key) = (case.namespace, key("k"));
    case.commit(Operation::Delete { namespace, key });
    assert_eq!(case.collect(), 1);
    for (seq, applied) in [(2, Applied::Lost), (3, Applied::Won { concurrent: false })] {
        let found = case.remote("k", seq, 5, "value");
        let made = case.commit(Operation::Remote(Remote::Found(found)));
        assert_eq!(made, Outcome::Applied(applied), "the vector counts write 2 alone");
    }
}

#[test]
fn a_rebuild_leaves_a_damaged_row_that_the_source_lacks_and_owes_it() {
    let mut case = Case::new();
    let write = case.remote("k", 2, 5, "value");
    case.commit(Operation::Remote(Remote::Next(write)));
    case.damage_head("k");
    case.commit(Operation::Remote(Remote::Rebuild));
    let (namespace, dot) = (case.namespace, Dot { origin: THEIRS, seq: 2 });
    let drop = Operation::Remote(Remote::DropRow { namespace, key: key("k"), dot });
    assert_eq!(case.commit(drop), Outcome::Applied(Applied::Lost));
    assert_eq!(case.owed(), [row("k")]);
}

#[test]
fn garbage_collection_records_the_damage_that_it_meets_and_goes_on() {
    let mut case = Case::new();
    let namespace = case.namespace;
    for name in ["a", "b", "c"] {
        case.commit(Operation::Delete { namespace, key: key(name) });
    }
    case.damage_tombstone("b");
    let limits = GcLimits {
        rows: 9,
        bodies: 9,
        stable: Hlc(u64::MAX),
        expired_ms: Some(NOW),
        collects_expired: true,
    };
    let step = case.store.collect_garbage(NOW, &limits).unwrap();
    assert_eq!((step.collected, step.damaged), (2, 1));
    assert_eq!(case.owed(), [row("b")]);
}

fn create() -> Operation {
    let (account, title) = ("".try_into().unwrap(), "t".try_into().unwrap());
    Operation::CreateNamespace { account, title, id: None }
}

#[test]
fn a_store_opens_with_a_damaged_namespace_and_its_entries_are_there_once_the_row_is() {
    let mut case = Case::new();
    case.put("k", b"value");
    case.damage_namespace();
    assert_eq!(case.store.view().owed().len(), 1);
    assert!(is_damaged(&case.get("k")), "the namespace is not taken for missing");
    case.commit(create());
    assert_eq!((case.store.view().owed().len(), case.get("k").unwrap()), (0, true));
}

#[test]
fn a_damaged_namespace_that_is_created_again_is_owed_until_the_others_have_answered() {
    let mut case = Case::new();
    case.put("dead", b"value");
    case.commit(Operation::DropNamespace { id: case.namespace });
    case.commit(create());
    let (id, view) = (case.namespace, case.store.view());
    let row = view.row(NamespaceId::SYSTEM, &id.0).unwrap().unwrap();
    case.add_member();
    case.damage_namespace();
    case.commit(create());
    assert_eq!(case.store.view().owed().len(), 1, "the drop is not there");
    let found = found_namespace(id, &row);
    case.commit(Operation::Remote(Remote::Found(found)));
    let (namespace, key) = (NamespaceId::SYSTEM, Key::new(id.0).unwrap());
    let (is_nothing, is_destroyed) = (false, false);
    case.commit(Operation::Remote(Remote::Settled { namespace, key, is_nothing, is_destroyed }));
    assert_eq!((case.store.view().owed().len(), case.get("dead").unwrap()), (0, false));
}

/// The row of a namespace as another location has it.
fn found_namespace(id: NamespaceId, row: &kv_core::Found) -> RemoteWrite {
    RemoteWrite {
        dot: row.dot,
        hlc: row.version.hlc,
        prev: None,
        namespace: NamespaceId::SYSTEM,
        key: Key::new(id.0).unwrap(),
        change: NewContent::Joined(Arc::clone(row.joined().unwrap())),
    }
}

#[test]
fn a_damaged_row_of_a_member_is_not_replaced_by_one_of_its_fields() {
    let mut case = Case::new();
    let (id, address) = (MemberId([6; 16]), || vec!["other:1".to_owned()]);
    let put = |name: &str| Operation::PutMember { id, name: name.into(), addresses: address() };
    case.commit(put("one"));
    let row = [&NamespaceId::SYSTEM.0[..], &kv_core::Member::key(id)].concat();
    case.damage(Table::Entries, &row, |bytes| bytes[3] ^= 1);
    assert!(case.store.commit(NOW, vec![put("two")]).results[0].is_err());
    let view = case.store.view();
    assert!(view.owed().len() == 1 && view.row(NamespaceId::SYSTEM, &row[16..]).is_err());
}

#[test]
fn a_vector_is_not_adopted_if_its_source_could_not_read_more_rows_than_there_is_room_for() {
    let mut case = Case::new();
    case.add_member();
    let count = kv_core::limits::MAX_NAMED as u64 + 1;
    let named = |seq: u64| {
        let dot = Dot { origin: THEIRS, seq };
        kv_core::DamagedKey { namespace: case.namespace, key: key(&format!("{seq:06}")), dot }
    };
    let all: Vec<_> = (2..count + 2).map(named).collect();
    let adopt = |damaged: &[kv_core::DamagedKey]| {
        Operation::Remote(Remote::Adopt {
            vector: [Dot { origin: THEIRS, seq: count + 1 }].into_iter().collect(),
            collected: VersionVector::default(),
            floor: Hlc::ZERO,
            damaged: damaged.to_vec(),
        })
    };
    assert_eq!(case.commit(adopt(&all)), Outcome::Applied(Applied::NoRoom));
    let view = case.store.view();
    let room = kv_core::limits::MAX_NAMED;
    assert_eq!((view.vector().get(THEIRS), view.owed().len()), (1, room), "some are reported");
    assert_eq!(case.commit(adopt(&all)), Outcome::Applied(Applied::NoRoom));
    assert_eq!(case.store.view().owed().len(), room);
    // Others have sent some of them.
    let found = Operation::Remote(Remote::Found(case.remote("000002", 2, NOW + 1, "value")));
    case.commit(found);
    case.settle("000002", false);
    assert_eq!(case.commit(adopt(&all)), Outcome::Applied(Applied::Adopted));
    assert_eq!(case.store.view().vector().get(THEIRS), count + 1);
    assert_eq!(case.store.view().owed().len(), room, "the rest is for damage here");
}

#[test]
fn a_namespace_of_which_every_row_is_destroyed_is_reported_until_it_is_created_again() {
    let mut case = Case::new();
    case.put("key", b"value");
    case.add_member();
    case.damage_namespace();
    let id = case.namespace;
    let settled = |is_nothing| {
        let (namespace, key) = (NamespaceId::SYSTEM, Key::new(id.0).unwrap());
        let is_destroyed = is_nothing;
        Operation::Remote(Remote::Settled { namespace, key, is_nothing, is_destroyed })
    };
    assert_eq!(case.commit(settled(true)), Outcome::Applied(Applied::Lost));
    assert!(is_damaged(&case.get("key")), "the entries are there, and 404 would be wrong");
    case.commit(create());
    assert!(case.get("key").unwrap());
    assert_eq!(case.commit(settled(false)), Outcome::Applied(Applied::Known));
    assert!(case.store.view().owed().is_empty());
}
