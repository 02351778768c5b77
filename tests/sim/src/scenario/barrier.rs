//! A member that is removed has written something that is with another's store and not done when that
//! one hears of the removal, durably. It may not say that it knows of the removal before the write is
//! durable, too: the others would take what is left of the removed one from it, and miss the write.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{quiet, shuffled};
use crate::world::World;

/// How long something has to come where it can.
const SOON_MS: u64 = 10_000;

/// Runs it.
///
/// # Errors
/// What was found wrong.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let mut world = World::new(seed, quiet(3, &mut rng), false)?;
    let order = shuffled(3, &mut rng);
    let (lost, witness, other) = (order[0], order[1], order[2]);
    world.rest()?;

    // The witness hears of the removal, but not durably; the one that was removed writes once more.
    world.cut(other, lost, true)?;
    world.nodes[witness].is_stuck = true;
    world.announce_leaving(lost);
    world.expel(lost, other)?;
    let knows = |world: &mut World| world.sees_removed(witness, lost);
    hold!(world.run_until(SOON_MS, knows)?, "the removal does not come");
    world.nodes[witness].is_busy = true;
    world.put(lost, [0], 100)?;
    let is_asked = |world: &mut World| world.open_rows(witness) > 0;
    hold!(world.run_until(SOON_MS, is_asked)?, "the last write does not come");
    world.lose_for_good(lost)?;

    world.nodes[witness].is_stuck = false;
    world.sync_now(witness)?;
    world.nodes[witness].is_stuck = true;
    world.unbusy(witness)?;
    world.pass(SOON_MS)?;
    hold!(world.has(witness, 0), "the last write is not here");
    world.nodes[witness].is_stuck = false;
    let is_there = |world: &mut World| world.has(other, 0);
    hold!(
        world.run_until(2 * SOON_MS, is_there)?,
        "what one has of a member that left, another lacks"
    );
    world.finish()
}
