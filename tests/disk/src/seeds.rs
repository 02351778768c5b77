//! Runs many seeds on all cores.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::violation::Checked;

/// The number of violations after which no further seed starts.
const MOST_VIOLATIONS: usize = 10;

/// The number in an environment variable, if it is set.
///
/// # Panics
/// If the value is not a number: a mistyped number must not silently mean the default.
#[must_use]
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Runs `count` seeds from `first`, on all cores.
///
/// # Panics
/// If `run` fails for a seed. The message shows how to replay it: `WAYPOST_SEED=SEED` in front of
/// the command `replay`.
pub fn run(first: u64, count: u64, replay: &str, run: impl Fn(u64) -> Checked + Sync) {
    let (next, violations) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    let lock = || violations.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count || lock().len() >= MOST_VIOLATIONS {
                return;
            }
            if let Err(violation) = run(seed) {
                lock().push((seed, violation));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(work);
        }
    });
    for (seed, violation) in lock().iter() {
        println!("seed {seed}: {violation}");
    }
    let broken = lock().first().map(|(seed, _)| *seed);
    if let Some(seed) = broken {
        panic!("to replay it: WAYPOST_SEED={seed} {replay}");
    }
}
