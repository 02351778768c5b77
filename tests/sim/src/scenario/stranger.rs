//! A location that no one has as a member yet finds the others. Nobody waits for it before a tombstone
//! goes, so it must get no row: it would keep what is deleted before it joins.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::quiet;
use crate::world::World;

/// How long a new location has to get what it should not, or what it should.
const COME_MS: u64 = 10_000;

/// How long the others have to drop a tombstone.
const FORGET_MS: u64 = 60_000;

/// Runs it.
///
/// # Errors
/// What was found wrong.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let nodes = rng.weighted(&[(1, 2), (1, 3)]);
    let mut world = World::new(seed, quiet(nodes, &mut rng), false)?;
    world.put(rng.index(nodes), 0..5, 100)?;
    world.rest()?;

    let stranger = world.come_new()?;
    world.pass(COME_MS)?;
    for node in 0..nodes {
        world.cut(stranger, node, true)?;
    }
    world.delete(rng.index(nodes), 0)?;
    let is_gone = |world: &mut World| {
        (0..nodes).all(|node| !world.has(node, 0) && !world.is_deleted(node, 0))
    };
    hold!(world.run_until(FORGET_MS, is_gone)?, "the tombstone does not go");

    for node in 0..nodes {
        world.uncut(stranger, node)?;
    }
    world.admit(stranger, rng.index(nodes))?;
    let is_in = |world: &mut World| world.nodes[stranger].is_joined();
    hold!(world.run_until(COME_MS, is_in)?, "the new member does not join");
    world.rest()?;
    world.finish()
}
