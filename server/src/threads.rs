//! The threads of a server's runtime.

use std::{
    io,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    thread,
};

use tokio::runtime::{self, Runtime};

/// The most threads for blocking work: lists, bulk gets, opening and closing. More would not make the
/// disk faster.
const BLOCKING: usize = 32;

/// Returns how many threads serve connections and links by default: half of the CPU cores. The clients
/// usually run on the same machine and need about as much CPU time as the server; each thread beyond
/// that makes requests more expensive for both (benches/README.md has the figures). The store commits
/// on a thread of its own.
#[must_use]
pub fn default() -> NonZeroUsize {
    half_of(thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
}

/// Half of the cores, and at least one.
fn half_of(cores: NonZeroUsize) -> NonZeroUsize {
    NonZeroUsize::new(cores.get() / 2).unwrap_or(NonZeroUsize::MIN)
}

/// Why the runtime can't start. Nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The system does not allow that many threads.
    #[error(
        "can't start {threads} threads: {source}; set fewer with --threads, or raise the system's limits \
         (ulimit -u, ulimit -v)"
    )]
    Threads {
        /// How many were requested.
        threads: NonZeroUsize,
        /// The error of the system.
        source: io::Error,
    },
    /// The system refused something else that the runtime needs.
    #[error("can't start the runtime: {0}; raise the limit of open files (ulimit -n)")]
    System(#[from] io::Error),
}

/// Starts a runtime with this many threads.
///
/// # Errors
/// See [`RuntimeError`].
pub fn runtime(threads: NonZeroUsize) -> Result<Runtime, RuntimeError> {
    try_to_start(threads).map_err(|source| RuntimeError::Threads { threads, source })?;
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(threads.get())
        .max_blocking_threads(BLOCKING)
        .enable_all()
        .build()?;
    Ok(runtime)
}

/// Starts this many threads at once and ends them again, because tokio panics if it can't start one.
fn try_to_start(threads: NonZeroUsize) -> io::Result<()> {
    let admission = Mutex::new(());
    thread::scope(|scope| {
        let _shut = admission.lock();
        (0..threads.get()).try_for_each(|_| {
            let passing = || drop(admission.lock().unwrap_or_else(PoisonError::into_inner));
            thread::Builder::new().spawn_scoped(scope, passing).map(drop)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_cores_serve_but_at_least_one() {
        for (cores, expected) in [(1, 1), (2, 1), (3, 1), (4, 2), (64, 32)] {
            let cores = NonZeroUsize::new(cores).unwrap();
            assert_eq!(half_of(cores).get(), expected, "{cores} cores");
        }
    }
}
