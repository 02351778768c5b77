//! Rows of entries are damaged at a location, and rows of its index of writes too, so that nothing says which writes the
//! damaged entries were. It also has writes that nobody else has. Others must catch up from it all the same: what is
//! damaged comes back only from a location that has everything.

use kv_core::{NamespaceId, derive_id};
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{NO_BACKLOG, quiet, shuffled};
use crate::world::{World, damage::Place};

/// How long a location may take to start, and the others to catch up from it and to bring what it lacks.
const SOON_MS: u64 = 120_000;

fn name(number: u64) -> (NamespaceId, Vec<u8>) {
    (derive_id("", "one", 0), format!("key {number}").into_bytes())
}

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let nodes = rng.weighted(&[(1, 2), (1, 3)]);
    let mut plan = quiet(nodes, &mut rng);
    plan.backlog_bytes = NO_BACKLOG;
    let mut world = World::new(seed, plan, false)?;
    let order = shuffled(nodes, &mut rng);
    let (node, others) = (order[0], &order[1..]);
    world.put(*rng.pick(&order), 0..5, 100)?;
    world.rest()?;
    for other in others {
        world.cut(node, *other, true)?;
    }
    world.put(node, 5..rng.between(6, 9), 100)?;
    if rng.chance(50) {
        world.put(node, [3], 100)?;
    }
    world.sync_now(node)?;

    let is_up = |world: &mut World| world.nodes[node].is_joined();
    // A session meets the row of a write that it sends, and the check that follows meets the other one.
    for number in [0, 5] {
        world.damage_index(node, Some(name(number)))?;
        hold!(world.run_until(SOON_MS, is_up)?, "a location with a damaged index does not start");
    }
    for number in [0, 1] {
        world.damage_key(node, number, Place::Row)?;
        hold!(world.run_until(SOON_MS, is_up)?, "a location with a damaged row does not start");
    }
    for other in others {
        world.uncut(node, *other)?;
    }
    let is_whole = |world: &mut World| {
        world.look(node);
        let vector = world.nodes[node].vector();
        order.iter().all(|at| {
            let owes = (0..2).any(|number| world.owes(*at, number));
            !owes && world.nodes[*at].vector() == vector && world.has(*at, 0) && world.has(*at, 1)
        })
    };
    hold!(
        world.run_until(SOON_MS, is_whole)?,
        "a location whose index and entries are damaged, and those that lack its writes, wait for each other"
    );
    world.finish()
}
