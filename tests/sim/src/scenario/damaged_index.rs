//! Rows of the dot index are damaged at the only source, and at a location that catches up from it. Everything must
//! arrive, whether the index is checked before, meanwhile or after: no session ends without the writes of the damaged
//! rows.

use kv_core::{NamespaceId, derive_id};
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{NO_BACKLOG, quiet, shuffled};
use crate::{events::Event, world::World};

/// How long a location may take to start, and to catch up.
const SOON_MS: u64 = 60_000;

fn name(number: u64) -> (NamespaceId, Vec<u8>) {
    (derive_id("", "one", 0), format!("key {number}").into_bytes())
}

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let mut plan = quiet(3, &mut rng);
    plan.batch_rows = rng.weighted(&[(1, 3), (1, 128)]);
    plan.backlog_bytes = NO_BACKLOG;
    let mut world = World::new(seed, plan, false)?;
    let order = shuffled(3, &mut rng);
    let (source, late, third) = (order[0], order[1], order[2]);
    world.put(source, 0..5, 100)?;
    world.rest()?;
    world.cut(source, late, true)?;
    world.cut(third, late, true)?;
    world.cut(third, source, true)?;
    let bytes = if rng.chance(30) { 100_000 } else { 100 };
    world.put(source, [5], bytes)?;
    world.put(source, 6..12, 100)?;
    world.sync_now(source)?;

    for number in [5, 8, 11].into_iter().filter(|number| *number == 8 || rng.chance(50)) {
        world.damage_index(source, Some(name(number)))?;
        let is_up = |world: &mut World| world.nodes[source].is_joined();
        hold!(world.run_until(SOON_MS, is_up)?, "a location with a damaged index does not start");
    }
    world.damage_index(late, Some(name(1)))?;
    let is_up = |world: &mut World| world.nodes[late].is_joined();
    hold!(world.run_until(SOON_MS, is_up)?, "a location with a damaged index does not start");
    if rng.chance(50) {
        // An overwrite goes by another row of the index.
        world.put(source, [8], 100)?;
    }
    world.uncut(source, late)?;
    let has_all = |world: &mut World| world.nodes[late].vector() == world.nodes[source].vector();
    hold!(world.run_until(SOON_MS, has_all)?, "a damaged row of the index ends a catch-up");
    hold!((0..12).all(|number| world.has(late, number)), "a write was counted without its row");
    let sessions = world.count_of(Event::SessionDone);
    world.pass(SOON_MS)?;
    hold!(world.count_of(Event::SessionDone) == sessions, "sessions repeat");

    world.uncut(third, late)?;
    let has_all = |world: &mut World| world.nodes[third].vector() == world.nodes[late].vector();
    hold!(world.run_until(SOON_MS, has_all)?, "a damaged row of the index ends a catch-up");
    hold!((0..12).all(|number| world.has(third, number)), "a write was counted without its row");
    world.uncut(third, source)?;
    world.rest()?;
    world.finish()
}
