//! A store begins to be rebuilt. Before it gets what it lacks, the only members that have that restart from still older
//! images. None of them can be its source, because each lacks tombstones that this store has dropped: it must become the
//! source of the others.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, violation::Checked};

use super::{NO_BACKLOG, await_forgotten, begin};
use crate::{events::Event, network::Fate, world::World};

/// How long locations may take to drop a tombstone, to start, and to begin a rebuild.
const SOON_MS: u64 = 60_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    // A backlog would have the deletions.
    let (mut rng, mut world, order) = begin(seed, &[2, 3], NO_BACKLOG)?;
    let nodes = order.len();
    let (old, others) = (order[0], &order[1..]);
    world.put(*rng.pick(&order), 0..rng.between(3, 30), 100)?;
    world.rest()?;
    others.iter().for_each(|other| world.keep_old(*other));
    collect(&mut world, *rng.pick(&order), 0)?;
    world.sync_now(old)?;
    world.keep_old(old);
    collect(&mut world, *rng.pick(&order), 1)?;

    // No row reaches the store that is rebuilt.
    for other in others {
        world.network.fates.insert(((*other, old), Channel::CatchUp), Fate::Lost);
    }
    world.restore_old(old)?;
    let begins =
        |world: &mut World| world.nodes[old].running.is_some() && !world.nodes[old].is_joined();
    hold!(world.run_until(SOON_MS, begins)?, "the store is not rebuilt");
    for other in others {
        world.restore_old(*other)?;
    }
    world.network.fates.clear();
    world.rest()?;
    hold!((0..nodes).all(|node| !world.has(node, 0)), "a deleted value comes back");
    hold!(world.happened(Event::Rebuilt) >= nodes as u64, "the others are not rebuilt");
    world.finish()
}

/// Deletes a key, and waits until its tombstone is dropped everywhere.
fn collect(world: &mut World, by: usize, number: u64) -> Checked {
    world.delete(by, number)?;
    await_forgotten(world, number, SOON_MS)
}
