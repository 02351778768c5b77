//! The last write of a location before it was lost is a deletion, and only one member has received
//! it. No member waits for the lost one any more, but the tombstone must stay until all members
//! have it.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{quiet, shuffled};
use crate::{network::Fate, world::World};

/// How long the deletion may take to reach that member.
const SOON_MS: u64 = 5_000;

/// How long rows of sessions are lost. In this time the removal arrives as a live message, each
/// member reports its progress twice, and no session times out.
const LOST_MS: u64 = 6_500;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let nodes = 3;
    let mut world = World::new(seed, quiet(nodes, &mut rng), false)?;
    let order = shuffled(nodes, &mut rng);
    let (lost, witness, other) = (order[0], order[1], order[2]);
    world.put(*rng.pick(&order), 0..5, 100)?;
    world.rest()?;

    world.cut(other, lost, true)?;
    world.cut(other, witness, true)?;
    world.delete(lost, 0)?;
    let is_heard = world.run_until(SOON_MS, |world| world.is_deleted(witness, 0))?;
    hold!(is_heard, "the deletion does not arrive");
    world.pass(SOON_MS)?;
    world.lose_for_good(lost)?;
    world.expel(lost, witness)?;

    let pages = ((witness, other), Channel::CatchUp);
    world.network.fates.insert(pages, Fate::Lost);
    world.uncut(other, witness)?;
    world.pass(LOST_MS)?;
    world.network.fates.remove(&pages);
    world.finish()
}
