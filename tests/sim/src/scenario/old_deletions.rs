//! A store restarts from an image that is older than a deletion whose tombstone all members have dropped since. It must
//! be rebuilt in place: it drops the deleted value, and keeps what only it has.

use waypost_disk_tests::{hold, violation::Checked};

use super::{NO_BACKLOG, await_forgotten, begin, cut_off, reconnect, restore};
use crate::{events::Event, world::World};

/// How long a location may take to start, and to be rebuilt.
const SOON_MS: u64 = 60_000;

/// Runs the scenario. The restored location may have written before it meets the others, and its power may fail in
/// the middle.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    // A backlog would have the deletion.
    let (mut rng, mut world, order) = begin(seed, &[2, 3], NO_BACKLOG)?;
    let nodes = order.len();
    let (old, others) = (order[0], &order[1..]);
    world.put(*rng.pick(&order), 0..rng.between(3, 300), 100)?;
    world.rest()?;
    world.keep_old(old);
    world.delete(*rng.pick(&order), 0)?;
    world.put(*rng.pick(&order), [1], 100)?;
    await_forgotten(&mut world, 0, SOON_MS)?;

    cut_off(&mut world, old, others)?;
    restore(&mut world, old, SOON_MS)?;
    hold!(world.has(old, 0), "the image is not old");
    let writes = rng.chance(70);
    if writes {
        world.put(old, [900], 100)?;
    }
    reconnect(&mut world, old, others)?;
    let begins = |world: &mut World| world.happened(Event::Rebuilding) > 0;
    hold!(world.run_until(SOON_MS, begins)?, "the store is not rebuilt");
    if rng.chance(30) {
        world.pass(rng.below(1_000))?;
        world.lose_power_now(old)?;
    }
    let is_whole = |world: &mut World| world.nodes[old].is_joined() && !world.has(old, 0);
    hold!(world.run_until(SOON_MS, is_whole)?, "the deleted value stays");
    hold!(!writes || world.has(old, 900), "a write of the restored location is dropped");
    world.rest()?;
    hold!((0..nodes).all(|node| !world.has(node, 0)), "the deleted value comes back");
    world.finish()
}
