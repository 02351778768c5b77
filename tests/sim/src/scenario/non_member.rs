//! A location that no member knows connects to the members. They do not wait for it before they
//! drop a tombstone, so they must send it no row: it would keep values that are deleted before it
//! joins.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::quiet;
use crate::world::World;

/// How long a row may take to reach the new location.
const COME_MS: u64 = 10_000;

/// How long the others may take to drop a tombstone.
const FORGET_MS: u64 = 60_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let nodes = rng.weighted(&[(1, 2), (1, 3)]);
    let mut world = World::new(seed, quiet(nodes, &mut rng), false)?;
    world.put(rng.index(nodes), 0..5, 100)?;
    world.rest()?;

    let new = world.come_new()?;
    world.pass(COME_MS)?;
    for node in 0..nodes {
        world.cut(new, node, true)?;
    }
    world.delete(rng.index(nodes), 0)?;
    let is_gone = |world: &mut World| {
        (0..nodes).all(|node| !world.has(node, 0) && !world.is_deleted(node, 0))
    };
    hold!(world.run_until(FORGET_MS, is_gone)?, "the tombstone is not dropped");

    for node in 0..nodes {
        world.uncut(new, node)?;
    }
    world.admit(new, rng.index(nodes))?;
    let is_in = |world: &mut World| world.nodes[new].is_joined();
    hold!(world.run_until(COME_MS, is_in)?, "the new member does not join");
    world.rest()?;
    world.finish()
}
