//! The threads of a server.

use std::{io, num::NonZeroUsize, thread};

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

/// The runtime of a server with so many threads.
///
/// # Errors
/// If the system has no threads or files left.
pub fn runtime(threads: NonZeroUsize) -> io::Result<Runtime> {
    runtime::Builder::new_multi_thread()
        .worker_threads(threads.get())
        .max_blocking_threads(BLOCKING)
        .enable_all()
        .build()
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
