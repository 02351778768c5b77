//! Batches: several writes in one commit, all or none.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use kv_core::{
    Attributes, InvalidWrite, Metadata, NamespaceId, Observer, Options, ReadError, Store,
    WriteError, limits::MAX_BATCH_WRITES,
};

fn new_store() -> (tempfile::TempDir, Store, NamespaceId) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let namespace = store.namespace("test").unwrap().id;
    (directory, store, namespace)
}

fn value(store: &Store, namespace: NamespaceId, key: &str) -> Option<Vec<u8>> {
    store.get(namespace, key).unwrap().map(|entry| entry.body.read().unwrap().to_vec())
}

#[test]
fn a_batch_puts_and_deletes_and_survives_a_restart() {
    let (directory, store, namespace) = new_store();
    store.put(namespace, "old", "v").unwrap();
    let other = store.namespace("other").unwrap().id;
    let attributes = Attributes { metadata: Metadata::new("{}").ok(), expires_at: Some(1 << 32) };
    let mut batch = store.batch();
    batch.put(namespace, "a", "1").unwrap().delete(namespace, "old").unwrap();
    batch.put_with(other, "b", "2", attributes.clone()).unwrap();
    assert_eq!(batch.len(), 3);
    let written = store.write(batch).unwrap();
    let numbers: Vec<_> = written.iter().map(|write| write.dot.seq).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(value(&store, namespace, "a").unwrap(), b"1");
    assert_eq!(value(&store, namespace, "old"), None);
    let entry = store.get(other, "b").unwrap().unwrap();
    assert_eq!((entry.metadata, entry.expires_at), (attributes.metadata, attributes.expires_at));
    assert_eq!(entry.version, written[2].version);
}

#[test]
fn an_empty_batch_does_nothing() {
    let (_directory, store, _) = new_store();
    assert!(store.batch().is_empty());
    assert_eq!(store.write(store.batch()), Ok(Vec::new()));
    store.close().unwrap();
    assert_eq!(store.write(store.batch()), Ok(Vec::new()));
}

#[test]
fn the_last_write_of_a_key_in_a_batch_counts() {
    let (_directory, store, namespace) = new_store();
    let mut batch = store.batch();
    batch.put(namespace, "k", "1").unwrap().put(namespace, "k", vec![2; 9000]).unwrap();
    batch.delete(namespace, "gone").unwrap().put(namespace, "gone", "1").unwrap();
    batch.delete(namespace, "gone").unwrap().put(namespace, "k", "3").unwrap();
    let written = store.write(batch).unwrap();
    assert_eq!(written.len(), 6);
    assert_eq!(value(&store, namespace, "k").unwrap(), b"3");
    assert_eq!(store.get(namespace, "k").unwrap().unwrap().version, written[5].version);
    assert_eq!(value(&store, namespace, "gone"), None);
}

#[test]
fn a_batch_with_one_unknown_namespace_writes_nothing() {
    let (_directory, store, namespace) = new_store();
    let unknown = NamespaceId([9; 16]);
    let mut batch = store.batch();
    batch.put(namespace, "a", "1").unwrap().put(unknown, "b", "2").unwrap();
    assert_eq!(store.write(batch), Err(WriteError::UnknownNamespace(unknown)));
    assert_eq!(value(&store, namespace, "a"), None);
    assert!(matches!(store.get(unknown, "b"), Err(ReadError::UnknownNamespace(_))));
}

#[test]
fn a_batch_rejects_writes_over_its_bounds_and_stays_as_it_was() {
    let (_directory, store, namespace) = new_store();
    let invalid = |error: WriteError| match error {
        WriteError::Invalid(rule) => rule,
        other => panic!("{other}"),
    };
    let mut batch = store.batch();
    assert!(matches!(invalid(batch.put(namespace, "", "v").unwrap_err()), InvalidWrite::Key(_)));
    let long = vec![0; 26_214_401];
    assert_eq!(invalid(batch.put(namespace, "k", long).unwrap_err()), InvalidWrite::Value);
    assert!(batch.is_empty());
    for n in 0..MAX_BATCH_WRITES {
        batch.put(namespace, format!("{n}"), "v").unwrap();
    }
    let error = batch.delete(namespace, "one more").unwrap_err();
    assert_eq!(invalid(error), InvalidWrite::BatchWrites);
    assert_eq!(store.write(batch).unwrap().len(), MAX_BATCH_WRITES);
    assert_eq!(store.iter(namespace).keys().count(), MAX_BATCH_WRITES);

    let mut batch = store.batch();
    for n in 0..292 {
        batch.put(namespace, format!("{n:03}"), vec![0; 3584]).unwrap();
    }
    let error = batch.put(namespace, "one more", vec![0; 3584]).unwrap_err();
    assert_eq!(invalid(error), InvalidWrite::BatchBytes);
    batch.put(namespace, "large", vec![0; 1 << 20]).unwrap();
    assert_eq!(store.write(batch).unwrap().len(), 293, "long values do not count");
}

#[test]
fn values_of_every_size_are_written_in_a_batch() {
    let (_directory, store, namespace) = new_store();
    let values: Vec<Vec<u8>> = [0, 1, 3584, 3585, 65_280, 65_281, 200_000]
        .into_iter()
        .map(|len| (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect())
        .collect();
    let mut batch = store.batch();
    for value in &values {
        batch.put(namespace, format!("{}", value.len()), value.clone()).unwrap();
    }
    store.write(batch).unwrap();
    for expected in values {
        let read = value(&store, namespace, &expected.len().to_string()).unwrap();
        assert!(read == expected, "{} bytes", expected.len());
    }
    assert_eq!(store.view().pending().unwrap(), 0);
}

#[derive(Default)]
struct Syncs(AtomicUsize);

impl Observer for Syncs {
    fn committed(
        &self,
        _operations: usize,
        _bytes: usize,
        _commit: std::time::Duration,
        sync: Option<std::time::Duration>,
    ) {
        self.0.fetch_add(usize::from(sync.is_some()), Ordering::SeqCst);
    }
}

#[test]
fn a_batch_takes_one_sync_and_fits_a_queue_of_one_place() {
    let directory = tempfile::tempdir().unwrap();
    let syncs = Arc::new(Syncs::default());
    let observer: Arc<dyn Observer> = syncs.clone();
    let options = Options::new().queue_capacity(1).observer(observer);
    let store = options.open(directory.path()).unwrap();
    let namespace = store.namespace("test").unwrap().id;
    let mut batch = store.batch();
    for n in 0..200 {
        batch.put(namespace, format!("{n}"), vec![7; 3000]).unwrap();
    }
    store.write(batch).unwrap();
    // The observer is called after the answer; it is done when the writer thread has ended.
    store.close().unwrap();
    assert_eq!(syncs.0.load(Ordering::SeqCst), 2, "one for the namespace, one for the batch");
}
