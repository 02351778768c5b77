//! A live message is lost. The writer resends its rows from the backlog, quickly and without a
//! session.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{quiet, shuffled};
use crate::{network::Fate, world::World};

/// A session would not even start in this time.
const SOON_MS: u64 = 700;

/// Runs the scenario. If the writer continues to write, its next row reveals the gap at once;
/// otherwise its progress message does, a little later.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let (nodes, goes_on) = (rng.weighted(&[(1, 2), (1, 3), (1, 4)]), rng.chance(50));
    let plan = quiet(nodes, &mut rng);
    // A message, a request and a response, each with up to half of the latency as jitter.
    let soon_ms = if goes_on { 5 * plan.latency_ms + 10 } else { SOON_MS };
    let mut world = World::new(seed, plan, false)?;
    world.rest()?;
    let (order, ended) = (shuffled(nodes, &mut rng), world.ended_sessions());
    let (writer, reader) = (order[0], order[1]);

    let live = ((writer, reader), Channel::Live);
    world.network.fates.insert(live, Fate::Lost);
    world.put(writer, 0..rng.between(1, 5), 100)?;
    world.network.fates.remove(&live);
    if goes_on {
        world.put(writer, [10], 100)?;
    }

    let is_here = world.run_until(soon_ms, |world| world.has(reader, 0))?;
    hold!(is_here, "a lost row does not arrive within {soon_ms} ms");
    world.rest()?;
    hold!(world.ended_sessions() == ended, "a session was used for rows in the backlog");
    world.finish()
}
