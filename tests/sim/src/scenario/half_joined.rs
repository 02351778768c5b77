//! A joining member already has some rows: a value that was deleted since, and writes that are
//! later than the deletion. It has neither the tombstone nor the list of members. It must not
//! report a resolved timestamp up to its last row: the others would drop the tombstone before it
//! has it.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::quiet;
use crate::{network::Fate, world::World};

/// How long rows may take.
const SOON_MS: u64 = 10_000;

/// How long a session stalls: long enough for all reports of its receiver to have an effect.
const STILL_MS: u64 = 10_000;

/// A key that is put after the deletion.
const LATER: u64 = 20;

/// Runs the scenario. Rows arrive in the order of their origins, so the rows that must be missing
/// are written at the location with the higher origin.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let mut plan = quiet(2, &mut rng);
    plan.batch_rows = 3;
    let mut world = World::new(seed, plan, false)?;
    let [first, second] = [0, 1].map(|node| world.nodes[node].origins());
    let is_first_low = first < second;
    let (low, high) = if is_first_low { (0, 1) } else { (1, 0) };
    // At least one batch of rows separates the rows that arrive from those that do not.
    world.put(high, 10..13, 100)?;
    world.put(low, 0..rng.between(3, 9), 100)?;
    for node in [low, high] {
        world.admit(node, high)?;
    }
    world.rest()?;

    let (new, is_low_asked) = (2, rng.chance(50));
    let (source, other) = if is_low_asked { (low, high) } else { (high, low) };
    let pages = |from: usize| ((from, new), Channel::CatchUp);
    world.network.fates.insert(pages(other), Fate::Lost);
    part(&mut world, new, false)?;
    hold!(world.come_new()? == new, "the new location has an unexpected number");
    world.admit(new, high)?;
    world.pass(SOON_MS)?;
    meet(&mut world, new)?;
    hold!(world.run_until(SOON_MS, |world| world.has(new, 0))?, "no rows arrive");
    part(&mut world, new, true)?;

    world.delete(high, 0)?;
    world.pass(SOON_MS)?;
    world.put(low, [LATER], 100)?;
    world.pass(SOON_MS)?;
    meet(&mut world, new)?;
    hold!(world.run_until(SOON_MS, |world| world.has(new, LATER))?, "no later rows arrive");
    world.network.fates.insert(pages(source), Fate::Lost);
    world.pass(STILL_MS)?;
    hold!(world.has(new, 0) && !world.nodes[new].is_joined(), "more rows arrive than should");
    world.network.fates.clear();
    world.rest()?;
    world.finish()
}

fn part(world: &mut World, new: usize, is_noticed: bool) -> Checked {
    (0..new).try_for_each(|node| world.cut(new, node, is_noticed))
}

fn meet(world: &mut World, new: usize) -> Checked {
    (0..new).try_for_each(|node| world.uncut(new, node))
}
