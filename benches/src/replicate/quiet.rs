//! The cost of idling: an idle link, and a dead peer.

use std::{path::Path, time::Duration};

use waypost_link_tests::Conditions;
use waypost_tests::cluster::Location;

use super::{start, sustained, verdict};
use crate::{
    Failure,
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

/// Locations join one after the other. Measures the cost of an idle location whenever there are as
/// many as `at` lists.
///
/// # Errors
/// If a server fails.
pub fn links(directory: &Path, at: &[usize], lasting: Duration) -> Result<(), Failure> {
    let mut cluster = start(directory, 1, Some(Conditions::default()), &[])?;
    println!("\nidle locations, watched for {lasting:?}; load {}\n", meter::load());
    println!(
        "| locations | first location: own MiB | replication holds | B/s sent and received, a location | CPU, a location |"
    );
    println!("|---|---|---|---|---|");
    for &count in at {
        while cluster.len() < count {
            cluster.join();
        }
        std::thread::sleep(Duration::from_secs(5));
        let first = cluster.locations()[0].server();
        let watch = Stopwatch::of(first.pid())?;
        let bytes = || -> u64 {
            let counts = cluster.counts();
            counts.to.bytes + counts.from.bytes
        };
        let before = bytes();
        std::thread::sleep(lasting);
        // One location sends what passes a proxy, and another receives it.
        let a_second = 2.0 * (bytes() - before) as f64 / lasting.as_secs_f64();
        let cpu = 100.0 * watch.cpu()?.as_secs_f64() / watch.wall().as_secs_f64();
        let own = meter::memory(first.pid())?.anonymous as f64 / 1_048_576.0;
        let held = first.metric("waypost_cluster_core_bytes");
        println!(
            "| {count} | {own:.1} | {held:.0} B | {:.0} | {cpu:.2} % |",
            a_second / count as f64
        );
    }
    Ok(())
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
