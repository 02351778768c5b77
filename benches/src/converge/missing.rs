//! Two stores with many keys, one of which misses some writes of the other.

use waypost_sim_tests::mesh::{Mesh, Settings};

use super::{bytes, per};
use crate::{Failure, data, meter::Stopwatch};

/// The number of writes in a batch while the stores are filled.
const BATCH: u64 = 500;

/// Bytes of a value: small, so that two stores with 10^6 values fit into memory.
const VALUE_BYTES: usize = 100;

/// Prints the head of the table of [`caught_up`].
pub fn head() {
    println!(
        "\n| keys in the store | missed | over | bytes | bytes a missed key | messages | rows read: \
         source, receiver | rows written by the receiver | heal to equal | CPU of both |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
}

/// Prints the cost of catching up with `missed` overwrites, spread over stores with `keys` keys.
///
/// # Errors
/// If the processor time can't be read.
pub fn caught_up(
    keys: u64,
    missed: u64,
    backlog_bytes: usize,
    cache: usize,
) -> Result<(), Failure> {
    let mut mesh = filled(keys, backlog_bytes, cache);
    mesh.cut(1);
    for n in 0..missed {
        // The step is coprime to powers of ten: it reaches each key once, far from the previous
        // one.
        let key = data::key(n * 7_919 % keys);
        mesh.put(0, key, &data::value(keys + n, VALUE_BYTES));
    }
    mesh.run_for(5_000);
    let read = |mesh: &Mesh| [0, 1].map(|place| mesh.rows(place).read());
    let (before, rows, written) = (mesh.traffic, read(&mesh), mesh.rows(1).written());
    let watch = Stopwatch::own()?;
    mesh.heal();
    let took = mesh.run_until_equal();
    let cpu = watch.cpu()?;
    let (messages, sent) = mesh.traffic.since(&before).all();
    let now = read(&mesh);
    let way =
        if mesh.traffic.since(&before).of(&["page"]).0 > 0 { "a session" } else { "the backlog" };
    println!(
        "| {keys} | {missed} | {way} | {} | {} | {messages} | {}, {} | {} | {took} ms | {:.1} ms |",
        bytes(sent),
        per(sent, missed),
        now[0] - rows[0],
        now[1] - rows[1],
        mesh.rows(1).written() - written,
        cpu.as_secs_f64() * 1e3,
    );
    Ok(())
}

/// Two equal stores, each of which wrote half of the keys.
fn filled(keys: u64, backlog_bytes: usize, cache_bytes: usize) -> Mesh {
    let settings = Settings { places: 2, backlog_bytes, cache_bytes, ..Settings::default() };
    let mut mesh = Mesh::new(settings);
    mesh.connect();
    mesh.run_for(1_000);
    for first in (0..keys).step_by(usize::try_from(BATCH).unwrap_or(1)) {
        let place = usize::from(first / BATCH % 2 == 1);
        let mut operations = Vec::new();
        for n in first..keys.min(first + BATCH) {
            let value = data::value(n, VALUE_BYTES);
            let key = data::key(n).to_vec();
            operations.extend(mesh.put_operations(place, key, &value, Default::default()));
        }
        mesh.write(place, operations);
        mesh.run_for(20);
    }
    mesh.run_until_equal();
    mesh.run_for(5_000);
    mesh
}
