//! Large values on a slow link with a long delay, and their effect on small writes.

use std::{
    num::NonZeroU64,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use waypost_link_tests::Conditions;

use super::{Client, delays, start, verdict};
use crate::{Failure, cores::Cores, data, meter};

/// The greatest size of a value.
const LARGE_BYTES: usize = 25 << 20;
/// A pause after each small write.
const PAUSE: Duration = Duration::from_millis(50);

/// Measures small writes alone, and then while large values are transferred, one after the other.
///
/// # Errors
/// If a server fails.
pub fn run(directory: &Path, delay: Duration, megabits: u64, writes: u64) -> Result<(), Failure> {
    let bits_per_second = NonZeroU64::new(megabits * 1_000_000);
    let conditions = Conditions { bits_per_second, ..Conditions::delayed(delay) };
    let cluster = start(directory, 2, Some(conditions), &[])?;
    let cores = Cores::shared()?;
    let [here, there] = cluster.locations() else { return Err("two locations".into()) };
    delays(&cores, Client::to(here)?, Client::to(there)?, 1..=20, PAUSE)?;
    let alone = delays(&cores, Client::to(here)?, Client::to(there)?, 21..=20 + writes, PAUSE)?;

    let (is_over, transferred) = (AtomicBool::new(false), AtomicU64::new(0));
    let beside = std::thread::scope(|scope| {
        let large = scope.spawn(|| -> Result<(), Failure> {
            let (mut putting, mut getting) = (Client::to(here)?, Client::to(there)?);
            for n in 0.. {
                let value = data::value(n, LARGE_BYTES);
                let key = format!("large-{n}");
                putting.put(&key, &value)?;
                while getting.get(&key)?.len() != value.len() {
                    if is_over.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
                transferred.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let small =
            delays(&cores, Client::to(here)?, Client::to(there)?, 1001..=1000 + writes, PAUSE);
        is_over.store(true, Ordering::Relaxed);
        large.join().map_err(|_panic| "a writer panicked")??;
        small
    })?;
    println!(
        "\nsmall writes, {delay:?} one way, {megabits} Mbit/s; {} values of 25 MiB transferred; load {}\n",
        transferred.into_inner(),
        meter::load()
    );
    println!("| | p50 ms | p99 ms | most ms |\n|---|---|---|---|");
    println!("| alone | {} |\n| beside 25 MiB | {} |", alone.row(), beside.row());
    let [alone, beside] = [alone, beside].map(|one| one.percentile(99).as_secs_f64());
    let ratio = beside / alone;
    println!("\np99: beside / alone = {ratio:.2}: at most 2x {}", verdict(ratio <= 2.0));
    Ok(())
}
