//! A tombstone is damaged, and found to be by garbage collection, when the other locations collect theirs. Nobody knows
//! the name of the deletion any more. A location that is restored from a backup without the deletion, and that reaches
//! only the one with the damage, must be rebuilt all the same: it must not keep the deleted value.

use waypost_disk_tests::{hold, violation::Checked};

use super::{NO_BACKLOG, begin, restore};
use crate::world::{World, damage::Place};

/// How long a location may take to start, to collect a tombstone, and to be rebuilt.
const SOON_MS: u64 = 60_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    // A backlog would have the deletion.
    let (mut rng, mut world, order) = begin(seed, &[3], NO_BACKLOG)?;
    let (old, damaged, other) = (order[0], order[1], order[2]);
    world.put(*rng.pick(&order), 0..5, 100)?;
    world.rest()?;
    world.keep_old(old);
    world.delete(*rng.pick(&order), 0)?;
    let has_it = |world: &mut World| world.is_deleted(damaged, 0) && world.is_deleted(other, 0);
    hold!(world.run_until(SOON_MS, has_it)?, "the deletion does not arrive");
    world.sync_now(damaged)?;
    world.damage_key(damaged, 0, Place::Row)?;
    let is_gone = |world: &mut World| {
        let runs = (0..3).all(|node| world.nodes[node].is_joined());
        let lacks = |world: &mut World, node| world.has_no_row(node, 0) && !world.owes(node, 0);
        runs && (0..3).all(|node| lacks(world, node))
    };
    hold!(world.run_until(SOON_MS, is_gone)?, "the tombstone is not collected");

    world.cut(old, damaged, true)?;
    world.cut(old, other, true)?;
    restore(&mut world, old, SOON_MS)?;
    hold!(world.has(old, 0), "the image is not old");
    world.uncut(old, damaged)?;
    let is_whole = |world: &mut World| world.nodes[old].is_joined() && !world.has(old, 0);
    hold!(world.run_until(SOON_MS, is_whole)?, "the deleted value stays");
    world.uncut(old, other)?;
    world.rest()?;
    hold!((0..3).all(|node| !world.has(node, 0)), "the deleted value comes back");
    world.finish()
}
