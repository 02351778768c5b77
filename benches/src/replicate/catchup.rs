//! Catch-up over a long and narrow link: how much of its bandwidth a joining location uses, and how long it takes while
//! keys are rewritten. And how old the value of a key is at the other end that is rewritten faster than a round trip.

use std::{
    num::NonZeroU64,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kv_core::{
    Options,
    env::{Environment as _, SystemEnvironment},
};
use waypost_link_tests::Conditions;

use super::{Client, NAMESPACE, set_up, start, verdict};
use crate::{
    Failure, data, fill,
    meter::{self, Stopwatch},
};

/// Bytes of each value that a joining location receives.
const JOIN_BYTES: usize = 10_000;

/// A link of this delay in each direction, with the greatest rate and the share of packets that are lost.
fn conditions(delay: Duration, megabits: u64, loss: f64) -> Conditions {
    let bits_per_second = NonZeroU64::new(megabits * 1_000_000);
    Conditions { bits_per_second, loss, ..Conditions::delayed(delay) }
}

/// Measures the share of a link's bandwidth that a joining location uses, for each share of lost packets, and the cores
/// that the processes need for it.
///
/// # Errors
/// If a server or a store fails.
pub fn bandwidth(
    directory: &Path,
    (delay, megabits): (Duration, u64),
    losses: &[f64],
    entries: u64,
) -> Result<(), Failure> {
    println!(
        "\ncatch-up of {entries} values of {JOIN_BYTES} bytes, {delay:?} one way, {megabits} Mbit/s; load {}\n",
        meter::load()
    );
    println!(
        "| lost at random | s | Mbit/s of values | share of the link | at least | cores: source, receiver, proxies | sent bytes, of values | dropped packets |\n|---|---|---|---|---|---|---|---|"
    );
    for &percent in losses {
        let at = directory.join(format!("loss-{percent}"));
        let mut cluster = set_up(&at, Some(conditions(delay, megabits, percent / 100.0)), &[])?;
        let data = cluster.locations()[0].data();
        let store = Options::new().replicated(true).open(&data)?;
        let namespace = store.create_namespace(NAMESPACE)?;
        fill::put_all(&store, namespace.id, entries, JOIN_BYTES)?;
        store.close()?;
        drop(store);
        cluster.start_first(NAMESPACE);
        let (source, own) =
            (Stopwatch::of(cluster.locations()[0].server().pid())?, Stopwatch::own()?);
        cluster.join();
        let took = source.wall().as_secs_f64();
        let receiver = Stopwatch::cpu_since_start(cluster.locations()[1].server().pid())?;
        let cores = |cpu: Duration| cpu.as_secs_f64() / took;
        let (source, own) = (cores(source.cpu()?), cores(own.cpu()?));
        let bytes = entries * JOIN_BYTES as u64;
        let rate = (bytes * 8) as f64 / took / 1e6;
        let share = rate / megabits as f64;
        let least = if percent > 0.0 { 0.5 } else { 0.7 };
        let counts = cluster.counts();
        let sent = counts.to.bytes
            + counts.to.dropped_bytes
            + counts.from.bytes
            + counts.from.dropped_bytes;
        let dropped = counts.to.dropped_packets + counts.from.dropped_packets;
        println!(
            "| {percent} % | {took:.1} | {rate:.1} | {share:.2} | {least} {} | {source:.2}, {:.2}, {own:.2} | {:.2} | {dropped} |",
            verdict(share >= least),
            cores(receiver),
            sent as f64 / bytes as f64,
        );
    }
    Ok(())
}

/// Measures how long a location takes to join while a key is rewritten.
///
/// # Errors
/// If a server fails.
pub fn rewritten(directory: &Path, delay: Duration) -> Result<(), Failure> {
    let (bytes, pause, most) = (5_000, Duration::from_millis(20), Duration::from_secs(30));
    let mut cluster = start(directory, 1, Some(Conditions::delayed(delay)), &[])?;
    let mut client = Client::to(&cluster.locations()[0])?;
    for n in 0..100 {
        client.put(&format!("other-{n}"), &data::value(n, bytes))?;
    }
    let is_over = AtomicBool::new(false);
    let clock = SystemEnvironment::new();
    let took = std::thread::scope(|scope| {
        let writer = scope.spawn(|| -> Result<(), Failure> {
            for n in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                client.put("rewritten", &data::value(n, bytes))?;
                std::thread::sleep(pause);
            }
            Ok(())
        });
        std::thread::sleep(Duration::from_secs(1));
        let began = clock.monotonic();
        cluster.join();
        let took = clock.monotonic() - began;
        is_over.store(true, Ordering::Relaxed);
        writer.join().map_err(|_panic| "a writer panicked")??;
        Ok::<_, Failure>(took)
    })?;
    println!(
        "\na location joins while a key of {bytes} bytes is rewritten every {pause:?}, {delay:?} one way; load {}\n\nready after {:.1} s: at most {} s {}",
        meter::load(),
        took.as_secs_f64(),
        most.as_secs(),
        verdict(took <= most)
    );
    Ok(())
}

/// Measures how old the value of a key is at the other end, which is rewritten for a while.
///
/// # Errors
/// If a server fails.
pub fn age(directory: &Path, delay: Duration, span: Duration) -> Result<(), Failure> {
    let (bytes, pause, most) = (70_000, Duration::from_millis(50), Duration::from_secs(1));
    let cluster = start(directory, 2, Some(Conditions::delayed(delay)), &[])?;
    let [here, there] = cluster.locations() else { return Err("two locations".into()) };
    let (mut writer, mut reader) = (Client::to(here)?, Client::to(there)?);
    let clock = SystemEnvironment::new();
    let (is_over, written) = (AtomicBool::new(false), Mutex::new(Vec::<Duration>::new()));
    let mut ages = std::thread::scope(|scope| {
        let writing = scope.spawn(|| -> Result<(), Failure> {
            for n in 1.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                writer.put("rewritten", &data::value(n, bytes))?;
                written.lock().map_err(|_panic| "a reader panicked")?.push(clock.monotonic());
                std::thread::sleep(pause);
            }
            Ok(())
        });
        let (began, mut ages) = (clock.monotonic(), Vec::new());
        while clock.monotonic() < began + span {
            let now = clock.monotonic();
            let value = reader.get("rewritten")?;
            let number = value.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
            // The age of what is read is that of the first write that it does not show.
            let index = usize::try_from(number)?;
            let next = written.lock().map_err(|_panic| "a writer panicked")?.get(index).copied();
            ages.push(next.map_or(Duration::ZERO, |at| now.saturating_sub(at)));
            std::thread::sleep(Duration::from_millis(10));
        }
        is_over.store(true, Ordering::Relaxed);
        writing.join().map_err(|_panic| "a writer panicked")??;
        Ok::<_, Failure>(ages)
    })?;
    ages.sort_unstable();
    let ages = super::Delays(ages);
    println!(
        "\na key of {bytes} bytes is rewritten every {pause:?}, {delay:?} one way: its age at the other end; load {}\n",
        meter::load()
    );
    println!("| p50 ms | p99 ms | most ms | at most |\n|---|---|---|---|");
    let is_met = ages.percentile(100) <= most;
    println!("| {} | {} {} |", ages.row(), most.as_millis(), verdict(is_met));
    Ok(())
}
