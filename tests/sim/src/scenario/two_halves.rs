//! Two locations collect tombstones, restart from old images of their disks, and collect others. Then one of them gets
//! its first disk back: each lacks tombstones that the other has collected, and neither takes the late rows of the other.
//! They must rebuild from each other by turns, and not one of them again and again.

use waypost_disk_tests::{hold, violation::Checked};

use super::{NO_BACKLOG, begin, restore};
use crate::{events::Event, world::World};

/// How long locations may take to drop a tombstone, to start, and to become equal.
const SOON_MS: u64 = 120_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    // A backlog would have the deletions.
    let (mut rng, mut world, order) = begin(seed, &[2], NO_BACKLOG)?;
    world.put(*rng.pick(&order), [0], 100)?;
    world.rest()?;
    order.iter().for_each(|node| world.keep_old(*node));
    collect(&mut world, *rng.pick(&order), 1..10)?;

    for node in &order {
        world.swap(*node)?;
    }
    let run = |world: &mut World| order.iter().all(|node| world.nodes[*node].running.is_some());
    hold!(world.run_until(SOON_MS, run)?, "the restored locations do not start");
    collect(&mut world, *rng.pick(&order), 20..30)?;

    restore(&mut world, order[0], SOON_MS)?;
    let is_equal = |world: &mut World| world.is_equal();
    hold!(
        world.run_until(SOON_MS, is_equal)?,
        "the locations rebuild from each other again and again"
    );
    hold!(
        world.happened(Event::Salvaged) > 0,
        "late rows are gone, and their owner does not have them"
    );
    world.finish()
}

/// Puts keys, deletes the first one, and waits until its tombstone is dropped everywhere.
fn collect(world: &mut World, by: usize, keys: std::ops::Range<u64>) -> Checked {
    let first = keys.start;
    world.put(by, keys, 100)?;
    world.rest()?;
    world.delete(by, first)?;
    super::await_forgotten(world, first, SOON_MS)
}
