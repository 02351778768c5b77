//! A process on a copy of a directory writes a key while no other location reaches it. Meanwhile a later process of the
//! same location deletes the key, and all forget the deletion. The write must not bring the key back at some locations:
//! it goes to the owner of the process that made it, and stays where it is while the owner can't keep it.

use waypost_disk_tests::{hold, violation::Checked};

use super::{BIG_BACKLOG, begin, cut_off, reconnect};
use crate::{events::Event, world::World};

/// How long the locations may take to forget a deletion, and to become equal.
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
    world.put(alone, [0], 100)?;
    world.pass(rng.between(1_000, 3_000))?;
    world.delete(copy, 0)?;
    let is_forgotten = |world: &mut World| {
        [copy, others[0], others[1]]
            .into_iter()
            .all(|node| !world.has(node, 0) && !world.is_deleted(node, 0))
    };
    hold!(world.run_until(SOON_MS, is_forgotten)?, "the deletion is not forgotten");

    reconnect(&mut world, alone, others)?;
    let is_refused = |world: &mut World| world.happened(Event::SalvageRefused) > 0;
    hold!(world.run_until(SOON_MS, is_refused)?, "the late write is not handed over");
    let is_salvaged = |world: &mut World| world.happened(Event::Salvaged) > 0;
    let is_over = |world: &mut World| is_salvaged(world) || !world.has(alone, 0);
    hold!(world.run_until(SOON_MS, is_over)?, "the late write is not salvaged");
    hold!(is_salvaged(&mut world), "the late write is gone, though the owner could not keep it");
    hold!(others.iter().all(|node| !world.has(*node, 0)), "the late write brings the key back");
    world.finish()
}
