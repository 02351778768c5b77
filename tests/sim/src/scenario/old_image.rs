//! A store comes back from an old image of its disk, and another has writes of it that it lacks. It must
//! find out as soon as they meet, before it gives their numbers to others.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{quiet, shuffled};
use crate::world::World;

/// How long a location takes to start, and the two to greet each other.
const SOON_MS: u64 = 8_000;

/// Runs it.
///
/// # Errors
/// What was found wrong.
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
    hold!(is_found, "a store that went back goes on");
    for other in others {
        hold!(world.has(*other, 5), "a write that was there is gone");
    }
    world.finish()
}
