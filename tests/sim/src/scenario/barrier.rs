//! A member is removed while one of its writes is in another member's store, not yet done. That
//! other member learns of the removal durably. It must not announce that it knows the removal
//! before the write is durable, too: the remaining members would take the rest of the removed
//! member's writes from it, and miss this one.

use waypost_disk_tests::{hold, violation::Checked};

use super::{BIG_BACKLOG, begin};
use crate::world::World;

/// How long a message may take.
const SOON_MS: u64 = 10_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let (_rng, mut world, order) = begin(seed, &[3], BIG_BACKLOG)?;
    let (lost, witness, other) = (order[0], order[1], order[2]);
    world.rest()?;

    // The witness learns of the removal, but not durably. Then the removed member writes once more.
    world.cut(other, lost, true)?;
    world.nodes[witness].is_stuck = true;
    world.announce_leaving(lost);
    world.expel(lost, other)?;
    let knows = |world: &mut World| world.sees_removed(witness, lost);
    hold!(world.run_until(SOON_MS, knows)?, "the removal does not arrive");
    world.nodes[witness].is_busy = true;
    world.put(lost, [0], 100)?;
    let is_asked = |world: &mut World| world.open_rows(witness) > 0;
    hold!(world.run_until(SOON_MS, is_asked)?, "the last write does not arrive");
    world.lose_for_good(lost)?;

    world.nodes[witness].is_stuck = false;
    world.sync_now(witness)?;
    world.nodes[witness].is_stuck = true;
    world.unbusy(witness)?;
    world.pass(SOON_MS)?;
    hold!(world.has(witness, 0), "the last write is missing");
    world.nodes[witness].is_stuck = false;
    let is_there = |world: &mut World| world.has(other, 0);
    hold!(
        world.run_until(2 * SOON_MS, is_there)?,
        "the members have different writes of the removed one"
    );
    world.finish()
}
