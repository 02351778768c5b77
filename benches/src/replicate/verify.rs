//! `waypost cluster verify` of a location with many entries against two others, at rest and while they are written to.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use kv_core::{
    Options,
    env::{Environment as _, SystemEnvironment},
};
use waypost_tests::cluster::Cluster;

use super::{Client, NAMESPACE, VALUE_BYTES, set_up, verdict};
use crate::{Failure, data, fill, meter};

/// The cache of each location.
const CACHE: (&str, usize) = ("--cache=64MiB", 64 << 20);
/// A pause after each write.
const PAUSE: Duration = Duration::from_millis(1);

/// Measures how long the comparison takes, and how much memory.
///
/// # Errors
/// If a server fails, or the locations differ.
pub fn run(directory: &Path, entries: u64) -> Result<(), Failure> {
    let mut cluster = set_up(directory, None, &[CACHE.0])?;
    let store =
        Options::new().replicated(true).cache_bytes(CACHE.1).open(cluster.locations()[0].data())?;
    let namespace = store.create_namespace(NAMESPACE)?;
    fill::put_all(&store, namespace.id, entries, VALUE_BYTES)?;
    store.close()?;
    drop(store);
    cluster.start_first(NAMESPACE);
    cluster.join();
    cluster.join();

    println!("\nverify: {entries} entries of 1 KiB, three locations; load {}\n", meter::load());
    println!("| | s | rows/s, both comparisons | writes/s meanwhile |\n|---|---|---|---|");
    let at_rest = compare(&cluster)?;
    let row = |what: &str, took: Duration, writes: u64| {
        let seconds = took.as_secs_f64();
        let [rows, writes] = [2.0 * entries as f64, writes as f64].map(|count| count / seconds);
        println!("| {what} | {seconds:.1} | {rows:.0} | {writes:.0} |");
    };
    row("at rest", at_rest, 0);

    let (is_over, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let busy = std::thread::scope(|scope| {
        let writers: Vec<_> = cluster
            .locations()
            .iter()
            .map(|location| {
                scope.spawn(|| {
                    let mut client = Client::to(location)?;
                    for n in (0..entries).step_by(7).cycle() {
                        if is_over.load(Ordering::Relaxed) {
                            return Ok(());
                        }
                        let key = data::key(n);
                        client.put(std::str::from_utf8(&key)?, &data::value(n, VALUE_BYTES))?;
                        written.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(PAUSE);
                    }
                    Ok::<(), Failure>(())
                })
            })
            .collect();
        let busy = compare(&cluster);
        is_over.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().map_err(|_panic| "a writer panicked")??;
        }
        busy
    })?;
    row("while each location is written to", busy, written.into_inner());
    for location in cluster.locations() {
        let peak = meter::memory(location.server().pid())?.peak >> 20;
        println!("\nmemory: peak {peak} MiB: below 200 MiB {}", verdict(peak < 200));
    }
    Ok(())
}

/// Compares the first location with the others. Returns how long it took.
fn compare(cluster: &Cluster) -> Result<Duration, Failure> {
    let clock = SystemEnvironment::new();
    let began = clock.monotonic();
    let output = cluster.locations()[0].call(&["cluster", "verify"]);
    let took = clock.monotonic() - began;
    if !output.status.success() {
        let [out, err] =
            [output.stdout, output.stderr].map(|one| String::from_utf8_lossy(&one).into_owned());
        return Err(format!("the locations differ: {out}{err}").into());
    }
    Ok(took)
}
