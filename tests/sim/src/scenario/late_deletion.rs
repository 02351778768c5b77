//! A process on a copy of a directory deletes a key while no other location reaches it, and a later process of the same
//! location lets the stable timestamp pass that time. The deletion then reaches one location after the other. None may
//! forget it before all have it: the others would have to be rebuilt.

use waypost_disk_tests::{hold, violation::Checked};

use super::{BIG_BACKLOG, begin, cut_off};
use crate::{events::Event, world::World};

/// How long the deletion may take to reach all.
const SOON_MS: u64 = 60_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let (mut rng, mut world, order) = begin(seed, &[3], BIG_BACKLOG)?;
    let (alone, others) = (order[0], &order[1..]);
    world.put(others[0], 0..rng.between(2, 5), 100)?;
    world.rest()?;

    cut_off(&mut world, alone, others)?;
    let copy = world.double(alone)?;
    world.delete(alone, 0)?;
    // The others write on, and resolve later times.
    for _ in 0..5 {
        world.put(others[0], [10], 10)?;
        world.put(copy, [11], 10)?;
        world.pass(2_000)?;
    }

    // One of the others gets the deletion first, and passes it on to none for a while.
    world.cut(others[0], others[1], false)?;
    world.uncut(alone, others[0])?;
    let has_it = |world: &mut World| !world.has(others[0], 0);
    hold!(world.run_until(SOON_MS, has_it)?, "the deletion does not arrive");
    // The operator stops the first process, and the other one is linked again.
    world.lose_for_good(alone)?;
    world.pass(rng.between(6_000, 9_000))?;
    world.uncut(others[0], others[1])?;
    let has_it = |world: &mut World| !world.has(others[1], 0) && !world.has(copy, 0);
    hold!(world.run_until(SOON_MS, has_it)?, "the deletion does not reach all");
    hold!(world.happened(Event::Rebuilding) == 0, "a late deletion was forgotten too early");
    world.finish()
}
