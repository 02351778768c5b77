//! A row that a wrong clock dated hours ahead is damaged at a location, and a client overwrites it there before it can
//! come back from the other location. The overwrite must win, although it is not known which version it replaces.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{quiet, shuffled};
use crate::world::{World, damage::Place};

/// How far the clock is ahead.
const AHEAD_MS: i64 = 8 * 3_600_000;

/// How long a location may take to start, or a write to arrive.
const SOON_MS: u64 = 60_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let mut world = World::new(seed, quiet(2, &mut rng), false)?;
    let order = shuffled(2, &mut rng);
    let (wrong, node) = (order[0], if rng.chance(50) { order[0] } else { order[1] });
    world.put(order[1], 0..3, 100)?;
    world.rest()?;
    world.set_clock(wrong, AHEAD_MS);
    world.pass(SOON_MS)?;
    world.put(wrong, [0], 100)?;
    world.rest()?;
    let ahead_ms = world.off_by(node, 0);
    hold!(ahead_ms > SOON_MS, "the write is dated {ahead_ms} ms off");
    world.set_clock(wrong, 0);
    world.pass(SOON_MS)?;

    world.cut(order[0], order[1], true)?;
    world.damage_key(node, 0, Place::Row)?;
    let is_up = |world: &mut World| world.nodes[node].is_joined();
    hold!(world.run_until(SOON_MS, is_up)?, "a location with a damaged row does not start");
    // Another write may have replaced the damaged row before.
    if rng.chance(50) {
        world.delete(node, 0)?;
    }
    world.put(node, [0], 200)?;
    world.sync_now(node)?;
    let written = world.version(node, 0);
    world.uncut(order[0], order[1])?;
    world.rest()?;
    for at in order {
        hold!(world.version(at, 0) == written, "an overwrite of a damaged row is lost at {at}");
    }
    world.finish()
}
