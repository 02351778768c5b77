//! The delay from a durable acknowledgement at one location to a read at another.

use std::{path::Path, time::Duration};

use waypost_link_tests::Conditions;

use super::{Client, Delays, Read as _, delays, start, verdict};
use crate::{Failure, cores::Cores, meter, redis::Redis};

/// The pause after each write, for a light load.
const PAUSE: Duration = Duration::from_millis(20);

/// Two locations with a one-way delay between them.
///
/// # Errors
/// If a server fails.
pub fn delayed(directory: &Path, delay: Duration, writes: u64) -> Result<(), Failure> {
    let (delayed, cores) = (Conditions::delayed(delay), Cores::shared()?);
    let measured = between_two(directory, Some(delayed), &cores, writes)?;
    let beyond = |percent| measured.percentile(percent).saturating_sub(delay);
    let (median, high) = (beyond(50), beyond(99));
    println!("\nacknowledged here, read there: {delay:?} one way; load {}\n", meter::load());
    println!("| | p50 ms | p99 ms | most ms |\n|---|---|---|---|\n| ours | {} |", measured.row());
    println!(
        "\nbeyond the delay: p50 {:.2} ms: at most 2 ms {}; p99 {:.2} ms: at most 10 ms {}",
        median.as_secs_f64() * 1e3,
        verdict(median <= Duration::from_millis(2)),
        high.as_secs_f64() * 1e3,
        verdict(high <= Duration::from_millis(10)),
    );
    Ok(())
}

/// Two locations on loopback, and Redis with a replica: first with separate cores for each end and
/// its clients, as on separate machines; then with shared cores.
///
/// # Errors
/// If a server fails.
pub fn loopback(directory: &Path, rounds: u64, writes: u64) -> Result<(), Failure> {
    Cores::apart_and_shared(|name, cores| compare(&directory.join(name), cores, rounds, writes))
}

fn compare(directory: &Path, cores: &Cores, rounds: u64, writes: u64) -> Result<(), Failure> {
    println!("\nacknowledged here, read there: loopback; load {}\n", meter::load());
    println!("| | p50 ms | p99 ms | most ms |\n|---|---|---|---|");
    let mut ratios = Vec::new();
    let mut highs = Vec::new();
    for round in 0..rounds {
        let ours = between_two(&directory.join(format!("ours-{round}")), None, cores, writes)?;
        println!("| ours | {} |", ours.row());
        highs.push(ours.percentile(99));
        if let Some(redis) = redis(&directory.join(format!("redis-{round}")), cores, writes)? {
            println!("| Redis | {} |", redis.row());
            let [ours, redis] = [ours, redis].map(|one| one.percentile(50).as_secs_f64());
            ratios.push(ours / redis);
        }
    }
    ratios.sort_by(f64::total_cmp);
    highs.sort_unstable();
    if let (Some(ratio), Some(high)) = (ratios.get(ratios.len() / 2), highs.get(highs.len() / 2)) {
        println!("\np50: ours / Redis = {ratio:.2}: at most 4x {}", verdict(*ratio <= 4.0));
        let high = high.as_secs_f64() * 1e3;
        println!("p99: {high:.2} ms: at most 3 ms {}", verdict(high <= 3.0));
    }
    Ok(())
}

fn between_two(
    directory: &Path,
    conditions: Option<Conditions>,
    cores: &Cores,
    writes: u64,
) -> Result<Delays, Failure> {
    let mut cluster = cores.on(0, || start(directory, 1, conditions, &[]))?;
    cores.on(1, || {
        cluster.join();
        Ok(())
    })?;
    let [here, there] = cluster.locations() else { return Err("two locations".into()) };
    // The first writes warm the caches.
    delays(cores, Client::to(here)?, Client::to(there)?, 1..=20, PAUSE)?;
    delays(cores, Client::to(here)?, Client::to(there)?, 21..=20 + writes, PAUSE)
}

fn redis(directory: &Path, cores: &Cores, writes: u64) -> Result<Option<Delays>, Failure> {
    let primary = cores.on(0, || Redis::start(&directory.join("primary")))?;
    let Some(primary) = primary else { return Ok(None) };
    let replica = cores.on(1, || primary.replica(&directory.join("replica")))?;
    delays(cores, primary.connect_by_tcp()?, replica.connect_by_tcp()?, 1..=20, PAUSE)?;
    let mut reader = replica.connect_by_tcp()?;
    reader.read()?;
    delays(cores, primary.connect_by_tcp()?, reader, 21..=20 + writes, PAUSE).map(Some)
}
