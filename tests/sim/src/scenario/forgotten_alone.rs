//! A location without others deletes a key while its clock is ahead. It waits for nobody, so it forgets the deletion. When
//! its clock is right again, a put of the key has an earlier version than the deletion had, and is read all the same.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::quiet;
use crate::world::World;

/// How far the clock is ahead.
const AHEAD_MS: i64 = 8 * 3_600_000;

/// How long a location may take to forget a tombstone.
const SOON_MS: u64 = 60_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let mut world = World::new(seed, quiet(1, &mut rng), false)?;
    world.put(0, 0..rng.between(2, 10), 100)?;
    world.set_clock(0, AHEAD_MS);
    world.put(0, [0], 100)?;
    world.delete(0, 0)?;
    let is_forgotten = |world: &mut World| !world.has(0, 0) && !world.is_deleted(0, 0);
    hold!(world.run_until(SOON_MS, is_forgotten)?, "the tombstone is not collected");
    world.set_clock(0, 0);
    world.put(0, [0], 100)?;
    hold!(world.has(0, 0), "the put is not read");
    world.finish()
}
