//! A data directory is copied, and both copies run and connect before either has written anything.
//! They must detect each other, because no version vector distinguishes them.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{quiet, shuffled};
use crate::world::World;

/// How long the two may take to exchange hellos.
const SOON_MS: u64 = 2_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let mut world = World::new(seed, quiet(3, &mut rng), false)?;
    let order = shuffled(3, &mut rng);
    let original = order[0];
    world.put(original, 0..rng.between(1, 5), 100)?;
    world.rest()?;

    let copy = world.double(original)?;
    world.pass(rng.below(5_000))?;
    world.connect(original, copy)?;
    world.connect(copy, original)?;
    // The first copy that detects the other is removed from the cluster; the other need not have
    // noticed.
    let has_halted = |world: &mut World| world.has_halted(original) || world.has_halted(copy);
    hold!(world.run_until(SOON_MS, has_halted)?, "two stores with one identity keep running");
    world.finish()
}
