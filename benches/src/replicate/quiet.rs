//! The cost of links: an idle one, many of them with and without writes, and a dead peer.

use std::{path::Path, time::Duration};

use kv_core::env::{Environment as _, SystemEnvironment};
use waypost_link_tests::Conditions;
use waypost_tests::cluster::{Cluster, Location};

use super::{Client, VALUE_BYTES, start, sustained, verdict};
use crate::{
    Failure, data,
    meter::{self, Stopwatch},
};

/// Two locations without writes: the bytes per second on their link.
///
/// # Errors
/// If a server fails.
pub fn idle(directory: &Path, lasting: Duration) -> Result<(), Failure> {
    let cluster = start(directory, 2, Some(Conditions::default()), &[])?;
    // Wait for the last messages of joining.
    std::thread::sleep(Duration::from_secs(5));
    let passed = || {
        let all = cluster.counts();
        (all.to.bytes + all.from.bytes, all.to.packets + all.from.packets)
    };
    let before = passed();
    std::thread::sleep(lasting);
    let after = passed();
    let a_second = |count: u64| count as f64 / lasting.as_secs_f64();
    let (bytes, packets) = (a_second(after.0 - before.0), a_second(after.1 - before.1));
    // The headers of IPv4 and UDP have 28 bytes.
    let on_wire = bytes + 28.0 * packets;
    println!(
        "\nan idle link, both ways, for {lasting:?}: {bytes:.0} B/s in {packets:.1} datagrams/s, with progress \
         {on_wire:.0} B/s: below 1 KiB/s {}",
        verdict(on_wire < 1024.0)
    );
    Ok(())
}

/// Locations join one after the other. Measures the cost of a location whenever there are as many as `at` lists: first of
/// an idle one, and then while so many values of 1 KiB are put in a second, at all locations by turns.
///
/// # Errors
/// If a server fails.
pub fn links(directory: &Path, at: &[usize], lasting: Duration, rate: u32) -> Result<(), Failure> {
    let mut cluster = start(directory, 1, Some(Conditions::default()), &["--cache=8MiB"])?;
    println!("\nlocations, watched for {lasting:?}; load {}\n", meter::load());
    println!(
        "| locations | writes/s of all | first location: own MiB | replication holds | B/s sent and received, a \
         location | CPU, a location |"
    );
    println!("|---|---|---|---|---|---|");
    for &count in at {
        while cluster.len() < count {
            cluster.join();
        }
        std::thread::sleep(Duration::from_secs(5));
        watch(&cluster, 0.0, || {
            std::thread::sleep(lasting);
            Ok(0)
        })?;
        if rate > 0 {
            watch(&cluster, f64::from(rate), || put_by_turns(&cluster, lasting, rate))?;
        }
    }
    Ok(())
}

/// Prints what a location costs while something lasts.
fn watch(
    cluster: &Cluster,
    rate: f64,
    lasts: impl FnOnce() -> Result<u64, Failure>,
) -> Result<(), Failure> {
    let first = cluster.locations()[0].server();
    let bytes = || -> u64 {
        let counts = cluster.counts();
        counts.to.bytes + counts.from.bytes
    };
    let (before, watch) = (bytes(), Stopwatch::of(first.pid())?);
    let writes = lasts()?;
    let seconds = watch.wall().as_secs_f64();
    // One location sends what passes a proxy, and another receives it.
    let a_second = 2.0 * (bytes() - before) as f64 / seconds;
    let cpu = 100.0 * watch.cpu()?.as_secs_f64() / seconds;
    let own = meter::memory(first.pid())?.anonymous as f64 / 1_048_576.0;
    let held = first.metric("waypost_cluster_core_bytes");
    let (count, writes) = (cluster.len(), writes as f64 / seconds);
    let behind = if writes < 0.9 * rate { format!(" of {rate}") } else { String::new() };
    println!(
        "| {count} | {writes:.0}{behind} | {own:.1} | {held:.0} B | {:.0} | {cpu:.2} % |",
        a_second / count as f64
    );
    Ok(())
}

/// Puts values at all locations by turns, as many in a second as `rate`, or as many as they take. Returns how many.
fn put_by_turns(cluster: &Cluster, lasting: Duration, rate: u32) -> Result<u64, Failure> {
    let clock = SystemEnvironment::new();
    let mut clients = cluster.locations().iter().map(Client::to).collect::<Result<Vec<_>, _>>()?;
    let (began, mut writes) = (clock.monotonic(), 0_u32);
    while clock.monotonic() - began < lasting {
        let number = writes as usize % clients.len();
        let value = data::value(writes.into(), VALUE_BYTES);
        clients[number].put(&format!("key-{}", writes % 1000), &value)?;
        writes += 1;
        let due = began + Duration::from_secs(1) * writes / rate;
        std::thread::sleep(due.saturating_sub(clock.monotonic()));
    }
    Ok(writes.into())
}

/// Three locations, one of which is dead while another one gets as many writes as it can handle.
///
/// # Errors
/// If a server fails.
pub fn dead(directory: &Path, lasting: Duration) -> Result<(), Failure> {
    let mut cluster = start(directory, 3, Some(Conditions::default()), &["--cache=64MiB"])?;
    cluster.kill(2);
    println!("\na peer is dead; MiB of the others; load {}\n", meter::load());
    println!("| writes | written to: own | peak | replication holds | the other: own | peak |");
    println!("|---|---|---|---|---|---|");
    let mut writes = 0;
    let mut own = Vec::new();
    for part in 0..6 {
        let sample = sustained::put_for(&cluster.locations()[0], part, lasting / 6, |_lag| {})?;
        writes += sample.operations;
        let memories = [0, 1].map(|n| memory(&cluster.locations()[n]));
        let [here, there] = memories;
        let (here, there) = (here?, there?);
        let core =
            cluster.locations()[0].server().metric("waypost_cluster_core_bytes") / 1_048_576.0;
        println!("| {writes} | {} | {} | {core:.1} | {} | {} |", here.0, here.1, there.0, there.1);
        own.push(here.0.max(there.0));
    }
    let grown = own[5] as f64 / own[1].max(1) as f64;
    println!("\nfrom a third of the writes to all: {grown:.2}x: flat {}", verdict(grown < 1.1));
    Ok(())
}

/// The memory of a location's server in MiB: its own, and the resident peak.
fn memory(location: &Location) -> Result<(u64, u64), Failure> {
    let memory = meter::memory(location.server().pid())?;
    Ok((memory.anonymous >> 20, memory.peak >> 20))
}
