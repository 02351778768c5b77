//! A full mesh of locations: the cost of a write, and the cost of idling.

use waypost_sim_tests::mesh::{Settings, traffic::Traffic};

use super::{VALUE_BYTES, bytes, per, percentile, settled};
use crate::{Failure, data, meter::Stopwatch};

/// The kinds of messages that follow a write without carrying it.
const PROGRESS: [&str; 2] = ["progress", "durable"];

/// The load of writes.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The number of writes.
    pub writes: u64,
    /// The rate of writes per second, over the whole cluster in turns.
    pub per_second: u64,
}

/// Prints the traffic of an idle cluster.
///
/// # Errors
/// If the processor time can't be read.
pub fn idle(places: &[usize], seconds: u64) -> Result<(), Failure> {
    println!(
        "\n| locations | progress messages a second | bytes a second | a location | bytes of one | CPU |"
    );
    println!("|---|---|---|---|---|---|");
    for places in places.iter().copied() {
        let mut mesh = settled(Settings { places, ..Settings::default() });
        let (before, watch) = (mesh.traffic, Stopwatch::own()?);
        mesh.run_for(seconds * 1000);
        let (messages, sent) = mesh.traffic.since(&before).all();
        println!(
            "| {places} | {} | {} | {} | {} | {:.2} % of a core |",
            per(messages, seconds),
            bytes(sent / seconds),
            bytes(sent / seconds / places as u64),
            per(sent, messages),
            watch.cpu()?.as_secs_f64() * 100.0 / (seconds * places as u64) as f64,
        );
    }
    Ok(())
}

/// Prints the head of the table of [`loaded`].
pub fn head() {
    println!(
        "\n| locations | writes | bytes a write | of it live, a receiver | of it progress | progress to \
         writes | messages a write: live, progress, other | visible everywhere: p50, p99, most (ms) \
         | one-way delays | CPU a write and location | CPU of a location |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
}

/// Prints the cost of writes under a load.
///
/// # Errors
/// If a write does not become visible everywhere, or the processor time can't be read.
pub fn loaded(places: usize, load: Load) -> Result<(), Failure> {
    let settings = Settings { places, ..Settings::default() };
    let mut mesh = settled(settings.clone());
    let (before, watch, start) = (mesh.traffic, Stopwatch::own()?, mesh.now());
    for n in 0..load.writes {
        let at = start + n * 1000 / load.per_second;
        mesh.run_for(at - mesh.now());
        let place = usize::try_from(n)? % places;
        mesh.put(place, data::key(1000 + n), &data::value(n, VALUE_BYTES));
    }
    mesh.run_until_equal();
    // The last progress messages are sent, and arrive.
    mesh.run_for(20 + 5 * places as u64 + settings.latency_ms + settings.sync_ms);
    let cpu = watch.cpu()?;
    let times = mesh.spread.times(places);
    if times.len() as u64 != load.writes {
        return Err(
            format!("{} of {} writes are visible everywhere", times.len(), load.writes).into()
        );
    }
    let each = cpu.as_secs_f64() * 1e6 / (load.writes * places as u64) as f64;
    let most = times.last().copied().unwrap_or(0);
    let rounds = (most - settings.sync_ms).div_ceil(settings.latency_ms);
    print(places, load, &mesh.traffic.since(&before));
    println!(
        " {}, {}, {most} | {rounds} | {each:.0} µs | {:.2} cores |",
        percentile(&times, 50),
        percentile(&times, 99),
        each * load.per_second as f64 / 1e6,
    );
    Ok(())
}

fn print(places: usize, load: Load, traffic: &Traffic) {
    let Load { writes, per_second } = load;
    let (all, (lives, live), (progress, progress_bytes)) =
        (traffic.all(), traffic.of(&["live"]), traffic.of(&PROGRESS));
    let how = if writes == 1 { "1 alone".into() } else { format!("{writes}, {per_second}/s") };
    print!(
        "| {places} | {how} | {} | {} | {} | {:.2} | {}, {}, {} |",
        bytes(all.1 / writes),
        bytes(live / writes / (places as u64 - 1)),
        bytes(progress_bytes / writes),
        progress_bytes as f64 / live.max(1) as f64,
        per(lives, writes),
        per(progress, writes),
        per(all.0 - lives - progress, writes),
    );
}
