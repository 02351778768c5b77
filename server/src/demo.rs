//! `waypost demo`: three locations in this process that show what a cluster does.
//!
//! | module | contents |
//! |---|---|
//! | `story` | the steps, one after the other |
//! | `location` | a location: a store in a directory, and the replica that links it with others |
//! | `authority` | the demo's cluster: its CA, and a certificate for each location |
//! | `step` | the deadline of a step |
//! | `screen` | lines, with colours and columns on a terminal |
//! | `error` | why the demo failed |
//!
//! Nothing is simulated: the stores sync to a disk, the links are QUIC with mutual TLS on loopback, and
//! every time that is printed was measured. All files are in one temporary directory, which is removed
//! at the end.

use std::{future::Future, time::Duration};

use tempfile::TempDir;
use tokio::runtime;

use self::screen::Screen;
use crate::signals::Signals;

mod authority;
mod error;
mod location;
mod screen;
mod step;
mod story;

pub use self::error::DemoError;

/// Runs the demo and prints it on stdout. Blocks until it is over: a few seconds.
///
/// # Errors
/// See [`DemoError`]. The temporary directory is removed in any case.
pub fn run() -> Result<(), DemoError> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    let directory = tempfile::Builder::new().prefix("waypost-demo-").tempdir();
    let directory = directory.map_err(DemoError::Directory)?;
    let story = async {
        let mut signals = Signals::new()?;
        let mut screen = Screen::of_stdout();
        let story = story::run(&mut screen, directory.path());
        unless(story, async { signals.next().await }).await
    };
    let result = runtime.block_on(story);
    // Interrupted work ends here, before its files are removed.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let removed = remove(directory);
    result.and(removed)
}

/// Runs the story to its end, unless a signal comes before.
async fn unless(
    story: impl Future<Output = Result<(), DemoError>>,
    signal: impl Future<Output = &'static str>,
) -> Result<(), DemoError> {
    tokio::select! {
        result = story => result,
        name = signal => Err(DemoError::Interrupted(name)),
    }
}

/// Removes the demo's files.
fn remove(directory: TempDir) -> Result<(), DemoError> {
    directory.close().map_err(DemoError::Directory)
}
