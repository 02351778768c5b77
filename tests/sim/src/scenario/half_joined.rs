//! A location that is about to join has some rows by now, a value that was deleted since and writes
//! that are later than the deletion, but neither the tombstone nor who the members are. It must not
//! say that it is complete up to its last row: the tombstone would go before it had it.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::quiet;
use crate::{network::Fate, world::World};

/// How long rows have to come.
const SOON_MS: u64 = 10_000;

/// How long a session stands still: all that its receiver says to have is heard and followed.
const STILL_MS: u64 = 10_000;

/// A key that is put after the deletion.
const LATER: u64 = 20;

/// Runs it. Rows come in the order of their origins: what is to be missed is written where the
/// higher of the two is.
///
/// # Errors
/// What was found wrong.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let mut plan = quiet(2, &mut rng);
    plan.batch_rows = 3;
    let mut world = World::new(seed, plan, false)?;
    let is_first_low = world.nodes[0].origins < world.nodes[1].origins;
    let (low, high) = if is_first_low { (0, 1) } else { (1, 0) };
    // At least a burst of rows is between what comes and what does not.
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
    hold!(world.come_new()? == new, "a location was counted wrongly");
    world.admit(new, high)?;
    world.pass(SOON_MS)?;
    meet(&mut world, new)?;
    hold!(world.run_until(SOON_MS, |world| world.has(new, 0))?, "no rows come");
    part(&mut world, new, true)?;

    world.delete(high, 0)?;
    world.pass(SOON_MS)?;
    world.put(low, [LATER], 100)?;
    world.pass(SOON_MS)?;
    meet(&mut world, new)?;
    hold!(world.run_until(SOON_MS, |world| world.has(new, LATER))?, "no later rows come");
    world.network.fates.insert(pages(source), Fate::Lost);
    world.pass(STILL_MS)?;
    hold!(world.has(new, 0) && !world.nodes[new].is_joined(), "more rows come than were to come");
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
