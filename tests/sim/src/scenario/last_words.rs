//! The last that a location did before it was lost was to delete a key, and only one other had heard of
//! it. Nobody waits for the lost one any more, but the tombstone may not go until all have it.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{quiet, shuffled};
use crate::{network::Fate, world::World};

/// How long the deletion has to come to who hears of it.
const SOON_MS: u64 = 5_000;

/// How long rows of sessions are lost: the removal comes live, what all hold is said twice, and the session
/// is not given up.
const LOST_MS: u64 = 6_500;

/// Runs it.
///
/// # Errors
/// What was found wrong.
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
    hold!(is_heard, "the deletion does not come");
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
