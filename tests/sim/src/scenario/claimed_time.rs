//! A member claims to have collected a tombstone that is dated years ahead. Who took it from there would date all later
//! writes ahead too, and pass the time on. Nobody must, and everything goes on once that member is removed.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{NO_BACKLOG, quiet, shuffled};
use crate::{events::Event, plan::Plan, world::World};

/// How long what follows may take.
const SOON_MS: u64 = 60_000;

/// How far ahead a write may be dated at most, in milliseconds.
const DAY_MS: u64 = 86_400_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let plan = Plan { backlog_bytes: NO_BACKLOG, ..quiet(3, &mut rng) };
    let mut world = World::new(seed, plan, false)?;
    let order = shuffled(3, &mut rng);
    let (liar, honest, other) = (order[0], order[1], order[2]);
    world.put(liar, 0..3, 100)?;
    world.rest()?;

    world.claim_time(liar)?;
    world.cut(liar, other, true)?;
    world.cut(honest, other, true)?;
    world.put(honest, 3..6, 100)?;
    world.pass(1_000)?;
    // It can catch up from the liar only, and does not.
    world.uncut(liar, other)?;
    let is_refused = |world: &mut World| world.count_of(Event::TimeRefused) > 0;
    hold!(world.run_until(SOON_MS, is_refused)?, "the time is not refused");
    world.put(other, [6], 100)?;
    hold!(world.off_by(other, 6) < DAY_MS, "a write is dated ahead");
    world.uncut(honest, other)?;
    world.announce_leaving(liar);
    world.expel(liar, honest)?;
    world.lose_for_good(liar)?;
    let has_all = |world: &mut World| world.reads(other, 3..6).len() == 3;
    hold!(world.run_until(2 * SOON_MS, has_all)?, "the other member does not catch up");
    world.finish()
}
