//! A deletion is visible at a location whose disk has not synced it when the power goes. Nobody may
//! have dropped the tombstone by then: it could not be had again, and the value would stay.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{NO_BACKLOG, quiet, shuffled};
use crate::world::World;

/// How long a deletion has to come.
const SOON_MS: u64 = 5_000;

/// In so long a reader that took the deletion for complete says so, and the tombstone goes everywhere.
const ALL_SAID_MS: u64 = 20_000;

/// Runs it. The reader's own last write is later than the deletion, and durable: nothing but the
/// deletion holds it back from saying that it is complete up to there.
///
/// # Errors
/// What was found wrong.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let nodes = rng.weighted(&[(2, 2), (1, 3)]);
    let mut plan = quiet(nodes, &mut rng);
    plan.backlog_bytes = NO_BACKLOG;
    let mut world = World::new(seed, plan, false)?;
    let order = shuffled(nodes, &mut rng);
    let (writer, reader) = (order[0], order[1]);
    world.put(writer, [0, 1], 100)?;
    world.rest()?;

    // The reader's clock is ahead, and it hears of the deletion only after its own write.
    world.nodes[writer].skew_ms = 0;
    world.nodes[reader].skew_ms = 200;
    world.delete(writer, 0)?;
    world.put(reader, [1], 100)?;
    world.nodes[reader].is_stuck = true;
    let is_visible = world.run_until(SOON_MS, |world| world.is_deleted(reader, 0))?;
    hold!(is_visible, "the deletion does not become visible");

    world.pass(ALL_SAID_MS)?;
    world.lose_power_now(reader)?;
    world.nodes[reader].is_stuck = false;
    world.rest()?;
    world.finish()
}
