//! Two halves of a cluster that are disconnected for a virtual day, and then reconnect.

use waypost_sim_tests::mesh::{Mesh, Settings};

use super::{VALUE_BYTES, bytes, per, settled};
use crate::{Failure, data, meter::Stopwatch};

const DAY_MS: u64 = 86_400_000;

/// The number of rounds of writes in the day.
const ROUNDS: u64 = 10;

/// A day of disconnection.
#[derive(Clone, Copy, Debug)]
pub struct Day {
    /// The number of locations, half of them on either side.
    pub places: usize,
    /// The number of writes of each location in the day, in ten rounds.
    pub writes: u64,
    /// The size of a backlog in bytes.
    pub backlog_bytes: usize,
    /// Whether to send all progress messages of the day instead of skipping its idle times.
    pub whole: bool,
}

/// Prints the head of the table of [`healed`].
pub fn head() {
    println!(
        "\n| locations | writes each | backlogs | missing: rows x receivers, bytes | heal to equal | \
         bytes moved | by missing | live | pages | progress | sessions, messages | rows read | CPU |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
}

/// Prints the cost of becoming equal after the day.
///
/// # Errors
/// If the processor time can't be read.
pub fn healed(day: Day) -> Result<(), Failure> {
    let Day { places, writes, backlog_bytes, whole } = day;
    let mut mesh = settled(Settings { places, backlog_bytes, ..Settings::default() });
    let half = places / 2;
    mesh.cut(half);
    for round in 0..ROUNDS {
        for place in 0..places {
            for n in 0..writes / ROUNDS {
                let number = (round * writes + n) * 1000 + place as u64;
                let value = data::value(number, VALUE_BYTES);
                mesh.put(place, data::key(1000 + number), &value);
            }
        }
        mesh.run_for(if whole { DAY_MS / ROUNDS } else { 3_500 });
        if !whole {
            mesh.skip(DAY_MS / ROUNDS - 3_500);
        }
    }
    let rows = (half * (places - half) * 2) as u64 * writes;
    let missing = rows * (VALUE_BYTES + data::KEY_BYTES) as u64;
    mesh.notices.clear();
    let (before, read, watch) = (mesh.traffic, rows_read(&mesh, places), Stopwatch::own()?);
    mesh.heal();
    let took = mesh.run_until_equal();
    let (traffic, cpu) = (mesh.traffic.since(&before), watch.cpu()?);
    let sessions = count(&mesh);
    println!(
        "| {places} | {writes} | {} | {rows}, {} | {took} ms | {} | {} | {} | {} | {} | {sessions}, {} | \
         {} | {:.2} s |",
        bytes(backlog_bytes as u64),
        bytes(missing),
        bytes(traffic.all().1),
        per(traffic.all().1, missing),
        bytes(traffic.of(&["live"]).1),
        bytes(traffic.of(&["page"]).1),
        bytes(traffic.of(&["progress", "durable"]).1),
        traffic.all().0,
        rows_read(&mesh, places) - read,
        cpu.as_secs_f64(),
    );
    Ok(())
}

fn rows_read(mesh: &Mesh, places: usize) -> u64 {
    (0..places).map(|place| mesh.rows(place).read()).sum()
}

fn count(mesh: &Mesh) -> usize {
    let began = |(_, notice): &&(usize, kv_replicate::Notice)| {
        matches!(notice, kv_replicate::Notice::SessionBegan(_))
    };
    mesh.notices.iter().filter(began).count()
}
