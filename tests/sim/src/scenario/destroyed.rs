//! A row, or a chunk of a value, is damaged at the one location that has it, because the other ones were restored from
//! backups without it. Nobody can read the entry any more. The locations must agree on what there was before. If all
//! know that they lack it, they report it until it is put again.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{cut_off, quiet, reconnect, restore, shuffled};
use crate::world::{World, damage::Place};

/// How long a location may take to start.
const SOON_MS: u64 = 60_000;

/// How long locations may take to agree while all are reachable.
const SETTLED_MS: u64 = 120_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let nodes = rng.weighted(&[(2, 2), (1, 3)]);
    let mut world = World::new(seed, quiet(nodes, &mut rng), false)?;
    let order = shuffled(nodes, &mut rng);
    let (last, others) = (order[0], &order[1..]);
    let place = if rng.chance(50) { Place::Row } else { Place::Chunk };
    let bytes = if place == Place::Chunk || rng.chance(30) { 100_000 } else { 100 };
    let has_former = rng.chance(50);
    world.put(last, u64::from(!has_former)..5, 100)?;
    world.rest()?;
    others.iter().for_each(|other| world.keep_old(*other));
    world.put(last, [0], bytes)?;
    world.rest()?;

    cut_off(&mut world, last, others)?;
    world.damage_key(last, 0, place)?;
    let is_up = |world: &mut World| world.nodes[last].is_joined();
    hold!(world.run_until(SOON_MS, is_up)?, "a location with a damaged row does not start");
    for other in others {
        restore(&mut world, *other, SOON_MS)?;
    }
    reconnect(&mut world, last, others)?;
    world.look(last);
    let all = |world: &mut World, has: bool| {
        world.look(last);
        let mut nodes = 0..nodes;
        let is_joined = |world: &World, node: usize| world.nodes[node].is_joined();
        nodes
            .all(|node| is_joined(world, node) && !world.owes(node, 0) && world.has(node, 0) == has)
    };
    let is_agreed = |world: &mut World| {
        let is_reported = (0..nodes).all(|node| world.owes(node, 0));
        (!has_former && is_reported) || all(world, has_former)
    };
    let ends = world.run_until(SETTLED_MS, is_agreed)?;
    let states: Vec<_> =
        (0..nodes).map(|node| (world.owes(node, 0), world.version(node, 0))).collect();
    hold!(ends, "an entry that is lost is not agreed on: {place:?} at {last}, {states:?}");
    world.put(others[0], [0], 100)?;
    let is_there = |world: &mut World| all(world, true);
    hold!(world.run_until(SETTLED_MS, is_there)?, "an entry that was put again is still owed");
    world.finish()
}
