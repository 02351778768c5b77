//! Why a command failed.

use std::{io, path::PathBuf};

use waypost_client::{BuildError, ConnectError};

use super::super::{client::ClientError, confirm::ConfirmError, server_url::ServerUrl};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum KvError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Build(BuildError),
    #[error("can't reach {server}: {reason}; check --server and WAYPOST_SERVER, and --ca-file")]
    Unreachable { server: ServerUrl, reason: ConnectError },
    #[error(
        "{server} has no namespace {namespace:?}: see `waypost namespace list`, or create it with `waypost namespace create`"
    )]
    NoNamespace { server: ServerUrl, namespace: String },
    #[error("there is no key {key:?} in the namespace {namespace:?}")]
    NoKey { key: String, namespace: String },
    #[error(transparent)]
    Call(waypost_client::Error),
    #[error("--metadata: {0}; write JSON, such as '{{\"v\":1}}'")]
    Metadata(serde_json::Error),
    #[error("can't read {}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{} keys were not deleted, the first one because: {why}", .count)]
    Undeleted { count: usize, why: String },
    #[error("{0}")]
    Source(String),
    #[error("--from: {0}")]
    Usage(String),
    #[error("can't write {}: {error}", path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error("{} exists already: add --resume to continue it, or name another file with --output", .0.display())]
    Exists(PathBuf),
    #[error("{} is complete: remove it, or name another file with --output", .0.display())]
    Complete(PathBuf),
    #[error(
        "{} is not an export that was interrupted, for its last line is not an entry: {error}; name another file with --output",
        path.display()
    )]
    NotAnExport { path: PathBuf, error: serde_json::Error },
    #[error(
        "--resume: {} is not a file of an import that was interrupted: {error}; remove it to import all again, or name another \
         file", path.display()
    )]
    NotAState { path: PathBuf, error: serde_json::Error },
    #[error(
        "--resume: {} is of an import of {origin} into {target}; remove it to import all again, or name another file",
        path.display()
    )]
    OtherImport { path: PathBuf, origin: String, target: String },
    #[error("{count} entries were not imported, the first one because: {why}")]
    NotImported { count: u64, why: String },
    #[error(transparent)]
    Confirm(#[from] ConfirmError),
    #[error("can't write to stdout: {0}")]
    Output(io::Error),
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
