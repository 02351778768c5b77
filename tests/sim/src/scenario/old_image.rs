//! A store restarts from an old image of its disk. It writes as much as it lost, or more, before it meets the others. It
//! reuses no sequence number, and gets back what it lost.

use waypost_disk_tests::{hold, violation::Checked};

use super::{BIG_BACKLOG, begin, cut_off, reconnect, restore};
use crate::world::World;

/// How long a location may take to start, and to get back what it lost.
const SOON_MS: u64 = 20_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let (mut rng, mut world, order) = begin(seed, &[3, 4], BIG_BACKLOG)?;
    let (old, others) = (order[0], &order[1..]);
    world.put(old, 0..rng.between(1, 5), 100)?;
    world.rest()?;
    world.keep_old(old);
    world.put(old, 5..5 + rng.between(1, 5), 100)?;
    world.rest()?;

    cut_off(&mut world, old, others)?;
    restore(&mut world, old, SOON_MS)?;
    hold!(!world.has(old, 5), "the image is not old");
    world.put(old, 20..20 + rng.between(1, 9), 100)?;
    reconnect(&mut world, old, others)?;
    let all_is_there = |world: &mut World| {
        let mut all = others.iter().chain([&old]);
        all.all(|node| world.has(*node, 5) && world.has(*node, 20))
    };
    hold!(world.run_until(SOON_MS, all_is_there)?, "an acknowledged write is missing");
    world.finish()
}
