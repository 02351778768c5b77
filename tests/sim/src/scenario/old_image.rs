//! A store restarts from an old image of its disk, and another location has writes of it that the
//! image lacks. It must halt as soon as the two connect, before it reuses their sequence numbers.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{quiet, shuffled};
use crate::world::World;

/// How long a location may take to start, and the two to exchange hellos.
const SOON_MS: u64 = 8_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let nodes = rng.weighted(&[(1, 3), (1, 4)]);
    let mut world = World::new(seed, quiet(nodes, &mut rng), false)?;
    let order = shuffled(nodes, &mut rng);
    let (old, others) = (order[0], &order[1..]);
    world.put(old, 0..rng.between(1, 5), 100)?;
    world.rest()?;
    world.keep_old(old);
    world.put(old, 5..5 + rng.between(1, 5), 100)?;
    world.rest()?;

    for other in &others[1..] {
        world.cut(old, *other, true)?;
    }
    world.go_back(old)?;
    let is_found = world.run_until(SOON_MS, |world| world.has_halted(old))?;
    hold!(is_found, "a store that rolled back keeps running");
    for other in others {
        hold!(world.has(*other, 5), "an acknowledged write is missing");
    }
    world.finish()
}
