//! A live message is lost. Its rows come from the writer's ring, and soon: no session is needed.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{quiet, shuffled};
use crate::{network::Fate, world::World};

/// Before this a session would not even begin.
const SOON_MS: u64 = 700;

/// Runs it. Where the writer goes on, its next row shows the gap at once; else what it says it has
/// does, a little later.
///
/// # Errors
/// What was found wrong.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let (nodes, goes_on) = (rng.weighted(&[(1, 2), (1, 3), (1, 4)]), rng.chance(50));
    let plan = quiet(nodes, &mut rng);
    // There, back, and there again, each half as long again at most.
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
    hold!(is_here, "a lost row is not here within {soon_ms} ms");
    world.rest()?;
    hold!(world.ended_sessions() == ended, "a session for what was in the ring");
    world.finish()
}
