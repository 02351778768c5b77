//! Calls into redb: its errors and its panics become errors of the engine.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
};

use redb::StorageError;

use crate::engine::api::EngineError;

/// Calls redb, and turns a panic into an error: a damaged file makes redb panic at some places.
pub(super) fn guard<T>(call: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let reason = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("the engine panicked");
        Err(EngineError::Corrupt(reason.to_owned()))
    })
}

/// Translates an error of redb.
pub(super) fn failed(error: impl Into<redb::Error>) -> EngineError {
    match error.into() {
        redb::Error::Io(error) if error.kind() == io::ErrorKind::StorageFull => EngineError::Full,
        redb::Error::Io(error) => EngineError::Io(error),
        redb::Error::PreviousIo => EngineError::Stale,
        redb::Error::DatabaseClosed => EngineError::Closed,
        other => EngineError::Corrupt(other.to_string()),
    }
}

/// Translates an error of a read.
pub(super) fn failed_read(error: StorageError) -> EngineError {
    failed(error)
}
