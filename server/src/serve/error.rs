//! Why a server did not start, or did not stop cleanly.

use std::{io, net::SocketAddr, path::PathBuf};

use kv_core::{MemberId, OpenError, WriteError};
use ratelimit::BuildError;
use tokio::task::JoinError;

use crate::{
    cluster::{
        join,
        state::{dates::ClockError, files::FilesError, location::LoadError},
    },
    connection::BindError,
    terminal::shell_word,
    tls::TlsError,
};

/// Why a server did not start, or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The clock was never set.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// It can't listen.
    #[error("{place}: {source}")]
    Bind {
        /// The flag, the variable, or the file and line of the listener.
        place: String,
        /// Why not.
        source: BindError,
    },
    /// Other machines could reach a listener.
    #[error(
        "{place}: other machines can reach {url}, and there is no token to authenticate clients with: create one with \
         `waypost token create --scope admin --data {}`, set --admin-token-file, or listen on a loopback address or \
         unix:PATH",
        shell_word(data)
    )]
    NoTokens {
        /// The flag, the variable, or the file and line of the listener.
        place: String,
        /// The address.
        url: String,
        /// The data directory.
        data: String,
    },
    /// The file of the setting `join-file` holds no token.
    #[error("--join-file: {}: {reason}", path.display())]
    JoinFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The file of the setting `admin-token-file` holds no token.
    #[error("--admin-token-file: {}: {reason}", path.display())]
    AdminToken {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The audit log can't be opened.
    #[error("--audit-log: can't open {}: {source}; check that the user of the server may write there", path.display())]
    AuditLog {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The certificate of a listener can't be used.
    #[error("{place}: the listener can't have TLS: {source}")]
    Tls {
        /// The flag, the variable, or the file and line of the listener.
        place: String,
        /// Why not.
        source: TlsError,
    },
    /// The store can't be opened.
    #[error("can't open the store in {}: {source}", data.display())]
    Open {
        /// The data directory.
        data: PathBuf,
        /// Why not.
        source: OpenError,
    },
    /// A namespace of the setting `namespaces` can't be created.
    #[error("can't create the namespace {title:?} of the setting `namespaces`: {source}")]
    Namespace {
        /// Its title.
        title: String,
        /// Why not.
        source: WriteError,
    },
    /// The location did not become a member of the cluster.
    #[error(transparent)]
    Join(#[from] join::JoinError),
    /// The location can't take part in its cluster.
    #[error(transparent)]
    Cluster(#[from] LoadError),
    /// It can't listen for other locations.
    #[error(
        "can't replicate with other locations at {listen} (UDP): {source}; free that port, or set another as \
         `listen` in cluster/cluster.toml, and in `advertise`"
    )]
    Replicate {
        /// The address.
        listen: SocketAddr,
        /// Why not.
        source: kv_replicate::quic::StartError,
    },
    /// The CA holder can't become the first member of its cluster.
    #[error(
        "can't make this location, as cluster/cluster.toml describes it, a member of its cluster: {0}"
    )]
    Member(WriteError),
    /// The store belongs to another location than `cluster.toml` names.
    #[error(
        "the store in {} belongs to location {found}, and cluster/cluster.toml beside it names {named}: restore the \
         two from one backup; or remove the location at another one (`waypost cluster remove`), and let it join with \
         an empty data directory",
        data.display()
    )]
    OtherStore {
        /// The data directory.
        data: PathBuf,
        /// The location that the store belongs to.
        found: MemberId,
        /// The location that `cluster.toml` names.
        named: MemberId,
    },
    /// The rate limiter can't be created.
    #[error(transparent)]
    Limiter(BuildError),
    /// The store did not close cleanly. Writes that were acknowledged as durable are durable.
    #[error("the store did not close cleanly: {0}; no acknowledged durable write is lost")]
    Close(WriteError),
    /// The system refused something that the server needs.
    #[error("{0}")]
    System(#[from] io::Error),
    /// A task panicked.
    #[error("{0}")]
    Task(#[from] JoinError),
}

impl From<FilesError> for ServeError {
    fn from(error: FilesError) -> ServeError {
        LoadError::from(error).into()
    }
}
