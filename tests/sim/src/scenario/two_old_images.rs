//! Two stores restart from images that are older than a deletion whose tombstone all members have dropped since. Each is
//! rebuilt from a location that has had the tombstone. If they took each other for whole, the deleted value would stay,
//! and they would be rebuilt again and again.

use waypost_disk_tests::{hold, violation::Checked};

use super::{NO_BACKLOG, await_forgotten, begin};
use crate::{events::Event, world::World};

/// How long locations may take to drop a tombstone, and to start.
const SOON_MS: u64 = 60_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    // A backlog would have the deletion.
    let (mut rng, mut world, order) = begin(seed, &[3, 4], NO_BACKLOG)?;
    let nodes = order.len();
    let (old, others) = order.split_at(2);
    world.put(*rng.pick(&order), 0..rng.between(3, 100), 100)?;
    world.rest()?;
    old.iter().for_each(|node| world.keep_old(*node));
    world.delete(*rng.pick(others), 0)?;
    await_forgotten(&mut world, 0, SOON_MS)?;

    for node in old {
        world.restore_old(*node)?;
    }
    let run = |world: &mut World| old.iter().all(|node| world.nodes[*node].running.is_some());
    hold!(world.run_until(SOON_MS, run)?, "the restored locations do not start");
    world.put(*rng.pick(others), [1], 100)?;
    world.rest()?;
    hold!((0..nodes).all(|node| !world.has(node, 0)), "the deleted value comes back");
    let rebuilt = world.happened(Event::Rebuilding);
    hold!(rebuilt == 2, "{rebuilt} rebuilds of two stores");
    world.finish()
}
