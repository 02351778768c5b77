//! The threads of a server.

use std::{
    io,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    thread,
};

use tokio::runtime::{self, Runtime};

/// Threads for what blocks: lists, bulk gets, opening and closing. More would not make the disk faster.
const BLOCKING: usize = 32;

/// How many threads serve connections and links where nothing else is said: as many as half of the
/// cores. The clients are on the same machine and need about as much of it as the server; a thread
/// more than there is room for makes each request dearer for both sides, and takes the place of one
/// who asks (benches/README.md has the figures). The store commits on a thread of its own.
#[must_use]
pub fn default() -> NonZeroUsize {
    half_of(thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
}

fn half_of(cores: NonZeroUsize) -> NonZeroUsize {
    NonZeroUsize::new(cores.get() / 2).unwrap_or(NonZeroUsize::MIN)
}

/// Why there is no runtime. Nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The system does not let the process have so many threads.
    #[error(
        "can't start {threads} threads: {source}; say fewer with --threads, or raise the system's limits \
         (ulimit -u, ulimit -v)"
    )]
    Threads {
        /// How many were asked for.
        threads: NonZeroUsize,
        /// What the system says.
        source: io::Error,
    },
    /// The system has no files left, say.
    #[error("can't watch connections: {0}")]
    System(#[from] io::Error),
}

/// The runtime of a server with so many threads.
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

/// Starts so many threads at once, which end again: tokio panics where it can't have one.
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
    fn half_of_the_cores_serve_and_at_least_one() {
        for (cores, expected) in [(1, 1), (2, 1), (3, 1), (4, 2), (64, 32)] {
            let cores = NonZeroUsize::new(cores).unwrap();
            assert_eq!(half_of(cores).get(), expected, "{cores} cores");
        }
    }
}
