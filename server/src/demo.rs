//! `waypost demo`: three locations in this process, that show what a cluster does.
//!
//! | module | what it knows |
//! |---|---|
//! | `story` | the steps, one after the other |
//! | `place` | a location: a store in a directory, and the replica that links it with others |
//! | `authority` | the cluster of the demo: its CA, and a certificate for each location |
//! | `step` | a step's deadline |
//! | `screen` | lines, in colours and columns where there is a terminal |
//!
//! Nothing is played: the stores sync to a disk, the links are QUIC with mutual TLS on loopback, and
//! every time that is told was measured. All of it is in one temporary directory, removed at the end.

use std::{future::Future, io, time::Duration};

use kv_core::{OpenError, ReadError, WriteError};
use kv_replicate::quic::{AskError, StartError};
use tempfile::TempDir;
use tokio::runtime;

use self::screen::Screen;
use crate::serve::signals::Signals;

mod authority;
mod place;
mod screen;
mod step;
mod story;

/// Why the demo did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// A step took too long.
    #[error("the demo gives up: within {} s it did not happen that {what}", step::DEADLINE.as_secs())]
    InVain {
        /// What did not happen, as "osaka reads it".
        what: String,
    },
    /// Locations hold what they should not.
    #[error("the locations do not hold what they should: {0}")]
    Wrong(String),
    /// A signal came.
    #[error("the demo was ended by {0}; its files are removed")]
    Interrupted(&'static str),
    /// A certificate can't be made.
    #[error("can't make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A store can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A store does not take a write.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A store can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A location can't be linked with others.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A location does not tell how it is.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The temporary directory can't be made or removed.
    #[error("the temporary directory of the demo: {0}")]
    Directory(#[source] io::Error),
    /// Nothing can be written to stdout.
    #[error("can't write to stdout: {0}")]
    Screen(#[source] io::Error),
    /// The system does not give what it should: threads, signals, randomness.
    #[error("{0}")]
    System(String),
}

/// Runs the demo and tells it on stdout. Blocks until it is over: a few seconds.
///
/// # Errors
/// See [`DemoError`]. The temporary directory is removed in any case.
pub fn run() -> Result<(), DemoError> {
    let system = |error: io::Error| DemoError::System(error.to_string());
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().map_err(system)?;
    let directory = tempfile::Builder::new().prefix("waypost-demo-").tempdir();
    let directory = directory.map_err(DemoError::Directory)?;
    let story = async {
        let mut signals = Signals::new().map_err(system)?;
        let mut screen = Screen::of_stdout();
        let story = story::tell(&mut screen, directory.path());
        unless(story, async { signals.next().await }).await
    };
    let told = runtime.block_on(story);
    // What was cut short ends here, before its files go.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let removed = remove(directory);
    told.and(removed)
}

/// The story to its end, unless a signal comes before.
async fn unless(
    story: impl Future<Output = Result<(), DemoError>>,
    signal: impl Future<Output = &'static str>,
) -> Result<(), DemoError> {
    tokio::select! {
        told = story => told,
        name = signal => Err(DemoError::Interrupted(name)),
    }
}

fn remove(directory: TempDir) -> Result<(), DemoError> {
    directory.close().map_err(DemoError::Directory)
}
