//! Calls on a store beside the same calls on a map: both answer the same, after restarts and
//! crashes too, and who follows the changes has the same in the end.
#![no_main]

use std::{collections::BTreeMap, sync::LazyLock};

use arbitrary::Arbitrary;
use kv_core::{
    Attributes, ListQuery, Metadata, Namespace, NamespaceId, Operation, Outcome, ReadError,
    Version, VersionVector, WriteError,
    limits::{CHUNK_BYTES, MAX_INLINE_BYTES, MAX_KEY_BYTES, MAX_METADATA_BYTES},
    view::{Found, FoundState},
};
use libfuzzer_sys::fuzz_target;
use waypost_fuzz::{
    disk::{Disk, Image},
    store::{self, Store},
};

/// A few short keys that share prefixes, and the longest that may be.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Key(u8);

impl Key {
    const COUNT: u8 = 21;

    fn bytes(self) -> Vec<u8> {
        let letter = |n: u8| [0x00, b'a', b'b', 0xff][usize::from(n) % 4];
        match self.0 % Key::COUNT {
            0 => vec![b'k'; MAX_KEY_BYTES],
            n @ 1..=4 => vec![letter(n)],
            n => vec![letter(n), letter(n / 4)],
        }
    }
}

/// A length around those at which a value is stored otherwise.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Length(u8);

impl Length {
    fn bytes(self) -> usize {
        match self.0 {
            n @ 0..=199 => usize::from(n),
            n @ 200..=229 => MAX_INLINE_BYTES + usize::from(n) - 215,
            n @ 230..=249 => CHUNK_BYTES + usize::from(n) - 240,
            _ => 2 * CHUNK_BYTES + 1,
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Call {
    Put { in_b: bool, key: Key, length: Length, metadata: Option<u8>, ttl: Option<u8> },
    Delete { in_b: bool, key: Key },
    Get { in_b: bool, keys: Vec<Key> },
    List { in_b: bool, prefix: Option<Key>, after: Option<Key>, limit: u8 },
    Follow { limit: u8 },
    Drop { in_b: bool },
    Create { in_b: bool },
    Wait { seconds: u8 },
    Gc { rows: u8 },
    Sync,
    Reopen,
    Crash,
    RefusedKey { is_empty: bool },
    RefusedMetadata,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    seed: u64,
    length: usize,
    attributes: Attributes,
}

impl Value {
    fn bytes(&self) -> Vec<u8> {
        (0..self.length).map(|at| self.seed.to_be_bytes()[at % 8]).collect()
    }

    fn is_visible(&self, now_ms: u64) -> bool {
        self.attributes.expires_at.is_none_or(|at| at * 1000 > now_ms)
    }

    /// What is found of this value, its pieces read.
    fn check(&self, store: &mut Store, found: &Found) {
        assert_eq!(found.metadata, self.attributes.metadata);
        assert_eq!(found.expires_at, self.attributes.expires_at);
        let expected = self.bytes();
        match &found.state {
            FoundState::Inline(bytes) => assert_eq!(*bytes, expected),
            FoundState::Large { body, len, .. } => {
                assert_eq!(*len, expected.len() as u64);
                for (piece, index) in expected.chunks(CHUNK_BYTES).zip(0..) {
                    let chunk = store.view().chunk(*body, index).expect("the disk does not fail");
                    assert_eq!(chunk.as_deref(), Some(piece));
                }
            }
            other => panic!("{other:?} instead of a value"),
        }
    }
}

/// The content that the store should have: the live namespaces, and what is under their keys.
#[derive(Clone, Debug, Default)]
struct Model {
    namespaces: [Option<NamespaceId>; 2],
    rows: BTreeMap<(NamespaceId, Vec<u8>), Value>,
}

/// A follower of the changes: the last state that it saw of each row.
#[derive(Debug, Default)]
struct Follower {
    vector: VersionVector,
    rows: BTreeMap<(NamespaceId, Vec<u8>), (usize, Attributes)>,
    dropped: BTreeMap<NamespaceId, Version>,
    /// The version of each of them.
    versions: BTreeMap<(NamespaceId, Vec<u8>), Version>,
}

struct World {
    disk: Disk,
    store: Store,
    now_ms: u64,
    model: Model,
    durable: Model,
    follower: Follower,
    written: u64,
    last: Option<Version>,
}

/// A store without any namespace.
static NEW: LazyLock<Image> = LazyLock::new(|| {
    let disk = Disk::default();
    drop(store::open(&disk).expect("a new store opens"));
    disk.image()
});

impl World {
    fn new() -> World {
        let disk = Disk::holding(NEW.clone());
        let store = store::open(&disk).expect("a sound store opens");
        let (model, durable) = Default::default();
        let follower = Follower::default();
        World { disk, store, now_ms: 9_000_000, model, durable, follower, written: 0, last: None }
    }

    /// A namespace, live or not.
    fn namespace(&self, in_b: bool) -> NamespaceId {
        self.model.namespaces[usize::from(in_b)].unwrap_or(NamespaceId([3; 16]))
    }

    fn is_live(&self, in_b: bool) -> bool {
        self.model.namespaces[usize::from(in_b)].is_some()
    }

    fn take(&mut self, call: &Call) {
        match call {
            Call::Put { in_b, key, length, metadata, ttl } => {
                let metadata = metadata.map(|n| Metadata::new(format!("[{n}]")).expect("short"));
                let expires_at = ttl.map(|ttl| self.now_ms / 1000 + u64::from(ttl));
                self.written += 1;
                let attributes = Attributes { metadata, expires_at };
                let value = Value { seed: self.written, length: length.bytes(), attributes };
                self.put(*in_b, key.bytes(), value);
            }
            Call::Delete { in_b, key } => {
                let (namespace, key) = (self.namespace(*in_b), key.bytes());
                let delete = Operation::Delete {
                    namespace,
                    key: kv_core::Key::try_from(key.clone()).expect("a key"),
                };
                let deleted = store::make(&mut self.store, self.now_ms, delete);
                if self.check_written(*in_b, deleted) {
                    self.model.rows.remove(&(namespace, key));
                }
            }
            Call::Get { in_b, keys } => self.get(*in_b, keys),
            Call::List { in_b, prefix, after, limit } => {
                let prefix = prefix.map(Key::bytes).unwrap_or_default();
                let after = after.map(Key::bytes);
                self.list(*in_b, &prefix, after.as_deref(), usize::from(*limit));
            }
            Call::Follow { limit } => self.follow(usize::from(*limit)),
            Call::Drop { in_b } => self.drop_namespace(*in_b),
            Call::Create { in_b } => self.create_namespace(*in_b),
            Call::Wait { seconds } => self.now_ms += u64::from(*seconds) * 1000,
            Call::Gc { rows } => {
                store::collect_garbage(&mut self.store, self.now_ms, usize::from(*rows).max(1))
                    .expect("the disk does not fail");
            }
            Call::Sync => self.sync(),
            Call::Reopen => {
                let other = store::open(&Disk::default()).expect("a new store opens");
                drop(std::mem::replace(&mut self.store, other));
                self.store = store::open(&self.disk).expect("a sound store opens");
                self.durable = self.model.clone();
            }
            Call::Crash => {
                self.disk = Disk::holding(self.disk.image());
                self.store = store::open(&self.disk).expect("a sound store opens");
                self.model = self.durable.clone();
                self.follower = Follower::default();
                self.last = None;
            }
            Call::RefusedKey { is_empty } => {
                let key = vec![b'k'; if *is_empty { 0 } else { MAX_KEY_BYTES + 1 }];
                self.refused(&key, Attributes::default());
            }
            Call::RefusedMetadata => {
                assert!(Metadata::new("m".repeat(MAX_METADATA_BYTES + 1)).is_err());
            }
        }
    }

    fn put(&mut self, in_b: bool, key: Vec<u8>, value: Value) {
        let namespace = self.namespace(in_b);
        let attributes = value.attributes.clone();
        let (store, now_ms) = (&mut self.store, self.now_ms);
        let put = store::put(store, now_ms, namespace, &key, &value.bytes(), attributes);
        if self.check_written(in_b, put) {
            self.model.rows.insert((namespace, key), value);
        }
    }

    fn refused(&mut self, key: &[u8], attributes: Attributes) {
        let namespace = self.namespace(false);
        let put = store::put(&mut self.store, self.now_ms, namespace, key, b"", attributes);
        match put {
            Err(WriteError::Invalid(_)) => {}
            other => panic!("{other:?} instead of a refusal"),
        }
    }

    /// Whether a write was made, which it must be in a live namespace alone.
    fn check_written(&mut self, in_b: bool, made: Result<Outcome, WriteError>) -> bool {
        match made {
            Ok(Outcome::Written(written)) => {
                assert!(self.is_live(in_b), "a write to a namespace that is not there");
                assert!(self.last < Some(written.version), "versions rise");
                self.last = Some(written.version);
                true
            }
            Err(WriteError::UnknownNamespace(_)) => {
                assert!(!self.is_live(in_b), "a namespace was lost");
                false
            }
            other => panic!("{other:?} to a write"),
        }
    }

    fn create_namespace(&mut self, in_b: bool) {
        let title = if in_b { "b" } else { "a" };
        match store::create(&mut self.store, self.now_ms, title) {
            Ok(id) => {
                assert!(!self.is_live(in_b), "a title was given twice");
                self.model.namespaces[usize::from(in_b)] = Some(id);
            }
            Err(error) => {
                assert!(matches!(error, WriteError::Taken(_)), "{error}");
                assert!(self.is_live(in_b), "a title was refused that is free");
            }
        }
    }

    fn drop_namespace(&mut self, in_b: bool) {
        let id = self.namespace(in_b);
        let dropped = store::make(&mut self.store, self.now_ms, Operation::DropNamespace { id });
        assert_eq!(dropped.is_ok(), self.is_live(in_b), "{dropped:?}");
        self.model.namespaces[usize::from(in_b)] = None;
        self.model.rows.retain(|(namespace, _), _| *namespace != id);
    }

    fn get(&mut self, in_b: bool, keys: &[Key]) {
        let namespace = self.namespace(in_b);
        let keys: Vec<_> = keys.iter().copied().map(Key::bytes).collect();
        let asked: Vec<_> = keys.iter().map(Vec::as_slice).collect();
        let view = self.store.view();
        let found = view.get_many(namespace, &asked, self.now_ms);
        if !self.is_live(in_b) {
            let is_unknown = matches!(found, Err(ReadError::UnknownNamespace(_)));
            assert!(is_unknown, "a read of a namespace that is not there");
            return;
        }
        let found = found.expect("the disk does not fail");
        assert_eq!(found.len(), keys.len());
        for (key, found) in keys.into_iter().zip(found) {
            let one = view.get(namespace, &key, self.now_ms).expect("the disk does not fail");
            assert_eq!(one, found, "one get and many answer the same");
            let expected = self.model.rows.get(&(namespace, key));
            let expected = expected.filter(|value| value.is_visible(self.now_ms));
            assert_eq!(found.is_some(), expected.is_some());
            if let (Some(found), Some(expected)) = (found, expected) {
                expected.check(&mut self.store, &found);
            }
        }
    }

    fn list(&mut self, in_b: bool, prefix: &[u8], after: Option<&[u8]>, limit: usize) {
        let namespace = self.namespace(in_b);
        let query = ListQuery { prefix, after, limit };
        let page = self.store.view().list(namespace, &query, self.now_ms);
        if !self.is_live(in_b) {
            let is_unknown = matches!(page, Err(ReadError::UnknownNamespace(_)));
            assert!(is_unknown, "a list of a namespace that is not there");
            return;
        }
        let page = page.expect("the disk does not fail");
        let expected: Vec<_> = self
            .model
            .rows
            .iter()
            .filter(|((of, key), _)| *of == namespace && key.starts_with(prefix))
            .filter(|((_, key), _)| after.is_none_or(|after| **key > *after))
            .filter(|(_, value)| value.is_visible(self.now_ms))
            .map(|((_, key), value)| (key.clone(), value.attributes.clone()))
            .collect();
        let listed: Vec<_> = page
            .entries
            .into_iter()
            .map(|listed| {
                let (metadata, expires_at) = (listed.metadata, listed.expires_at);
                (listed.key.to_vec(), Attributes { metadata, expires_at })
            })
            .collect();
        let first = expected.len().min(limit.max(1));
        assert_eq!(listed, expected[..first]);
        assert_eq!(page.complete, first == expected.len());
    }

    fn follow(&mut self, limit: usize) {
        let view = self.store.view();
        let mut resume = None;
        loop {
            let changes = if self.follower.vector == VersionVector::default() {
                view.rows_missing_in(&self.follower.vector, resume, limit)
            } else {
                view.changes(&self.follower.vector, resume, limit)
            };
            if let Err(ReadError::Gone) = changes {
                self.follower = Follower::default();
                continue;
            }
            let changes = changes.expect("the disk does not fail");
            for change in changes.changes {
                self.follower.see(change.namespace, &change.key, &change.found);
            }
            resume = changes.next;
            if resume.is_none() {
                break;
            }
        }
        self.follower.vector = view.vector().clone();
        self.check_follower();
    }

    fn check_follower(&self) {
        let visible = |attributes: &Attributes| {
            attributes.expires_at.is_none_or(|at| at * 1000 > self.now_ms)
        };
        let followed: Vec<_> =
            self.follower.rows.iter().filter(|(_, (_, said))| visible(said)).collect();
        let held: Vec<_> =
            self.model.rows.iter().filter(|(_, value)| visible(&value.attributes)).collect();
        assert_eq!(followed.len(), held.len(), "{followed:?} {held:?}");
        for ((name, (length, attributes)), (held_name, value)) in followed.into_iter().zip(held) {
            assert_eq!((name, *length, attributes), (held_name, value.length, &value.attributes));
        }
    }

    fn sync(&mut self) {
        self.store.sync().expect("the disk does not fail");
        self.durable = self.model.clone();
    }

    /// Everything, at the end.
    fn check(&mut self) {
        for in_b in [false, true] {
            let all: Vec<_> = (0..Key::COUNT).map(Key).collect();
            self.get(in_b, &all);
            self.list(in_b, b"", None, 1000);
        }
        self.follow(3);
    }
}

impl Follower {
    fn see(&mut self, namespace: NamespaceId, key: &[u8], found: &Found) {
        let length = match &found.state {
            FoundState::Inline(bytes) => bytes.len(),
            FoundState::Large { len, .. } => usize::try_from(*len).expect("it is bounded"),
            FoundState::Joined(row) => {
                if let Some(id) = Namespace::id_of(key)
                    && let Some(dropped) = Namespace::drop_of(row)
                {
                    self.dropped.insert(id, dropped);
                    let versions = &self.versions;
                    self.rows.retain(|name, _| name.0 != id || versions[name] > dropped);
                }
                return;
            }
            FoundState::Tombstone | FoundState::ExpiredTombstone => {
                self.rows.remove(&(namespace, key.to_vec()));
                return;
            }
        };
        let attributes =
            Attributes { metadata: found.metadata.clone(), expires_at: found.expires_at };
        if self.dropped.get(&namespace).is_none_or(|dropped| found.version > *dropped) {
            let name = (namespace, key.to_vec());
            self.versions.insert(name.clone(), found.version);
            self.rows.insert(name, (length, attributes));
        }
    }
}

fuzz_target!(|calls: Vec<Call>| {
    let mut world = World::new();
    for call in calls.iter().take(200) {
        world.take(call);
    }
    world.check();
});
