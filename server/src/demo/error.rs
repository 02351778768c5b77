//! Why the demo failed.

use std::io;

use kv_core::{OpenError, ReadError, WriteError};
use kv_replicate::quic::{QueryError, StartError};

use super::step::DEADLINE;
use crate::cluster::state::names::TextError;

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// A step took too long.
    #[error("the demo gives up: after {} s, still waiting until {until}", DEADLINE.as_secs())]
    TimedOut {
        /// The event that did not happen, for example "osaka reads it".
        until: String,
    },
    /// The locations hold something else than expected.
    #[error("the locations do not hold what they should: {0}")]
    Wrong(String),
    /// A signal came.
    #[error("the demo was interrupted by {0}; its files are removed")]
    Interrupted(&'static str),
    /// A certificate can't be issued.
    #[error("can't issue a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The cluster's name is not valid, which is a bug.
    #[error(transparent)]
    Name(#[from] TextError),
    /// A store can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A store rejected a write.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A store can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A replica can't start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A replica has ended.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The temporary directory can't be created or removed.
    #[error("can't use a temporary directory: {0}; set TMPDIR to a directory that can be written")]
    Directory(#[source] io::Error),
    /// Stdout can't be written.
    #[error("can't write to stdout: {0}")]
    Screen(#[source] io::Error),
    /// The system gave no randomness.
    #[error("can't generate an id: {0}")]
    Random(kv_core::RandomError),
    /// The system refused threads or signals.
    #[error("{0}")]
    System(#[from] io::Error),
    /// A task panicked.
    #[error("{0}")]
    Task(#[from] tokio::task::JoinError),
}
