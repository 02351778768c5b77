//! What can go wrong, one type per family of calls. Each variant says what became of the state and
//! whether trying again helps.

use crate::{NamespaceId, codec::DecodeError, engine::EngineError, schema::Table};

/// Why a store did not open. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process (or another handle of this one) has the directory open.
    #[error("{0} is in use by another process: stop it, or name another data directory")]
    Locked(String),
    /// The directory or a file in it can't be made, read or locked.
    #[error("{path}: {source}")]
    Directory {
        /// What could not be opened.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A newer program wrote this store.
    #[error(
        "this store has format {found} and this program reads format {known}: use the program \
         that wrote it, or a newer one"
    )]
    Format {
        /// The format on disk.
        found: u32,
        /// The format that this program knows.
        known: u32,
    },
    /// The file is no store, or damaged where opening must read.
    #[error("this is no store, or it is damaged: {0}")]
    Corrupt(String),
    /// The engine did not open.
    #[error(transparent)]
    Engine(EngineError),
    /// The system gave no randomness for the store's identity.
    #[error("no randomness for the store's identity: {0}")]
    Random(String),
}

/// Why a read did not answer. Reads change nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A row is damaged. The same read fails again; other keys are not concerned.
    #[error("a damaged row in {table:?}: {reason}")]
    Damaged {
        /// Where it stands.
        table: Table,
        /// What is wrong with it.
        reason: DecodeError,
    },
    /// A large body is not what was written.
    #[error("a damaged body: {0}")]
    DamagedBody(&'static str),
    /// The changes since this vector can't be told: something that it lacks was deleted so long ago
    /// that the tombstone is gone. List the namespace anew.
    #[error("changes since this point are gone: list again")]
    Gone,
    /// The engine can't read. After a failure of the disk, trying again may help.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl ReadError {
    pub(crate) fn damaged(table: Table) -> impl FnOnce(DecodeError) -> ReadError {
        move |reason| ReadError::Damaged { table, reason }
    }
}

/// Why a write was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The namespace does not exist, or was dropped. Nothing was changed.
    #[error("no namespace {0}")]
    UnknownNamespace(NamespaceId),
    /// The write is over a bound. Nothing was changed; the same write is refused again.
    #[error("{0}")]
    Invalid(String),
    /// A namespace with this title or id exists already. Nothing was changed.
    #[error("{0}")]
    Taken(String),
    /// Too many writes wait. Nothing was changed; try again shortly.
    #[error("too many writes are waiting: try again shortly")]
    QueueFull,
    /// There is no room on the disk. Nothing was changed; try again when there is.
    #[error("the disk is full: nothing was written; free some space and try again")]
    DiskFull,
    /// The store takes no writes. Nothing was changed.
    #[error("nothing was written: {0}")]
    ReadOnly(String),
    /// The disk failed before the write was durable. Nothing was changed.
    #[error("nothing was written: {0}")]
    Failed(String),
    /// The disk failed while the write was made durable: it may or may not survive. Read it back,
    /// or write it again.
    #[error("the disk failed and the outcome is not known: {0}")]
    OutcomeUnknown(String),
    /// The store was closed before this write was made. Nothing was changed.
    #[error("the store is closed")]
    Closed,
}
