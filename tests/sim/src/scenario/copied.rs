//! A data directory is copied, and both copies run, write, and meet the others. The process that started later closes
//! the origins of the other one, which then takes no more writes. No write of either is lost.

use waypost_disk_tests::{hold, violation::Checked};

use super::{BIG_BACKLOG, begin};
use crate::world::World;

/// How long the earlier process may take to learn of the later one.
const SOON_MS: u64 = 30_000;

/// Runs the scenario. One of the two may be cut off while both write.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let (mut rng, mut world, order) = begin(seed, &[3], BIG_BACKLOG)?;
    let (original, others) = (order[0], &order[1..]);
    world.put(original, 0..rng.between(1, 5), 100)?;
    world.rest()?;

    let copy = world.double(original)?;
    let alone = rng.weighted(&[(1, None), (1, Some(original)), (1, Some(copy))]);
    for other in others.iter().filter(|_| alone.is_some()) {
        world.cut(alone.unwrap_or(copy), *other, true)?;
    }
    world.put(original, 10..10 + rng.between(1, 5), 100)?;
    world.put(copy, 20..20 + rng.between(1, 5), 100)?;
    world.pass(rng.below(5_000))?;
    for other in others.iter().filter(|_| alone.is_some()) {
        world.uncut(alone.unwrap_or(copy), *other)?;
    }
    let is_superseded = |world: &mut World| world.nodes[original].is_superseded();
    hold!(world.run_until(SOON_MS, is_superseded)?, "two processes of one location write");
    hold!(!world.nodes[copy].is_superseded(), "neither process of the location can write");
    let all_are_there = |world: &mut World| {
        others.iter().all(|other| world.has(*other, 10) && world.has(*other, 20))
    };
    hold!(world.run_until(SOON_MS, all_are_there)?, "writes of a copy are missing");
    world.finish()
}
