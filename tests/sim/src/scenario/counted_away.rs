//! A location is cut off while others write. Each of the others, whether it writes or not, counts how many of its
//! writes that location lacks although there is no link to it; a location that was started since does not claim to
//! know.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{quiet, shuffled};
use crate::world::World;

/// How long writes may take to those that are linked.
const ARRIVE_MS: u64 = 5_000;

/// How many writes of a location another one lacks, as the location counts them.
fn missing(world: &World, at: usize, of: usize) -> Option<u64> {
    let peer = world.nodes[of].member;
    world.nodes[at].running.as_ref()?.core.missing_at(peer)
}

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let (nodes, writes) = (3, rng.between(1, 40));
    let mut world = World::new(seed, quiet(nodes, &mut rng), false)?;
    world.rest()?;
    let order = shuffled(nodes, &mut rng);
    let [away, writer, other] = order[..] else { unreachable!("there are three") };
    for at in [writer, other] {
        let counted = world.run_until(ARRIVE_MS, |world| missing(world, at, away) == Some(0))?;
        hold!(counted, "{at} does not know that {away} has everything");
        world.cut(at, away, true)?;
    }
    let before = world.nodes[writer].vector();
    world.put(writer, 0..writes, 100)?;
    let all = |world: &World, at: usize| missing(world, at, away).is_some_and(|one| one >= writes);
    let are_counted =
        world.run_until(ARRIVE_MS, |world| all(world, writer) && all(world, other))?;
    hold!(
        are_counted && before != world.nodes[writer].vector(),
        "{away} lacks {writes} writes, and {:?} are counted",
        [missing(&world, writer, away), missing(&world, other, away)]
    );
    world.lose_power_now(other)?;
    let is_back = world.run_until(ARRIVE_MS, |world| world.nodes[other].running.is_some())?;
    hold!(is_back && missing(&world, other, away).is_none(), "{other} has not heard {away}");
    for at in [writer, other] {
        world.uncut(at, away)?;
    }
    let has = |world: &World, at: usize| missing(world, at, away) == Some(0);
    let is_whole = world.run_until(ARRIVE_MS, |world| has(world, writer) && has(world, other))?;
    hold!(is_whole, "it is not counted that {away} has everything again");
    world.rest()?;
    world.finish()
}
