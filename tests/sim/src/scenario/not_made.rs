//! A location has a row of another that its vector does not count, for the session that brought it has
//! not come to its end. The other comes back from an image that is older than this row: no vector
//! tells it, but the row itself does, and it must stop.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{NO_BACKLOG, quiet, shuffled};
use crate::{network::Fate, world::World};

/// How long something has to come where it can.
const SOON_MS: u64 = 10_000;

/// Runs it.
///
/// # Errors
/// What was found wrong.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let mut plan = quiet(3, &mut rng);
    plan.backlog_bytes = NO_BACKLOG;
    plan.batch_rows = 3;
    let mut world = World::new(seed, plan, false)?;
    let order = shuffled(3, &mut rng);
    let (old, reader, other) = (order[0], order[1], order[2]);
    world.rest()?;
    world.keep_old(old);

    // Some rows come, and the end of their session does not.
    world.cut(reader, old, true)?;
    world.cut(reader, other, true)?;
    world.put(old, 0..40, 100)?;
    world.pass(SOON_MS)?;
    world.uncut(reader, other)?;
    hold!(world.run_until(SOON_MS, |world| world.has(reader, 0))?, "no rows come");
    world.network.fates.insert(((other, reader), Channel::CatchUp), Fate::Lost);
    world.cut(reader, other, true)?;
    world.sync_now(reader)?;
    hold!(!world.has(reader, 39), "all rows came");

    // It has something of its own, so that it is asked for a session.
    world.put(reader, [50], 100)?;
    world.cut(old, other, true)?;
    world.network.cut.remove(&(reader, old));
    world.network.cut.remove(&(old, reader));
    world.go_back(old)?;
    let is_found = world.run_until(2 * SOON_MS, |world| world.has_halted(old))?;
    hold!(is_found, "a store that went back goes on");
    world.network.fates.clear();
    world.uncut(reader, other)?;
    world.finish()
}
