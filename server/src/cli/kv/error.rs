//! Why a command failed.

use std::{io, path::PathBuf};

use waypost_client::{BuildError, ConnectError};

use super::super::{client::ClientError, confirm::ConfirmError, server_url::ServerUrl};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum KvError {
    /// The command can't talk to a server as it was told to: an invalid address, token file or CA file.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A client of this server can't be made.
    #[error(transparent)]
    Build(BuildError),
    /// No connection. Nothing was sent; a retry helps once the server can be reached.
    #[error("can't reach {server}: {reason}; check --server and WAYPOST_SERVER, and --ca-file")]
    Unreachable { server: ServerUrl, reason: ConnectError },
    /// The server has no such namespace. Nothing was changed.
    #[error(
        "{server} has no namespace {namespace:?}: see `waypost namespace list`, or create it with `waypost namespace create`"
    )]
    NoNamespace { server: ServerUrl, namespace: String },
    /// `get` found nothing: the exit code is 3.
    #[error("there is no key {key:?} in the namespace {namespace:?}")]
    NoKey { key: String, namespace: String },
    /// A call failed after the retries that the client makes. The error says whether the write may have happened.
    #[error(transparent)]
    Call(waypost_client::Error),
    /// The metadata is not JSON. Nothing was sent.
    #[error("--metadata: {0}; write JSON, such as '{{\"v\":1}}'")]
    Metadata(serde_json::Error),
    /// A file of values or entries can't be read. What was sent before stays.
    #[error("can't read {}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    /// Some keys of a deletion by prefix are still there; the others are gone.
    #[error("{} keys were not deleted, the first one because: {why}", .count)]
    Undeleted { count: usize, why: String },
    /// The source of an import failed, as its own text says. What was imported stays, and `--resume` continues.
    #[error("{0}")]
    Source(String),
    /// What `--from` names is not a source. Nothing was sent.
    #[error("--from: {0}")]
    Usage(String),
    /// The file of an export, or that of `--resume`, can't be written. Its whole lines are right.
    #[error("can't write {}: {error}", path.display())]
    Write { path: PathBuf, error: io::Error },
    /// An export would overwrite a file. It is unchanged.
    #[error("{} exists already: add --resume to continue it, or name another file with --output", .0.display())]
    Exists(PathBuf),
    /// There is nothing left to export into this file.
    #[error("{} is complete: remove it, or name another file with --output", .0.display())]
    Complete(PathBuf),
    /// `--resume` names a file that no export wrote. It is unchanged.
    #[error(
        "{} is not an export that was interrupted, for its last line is not an entry: {error}; name another file with --output",
        path.display()
    )]
    NotAnExport { path: PathBuf, error: serde_json::Error },
    /// `--resume` names a file that no import wrote. It is unchanged.
    #[error(
        "--resume: {} is not a file of an import that was interrupted: {error}; remove it to import all again, or name another \
         file", path.display()
    )]
    NotAState { path: PathBuf, error: serde_json::Error },
    /// `--resume` names the file of an import from another source, or into another namespace.
    #[error(
        "--resume: {} is of an import of {origin} into {target}; remove it to import all again, or name another file",
        path.display()
    )]
    OtherImport { path: PathBuf, origin: String, target: String },
    /// Some entries were left out, because the server refuses them or they are no entries; the others are there.
    #[error("{count} entries were not imported, the first one because: {why}")]
    NotImported { count: u64, why: String },
    /// The user did not confirm a deletion. Nothing was deleted.
    #[error(transparent)]
    Confirm(#[from] ConfirmError),
    /// The reader of a pipe has gone, or the disk behind stdout is full.
    #[error("can't write to stdout: {0}")]
    Output(io::Error),
    /// The system failed: no thread, or no buffer for an entry.
    #[error("{0}")]
    System(io::Error),
}

impl KvError {
    /// Whether there is no such key.
    pub(in crate::cli) fn is_no_key(&self) -> bool {
        matches!(self, KvError::NoKey { .. })
    }

    /// Whether the command itself was wrong.
    pub(in crate::cli) fn is_usage(&self) -> bool {
        match self {
            KvError::Client(error) => error.is_usage(),
            KvError::Metadata(_) | KvError::Usage(_) => true,
            _ => false,
        }
    }
}
