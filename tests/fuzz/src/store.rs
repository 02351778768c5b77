//! A store without threads, on a disk in memory.

use std::sync::Arc;

use kv_core::{
    Account, Attributes, Hlc, Key, NamespaceId, OpenError, Operation, Outcome, Title, WriteError,
    commit::{Committer, GcLimits, GcStep},
    engine::redb::RedbEngine,
};

use crate::disk::Disk;

/// A store whose every call is made on the caller's thread.
pub type Store = Committer<RedbEngine>;

/// Opens the engine on a disk, or makes one there.
///
/// # Errors
/// As for any engine.
pub fn engine(disk: &Disk) -> Result<RedbEngine, OpenError> {
    RedbEngine::open(disk.open(), 4 << 20).map_err(OpenError::Engine)
}

/// Takes up the store in an engine, or makes one there. Its ids are the same each time.
///
/// # Errors
/// As for any store.
pub fn take_up(engine: RedbEngine) -> Result<Store, OpenError> {
    let mut ids = 1u8..;
    let mut random_id = || ids.next().map(|id| [id; 16]).ok_or_else(kv_core::RandomError::default);
    Committer::open(Arc::new(engine), &mut random_id)
}

/// Opens the store on a disk, or makes one there.
///
/// # Errors
/// As for any store.
pub fn open(disk: &Disk) -> Result<Store, OpenError> {
    take_up(engine(disk)?)
}

/// Makes one operation and answers what became of it.
///
/// # Errors
/// As for any write.
pub fn make(store: &mut Store, now_ms: u64, operation: Operation) -> Result<Outcome, WriteError> {
    let mut results = store.commit(now_ms, vec![operation]).results;
    assert_eq!(results.len(), 1, "an answer for each operation");
    results.remove(0)
}

/// Puts a value, with the pieces that come before it.
///
/// # Errors
/// As for any write.
pub fn put(
    store: &mut Store,
    now_ms: u64,
    namespace: NamespaceId,
    key: &[u8],
    value: &[u8],
    attributes: Attributes,
) -> Result<Outcome, WriteError> {
    let mut upload = store.upload();
    for operation in upload.push(value)? {
        make(store, now_ms, operation)?;
    }
    let (last, body) = upload.finish();
    if let Some(operation) = last {
        make(store, now_ms, operation)?;
    }
    let key = Key::new(key)?;
    make(store, now_ms, Operation::Put { namespace, key, body, attributes })
}

/// Makes a namespace of this title.
///
/// # Errors
/// As for any write.
pub fn create(store: &mut Store, now_ms: u64, title: &str) -> Result<NamespaceId, WriteError> {
    let operation =
        Operation::CreateNamespace { account: Account::default(), title: Title::new(title)?, id: None };
    match make(store, now_ms, operation)? {
        Outcome::Namespace(namespace) => Ok(namespace.id),
        other => panic!("a namespace was made, and {other:?} answered"),
    }
}

/// Does one step of the sweep, with the watermark of a store that is alone.
///
/// # Errors
/// As for any sweep.
pub fn collect_garbage(store: &mut Store, now_ms: u64, rows: usize) -> Result<GcStep, WriteError> {
    let stable = Hlc(store.clock().0.saturating_add(1));
    store.collect_garbage(now_ms, &GcLimits { rows, bodies: 2, stable, max_skew_ms: 500 })
}
