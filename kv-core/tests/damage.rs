//! Damaged files give errors and missing keys, never a panic and never an empty store. The fuzz targets
//! search further.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kv_core::{
    Hlc, ListQuery, NamespaceId, Options, ReadError, Store, Table,
    commit::{Committer, Creation, GcLimits},
    engine::{
        Engine, Snapshot as _, Visibility,
        disk::{Directory, DiskFile, memory},
        redb::RedbEngine,
    },
};

const PAGE: usize = 4096;

#[path = "common/disk.rs"]
mod disk;

use disk::wrapped;

/// A file that can be made to panic, as redb does on some damaged files.
#[derive(Debug)]
struct Surprising {
    file: Arc<dyn DiskFile>,
    is_armed: Arc<AtomicBool>,
}

impl Surprising {
    fn file(&self) -> &dyn DiskFile {
        assert!(!self.is_armed.load(Ordering::Relaxed), "surprised");
        &*self.file
    }
}

impl DiskFile for Surprising {
    fn size(&self) -> io::Result<u64> {
        self.file().size()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file().read_at(offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file().write_at(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file().set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file().sync()
    }

    fn forget_cached(&self) {
        self.file().forget_cached();
    }
}

/// redb's file in a directory.
const FILE: &str = "waypost.redb";

/// A directory in memory with this file of redb's.
fn holding(bytes: &[u8]) -> Arc<dyn Directory> {
    let directory = memory();
    directory.create(FILE).unwrap().write_at(0, bytes).unwrap();
    directory
}

/// The bytes of redb's file.
fn bytes(directory: &dyn Directory) -> Vec<u8> {
    let file = directory.open(FILE).unwrap();
    let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Returns the bytes of a store's file: a namespace `t` with 40 keys.
fn sound_file() -> Vec<u8> {
    let disk = memory();
    let store = Options::new().open_disk(Arc::clone(&disk)).unwrap();
    let namespace = store.create_namespace("t").unwrap().id;
    for n in 0..40 {
        store.put(namespace, format!("key:{n}"), vec![b'v'; 500]).unwrap();
    }
    store.close().unwrap();
    bytes(&*disk)
}

/// Damages a file at the page that starts at this offset.
type Damage = fn(&mut [u8], usize);

const DAMAGES: [(&str, Damage); 8] = [
    ("another kind of page", |file, at| file[at] ^= 0xff),
    ("zeros", |file, at| file[at..at + PAGE].fill(0)),
    ("ones", |file, at| file[at..at + PAGE].fill(0xff)),
    ("ones from the middle on", |file, at| file[at + PAGE / 2..at + PAGE].fill(0xff)),
    ("zeros in several pages", |file, at| file[at..at + 8 * PAGE].fill(0)),
    ("ones in several pages", |file, at| file[at..at + 8 * PAGE].fill(0xff)),
    ("the next page again", |file, at| file.copy_within(at + PAGE..at + 2 * PAGE, at)),
    ("the page before again", |file, at| file.copy_within(at - PAGE..at, at)),
];

/// Lists a namespace in small pages up to the end or an error.
fn list(store: &Store, namespace: NamespaceId, damage: &str) {
    let mut last: Option<Vec<u8>> = None;
    loop {
        let query = ListQuery { prefix: b"", after: last.as_deref(), limit: 3 };
        let Ok(page) = store.list(namespace, &query) else { return };
        for listed in page.entries {
            let is_later = last.as_deref().is_none_or(|last| *last < *listed.key);
            assert!(is_later, "{damage}: out of order");
            last = Some(listed.key.to_vec());
        }
        if page.complete {
            return;
        }
    }
}

#[test]
fn a_store_over_a_damaged_page_is_rejected_or_keeps_its_contents() {
    let sound = sound_file();
    let in_use = sound.iter().rposition(|byte| *byte != 0).unwrap();
    let (mut refused, mut opened) = (0, 0);
    for start in (PAGE..=in_use.min(sound.len() - 8 * PAGE)).step_by(PAGE) {
        for (name, damage) in DAMAGES {
            let mut file = sound.clone();
            damage(&mut file, start);
            let disk = holding(&file);
            let Ok(store) = Options::new().open_disk(Arc::clone(&disk)) else {
                refused += 1;
                continue;
            };
            opened += 1;
            match store.namespaces().resolve("t") {
                Some(namespace) => list(&store, namespace.id, name),
                // The row of the namespace is among what was damaged.
                None if !store.owed().is_empty() => {}
                // Another page is in its place. Only a check of all pages notices that.
                None => assert!(name.ends_with("again"), "{name} at {start}: begun anew"),
            }
        }
    }
    assert!(refused > 0 && opened > 0, "{refused} refused, {opened} opened");
}

#[test]
fn dropping_an_engine_catches_a_panic_of_redb() {
    let is_armed = Arc::new(AtomicBool::new(false));
    let armed = Arc::clone(&is_armed);
    let disk =
        wrapped(memory(), move |file| Arc::new(Surprising { file, is_armed: Arc::clone(&armed) }));
    let engine = RedbEngine::open(disk, 1 << 20).unwrap();
    let row = (Table::Meta, b"test".to_vec(), Some(vec![1]));
    engine.commit(engine.status().latest + 1, vec![row]).unwrap();
    is_armed.store(true, Ordering::Relaxed);
    drop(engine);
}

#[test]
fn a_damaged_row_that_names_a_live_namespace_to_purge_purges_nothing() {
    let disk = holding(&sound_file());
    let engine = RedbEngine::open(Arc::clone(&disk), 1 << 20).unwrap();
    let live = kv_core::derive_id("", "t", 0);
    let rows: [&[u8]; 4] = [&NamespaceId::SYSTEM.0, &live.0, &live.0[..3], b""];
    let rows = rows.map(|key| (Table::Purge, key.to_vec(), Some(sealed(key))));
    engine.commit(engine.status().latest + 1, rows.to_vec()).unwrap();
    let mut store = Committer::open(Arc::new(engine), Creation::default(), || Ok([9; 16])).unwrap();
    let limits =
        GcLimits { rows: 9, bodies: 9, stable: Hlc(0), expired_ms: None, collects_expired: true };
    for _ in 0..rows.len() {
        let swept = store.collect_garbage(0, &limits).unwrap();
        assert_eq!((swept.purged, swept.damaged), (0, 1));
    }
    assert!(store.collect_garbage(0, &limits).unwrap().is_idle(), "each was handled once");
    assert!(store.view().namespaces().resolve("t").is_some());
    assert!(store.view().get(live, b"key:0", 0).unwrap().is_some());
    store.sync().unwrap();
    drop(store);
    let store = Options::new().open_disk(Arc::clone(&disk)).unwrap();
    assert!(store.get(live, "key:39").unwrap().is_some());
}

/// Returns a row of the purge table, which has no payload.
fn sealed(key: &[u8]) -> Vec<u8> {
    crc32c::crc32c(&[&[Table::Purge.number()], key].concat()).to_be_bytes().to_vec()
}

#[test]
fn an_iterator_returns_a_damaged_row_as_one_error_and_continues_after_it() {
    let disk = holding(&sound_file());
    let engine = RedbEngine::open(Arc::clone(&disk), 1 << 20).unwrap();
    let namespace = kv_core::derive_id("", "t", 0);
    let row = |key: &[u8]| (Table::Entries, [&namespace.0, key].concat(), Some(vec![1, 2, 3]));
    let too_long = [b'k'; 600];
    let batch = vec![row(b"key:20"), row(&too_long)];
    engine.commit(engine.status().latest + 1, batch).unwrap();
    engine.close().unwrap();
    drop(engine);
    let store = Options::new().open_disk(Arc::clone(&disk)).unwrap();
    let is_damaged = |result: Result<(), ReadError>| {
        matches!(result, Err(ReadError::Damaged { table: Table::Entries, .. }))
    };
    let values = |backwards: bool| -> Vec<bool> {
        let iter = store.iter(namespace).map(|item| is_damaged(item.map(drop)));
        if backwards { iter.rev().collect() } else { iter.collect() }
    };
    let keys: Vec<bool> =
        store.iter(namespace).keys().map(|item| is_damaged(item.map(drop))).collect();
    let mut backwards = values(true);
    backwards.reverse();
    for found in [values(false), backwards, keys] {
        assert_eq!((found.len(), found.iter().filter(|damaged| **damaged).count()), (41, 2));
    }
    // A put repairs the first; nobody can put the other, which is not a key.
    store.put(namespace, "key:20", "v").unwrap();
    assert_eq!(store.iter(namespace).filter(Result::is_err).count(), 1);
}

/// Returns what a crash leaves of an idle store with a row for each of these values.
fn crashed_while_idle(values: &[Vec<u8>]) -> Vec<u8> {
    let disk = memory();
    let engine = RedbEngine::open(Arc::clone(&disk), 1 << 20).unwrap();
    for (number, value) in (1..).zip(values) {
        let row = (Table::Entries, vec![u8::try_from(number).unwrap()], Some(value.clone()));
        engine.commit(number, vec![row]).unwrap();
        engine.sync(number).unwrap();
    }
    for _ in 0..2 {
        engine.maintain(Duration::ZERO).unwrap();
    }
    bytes(&*disk)
}

/// A crash makes redb check all pages. It takes damage for a commit that the crash interrupted.
#[test]
fn a_flipped_bit_costs_no_other_row_after_a_crash_of_an_idle_store() {
    let values: Vec<Vec<u8>> = (0..4).map(|number| vec![0xa0 + number; 300]).collect();
    let sound = crashed_while_idle(&values);
    for damaged in &values {
        let mut file = sound.clone();
        for at in 0..file.len() - damaged.len() {
            if file[at..].starts_with(damaged) {
                file[at + 100] ^= 1;
            }
        }
        assert_ne!(file, sound, "the value is in the file as it is");
        let disk = holding(&file);
        let engine = RedbEngine::open(Arc::clone(&disk), 1 << 20).unwrap();
        assert_eq!(engine.status().latest, 4, "a flipped bit loses a commit");
        let snapshot = engine.snapshot(Visibility::Durable).unwrap();
        for (number, value) in (1..).zip(&values) {
            let row = snapshot.get(Table::Entries, &[number]).unwrap().expect("the row is there");
            assert_eq!(row[..] == value[..], value != damaged, "row {number}");
        }
    }
}
