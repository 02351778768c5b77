//! The disk below an engine: the bytes of one file.

use std::{io, sync::Arc};

pub use redb::StorageBackend;
pub(super) use redb::backends::InMemoryBackend;

/// The name of the engine's file in its directory.
pub(super) const FILE: &str = "waypost.redb";

/// Opens the engine's file: at the start, and again after a disk failure.
pub type OpenDisk = Box<dyn Fn() -> io::Result<Arc<dyn StorageBackend>> + Send + Sync>;

/// Returns a disk in memory, for tests and for stores that need not last.
#[must_use]
pub fn memory() -> OpenDisk {
    let disk: Arc<dyn StorageBackend> = Arc::new(InMemoryBackend::new());
    Box::new(move || Ok(Arc::clone(&disk)))
}
