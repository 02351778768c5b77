//! A data directory is copied, both run, and the two meet, before either has written anything: they
//! must find out, for nothing that others count tells them apart.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{quiet, shuffled};
use crate::world::World;

/// How long the two have to greet each other.
const SOON_MS: u64 = 2_000;

/// Runs it.
///
/// # Errors
/// What was found wrong.
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
    // The first that finds out is taken out of the cluster, and its double need not have heard it.
    let has_halted = |world: &mut World| world.has_halted(original) || world.has_halted(copy);
    hold!(world.run_until(SOON_MS, has_halted)?, "two stores of one identity go on");
    world.finish()
}
