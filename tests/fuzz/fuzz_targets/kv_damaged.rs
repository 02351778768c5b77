//! A store whose file was damaged: it is refused, or what it answers was put into it once. A read
//! may fail or find nothing, but nothing panics, hangs or is made up.
#![no_main]

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use arbitrary::Arbitrary;
use kv_core::{
    Attributes, Key, ListQuery, Metadata, NamespaceId, Options, Page, ReadError, VersionVector,
    WriteError,
    limits::CHUNK_BYTES,
    view::{Found, FoundState},
};
use libfuzzer_sys::fuzz_target;
use waypost_fuzz::{
    disk::Disk,
    env::Still,
    panics,
    store::{self, Store},
};

const PAGE: usize = 4096;
const NOW_MS: u64 = 5_000_000;
const KEYS: u64 = 60;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    was_closed: bool,
    damage: Vec<Damage<'a>>,
}

/// A place among the pages that are in use.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Place {
    page: u16,
    offset: u16,
}

#[derive(Arbitrary, Debug)]
enum Damage<'a> {
    /// A bit flips.
    Flip { at: Place, bit: u8 },
    /// Some bytes are others.
    Write { at: Place, bytes: &'a [u8] },
    /// A piece is all zeros or all ones.
    Fill { at: Place, length: u16, ones: bool },
    /// A page was written in another's place.
    Misdirect { from: u16, to: u16 },
    /// A write never came to the disk.
    Lose { page: u16 },
    /// The file ends early.
    Cut { at: Place },
}

/// The name of redb's file.
const FILE: &str = "waypost.redb";

/// The bytes of redb's file, and which pages are not empty.
struct Image {
    bytes: Vec<u8>,
    used: Vec<usize>,
}

impl Image {
    fn of(disk: &Disk) -> Image {
        let bytes = disk.image().remove(FILE).expect("a store has it");
        let used = (0..bytes.len() / PAGE)
            .filter(|page| bytes[page * PAGE..][..PAGE].iter().any(|byte| *byte != 0))
            .collect();
        Image { bytes, used }
    }

    fn start(&self, page: u16) -> usize {
        self.used[usize::from(page) % self.used.len()] * PAGE
    }

    fn at(&self, place: Place) -> usize {
        self.start(place.page) + usize::from(place.offset) % PAGE
    }
}

type Name = (NamespaceId, Vec<u8>);

/// A value that was put.
#[derive(Debug, PartialEq, Eq)]
struct Value {
    bytes: Vec<u8>,
    attributes: Attributes,
}

/// One store at three moments, and all that was ever put into it.
struct World {
    early: Image,
    crashed: Image,
    closed: Image,
    put: BTreeMap<Name, Vec<Value>>,
    namespaces: [NamespaceId; 2],
}

static WORLD: LazyLock<World> = LazyLock::new(World::new);

/// Bytes that differ with their seed, so that no two values are alike.
fn filled(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn put(
    store: &mut Store,
    put: &mut BTreeMap<Name, Vec<Value>>,
    namespace: NamespaceId,
    n: u64,
    length: usize,
) {
    let seed = n + 1000 * put.values().map(Vec::len).sum::<usize>() as u64;
    let expires_at = match n % 4 {
        0 => Some(if n.is_multiple_of(8) { NOW_MS } else { NOW_MS / 2000 }),
        _ => None,
    };
    let metadata =
        n.is_multiple_of(3).then(|| Metadata::new(format!("{{\"n\":{seed}}}")).expect("short"));
    let value =
        Value { bytes: filled(seed, length), attributes: Attributes { metadata, expires_at } };
    let key = format!("key:{n:02}").into_bytes();
    store::put(store, 1_000 + n, namespace, &key, &value.bytes, value.attributes.clone())
        .expect("a sound store takes it");
    put.entry((namespace, key)).or_default().push(value);
}

impl World {
    fn new() -> World {
        let disk = Disk::default();
        let mut store = store::open(&disk).expect("a new store opens");
        let [a, b, dropped] = ["a", "b", "dropped"]
            .map(|title| store::create(&mut store, 1, title).expect("the title is free"));
        let mut all = BTreeMap::new();
        for n in 0..KEYS {
            let length = usize::try_from(n * n).expect("it is small");
            put(&mut store, &mut all, a, n, length);
            put(&mut store, &mut all, if n % 2 == 0 { b } else { dropped }, n, 30);
        }
        for (n, length) in [(3, 9_000), (5, 150_000), (7, CHUNK_BYTES + 1)] {
            put(&mut store, &mut all, a, n, length);
        }
        store.sync().expect("the disk does not fail");
        let early = Image::of(&disk);
        for n in 20..30 {
            put(&mut store, &mut all, a, n, 500);
            let key = Key::new(format!("key:{:02}", n + 10)).expect("a key");
            let delete = kv_core::Operation::Delete { namespace: a, key };
            store::make(&mut store, 2_000, delete).expect("a sound store takes it");
        }
        put(&mut store, &mut all, a, 5, 140_000);
        let drop = kv_core::Operation::DropNamespace { id: dropped };
        store::make(&mut store, 2_000, drop).expect("it is there");
        let mut given_up = store.upload();
        for piece in given_up.push(&filled(1, 2 * CHUNK_BYTES + 1)).expect("it is short enough") {
            store::make(&mut store, 2_000, piece).expect("a sound store takes it");
        }
        store.sync().expect("the disk does not fail");
        let crashed = Image::of(&disk);
        store.close().expect("the disk does not fail");
        World { early, crashed, closed: Image::of(&disk), put: all, namespaces: [a, b] }
    }

    fn damaged(&self, input: &Input<'_>) -> Disk {
        let image = if input.was_closed { &self.closed } else { &self.crashed };
        let mut bytes = image.bytes.clone();
        for damage in &input.damage {
            match damage {
                Damage::Flip { at, bit } => bytes[image.at(*at)] ^= 1 << (bit % 8),
                Damage::Write { at, bytes: written } => {
                    let room = bytes[image.at(*at)..].iter_mut();
                    room.zip(*written).for_each(|(byte, written)| *byte = *written);
                }
                Damage::Fill { at, length, ones } => {
                    let room = bytes[image.at(*at)..].iter_mut().take(usize::from(*length));
                    room.for_each(|byte| *byte = if *ones { 0xff } else { 0 });
                }
                Damage::Misdirect { from, to } => {
                    let from = image.start(*from);
                    bytes.copy_within(from..from + PAGE, image.start(*to));
                }
                Damage::Lose { page } => {
                    let start = image.start(*page);
                    let early = self.early.bytes.get(start..start + PAGE).unwrap_or(&[0; PAGE]);
                    bytes[start..start + PAGE].copy_from_slice(early);
                }
                Damage::Cut { .. } => {}
            }
        }
        let ends = input.damage.iter().filter_map(|damage| match damage {
            Damage::Cut { at } => Some(image.at(*at)),
            _ => None,
        });
        bytes.truncate(ends.min().unwrap_or(usize::MAX));
        Disk::holding([(FILE.to_owned(), bytes)].into())
    }

    fn values(&self, namespace: NamespaceId, key: &[u8]) -> &[Value] {
        self.put.get(&(namespace, key.to_vec())).map_or(&[], Vec::as_slice)
    }
}

/// What a read may answer: some value that the key had once.
fn check_found(store: &mut Store, namespace: NamespaceId, key: &[u8], found: &Found) {
    let said = |value: &&Value| {
        value.attributes.metadata == found.metadata
            && value.attributes.expires_at == found.expires_at
    };
    let mut candidates = WORLD.values(namespace, key).iter().filter(said);
    match &found.state {
        FoundState::Inline(bytes) => {
            assert!(candidates.any(|value| value.bytes == *bytes), "{key:?} had no such value");
        }
        FoundState::Large { body, len, .. } => {
            let value = candidates
                .find(|value| value.bytes.len() as u64 == *len)
                .expect("the key had a value of this length");
            for (piece, index) in value.bytes.chunks(CHUNK_BYTES).zip(0..) {
                if let Ok(Some(chunk)) = store.view().chunk(*body, index) {
                    assert_eq!(chunk, piece, "another value's piece");
                }
            }
        }
        FoundState::Tombstone | FoundState::ExpiredTombstone | FoundState::Joined(_) => {}
    }
}

/// Pages of a list until its end, each checked.
fn check_lists(namespace: NamespaceId, list: impl Fn(&ListQuery<'_>) -> Result<Page, ReadError>) {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let query = ListQuery { prefix: b"", after: after.as_deref(), limit: 7 };
        let Ok(page) = list(&query) else { return };
        for listed in &page.entries {
            assert!(after.as_deref().is_none_or(|after| *after < *listed.key), "out of order");
            let values = WORLD.values(namespace, &listed.key);
            let is_known = values.iter().any(|value| {
                value.attributes.metadata == listed.metadata
                    && value.attributes.expires_at == listed.expires_at
            });
            assert!(is_known || *listed.key == *b"new", "{listed:?} was never put");
            after = Some(listed.key.to_vec());
        }
        if page.complete {
            return;
        }
        assert!(!page.entries.is_empty(), "a page that leads nowhere");
    }
}

fn check_changes(store: &mut Store) {
    let mut resume = None;
    loop {
        let changes = store.view().rows_missing_in(&VersionVector::default(), resume, 10);
        let Ok(changes) = changes else { return };
        let mut last = resume;
        for change in changes.changes {
            assert!(last < Some(change.found.dot), "out of order");
            last = Some(change.found.dot);
            if change.namespace != NamespaceId::SYSTEM && change.key != b"new"[..] {
                check_found(store, change.namespace, &change.key, &change.found);
            }
        }
        if changes.next.is_none() {
            return;
        }
        assert!(changes.next > resume && changes.next >= last, "a page that leads nowhere");
        resume = changes.next;
    }
}

fn check_reads(store: &mut Store) {
    for (namespace, key) in WORLD.put.keys() {
        if let Ok(Some(found)) = store.view().get(*namespace, key, NOW_MS) {
            check_found(store, *namespace, key, &found);
        }
    }
    for namespace in WORLD.namespaces {
        let view = store.view();
        check_lists(namespace, |query| view.list(namespace, query, NOW_MS));
    }
    check_changes(store);
}

/// Sweeps and writes: what is put now is there, or can't be read.
fn check_writes(store: &mut Store) {
    let namespace = WORLD.namespaces[0];
    for _ in 0..8 {
        match store::collect_garbage(store, NOW_MS, 20) {
            Ok(swept) if swept.more => {}
            _ => break,
        }
    }
    let written = store::put(store, NOW_MS, namespace, b"new", b"value", Attributes::default());
    if written.is_ok() && store.sync().is_ok() {
        match store.view().get(namespace, b"new", NOW_MS) {
            Ok(Some(found)) => {
                assert!(matches!(found.state, FoundState::Inline(bytes) if bytes == b"value"[..]));
            }
            Ok(None) => panic!("an acknowledged value is not there"),
            Err(_) => {}
        }
    }
}

/// The same through the store that users have, with its writer thread.
fn check_threaded(disk: &Disk) {
    let options = Options::new().cache_bytes(4 << 20).environment(Arc::new(Still::at(NOW_MS, 1)));
    let Ok(store) = options.open_disk(disk.open()) else { return };
    for ((namespace, key), values) in &WORLD.put {
        let Ok(Some(entry)) = store.get(*namespace, key) else { continue };
        if let Ok(bytes) = entry.body.read() {
            let attributes = Attributes { metadata: entry.metadata, expires_at: entry.expires_at };
            let bytes = bytes.to_vec();
            assert!(values.contains(&Value { bytes, attributes }), "{key:?} had no such value");
        }
    }
    for namespace in WORLD.namespaces {
        check_lists(namespace, |query| store.list(namespace, query));
        let keys: Vec<_> = WORLD.put.keys().map(|(_, key)| key).collect();
        drop(store.get_many(namespace, &keys));
        drop(store.put(namespace, "new", filled(3, 9_000)));
        drop(store.delete(namespace, "key:01"));
    }
    if let Err(WriteError::Failed(why)) = store.close() {
        assert!(!why.contains("panicked"), "{why}");
    }
}

fn run(input: &Input<'_>) {
    let disk = WORLD.damaged(input);
    if let Ok(mut store) = store::open(&disk) {
        check_reads(&mut store);
        check_writes(&mut store);
        check_reads(&mut store);
        drop(store.close());
    }
    check_threaded(&disk);
}

fuzz_target!(
    init: panics::tolerate_others(),
    |input: Input<'_>| panics::report_escaped(|| run(&input))
);
