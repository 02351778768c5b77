//! The row of a namespace, of the location itself, or of another one is damaged. The store must open, and the row must
//! come from the other locations.

use kv_core::{Member, NamespaceId, derive_id};
use waypost_disk_tests::{hold, violation::Checked};

use super::{BIG_BACKLOG, begin};
use crate::{
    node::member,
    world::{World, damage::Place},
};

/// How long a location may take to start.
const SOON_MS: u64 = 60_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let (mut rng, mut world, order) = begin(seed, &[3], BIG_BACKLOG)?;
    world.put(order[0], 0..5, 100)?;
    world.rest()?;

    let node = order[1];
    let key = match rng.below(3) {
        0 => derive_id("", "one", 0).0.to_vec(),
        1 => Member::key(member(node)).to_vec(),
        _ => Member::key(member(order[2])).to_vec(),
    };
    world.damage_name(node, (NamespaceId::SYSTEM, key), Place::Row)?;
    let is_up = |world: &mut World| world.nodes[node].running.is_some();
    hold!(world.run_until(SOON_MS, is_up)?, "a location with a damaged row does not start");
    world.put(order[0], 5..8, 100)?;
    world.rest()?;
    hold!(world.has(node, 7), "a write is missing");
    world.finish()
}
