//! A location is restored from an old image while it is cut off, and continues. Later its former disk is put back, with
//! writes that no other location has ever received. They reach all members.

use waypost_disk_tests::{hold, violation::Checked};

use super::{BIG_BACKLOG, begin, cut_off, reconnect};
use crate::world::World;

/// How long a location may take to start, and rows to arrive.
const SOON_MS: u64 = 60_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let (mut rng, mut world, order) = begin(seed, &[3], BIG_BACKLOG)?;
    let (swapped, others) = (order[0], &order[1..]);
    world.put(swapped, 0..rng.between(1, 5), 100)?;
    world.rest()?;
    world.keep_old(swapped);
    cut_off(&mut world, swapped, others)?;
    world.put(swapped, 10..10 + rng.between(1, 5), 100)?;
    let runs = |world: &mut World| world.nodes[swapped].running.is_some();
    world.swap(swapped)?;
    hold!(world.run_until(SOON_MS, runs)?, "the restored location does not start");
    reconnect(&mut world, swapped, others)?;
    world.put(swapped, 20..20 + rng.between(1, 5), 100)?;
    world.put(others[0], [30], 100)?;
    world.rest()?;
    hold!(!world.has(others[0], 10), "the writes have arrived");

    world.restore_old(swapped)?;
    hold!(world.run_until(SOON_MS, runs)?, "the location does not start on its former disk");
    let all_is_there =
        |world: &mut World| (0..3).all(|node| [10, 20, 30].iter().all(|key| world.has(node, *key)));
    hold!(world.run_until(SOON_MS, all_is_there)?, "writes of the former disk are missing");
    world.finish()
}
