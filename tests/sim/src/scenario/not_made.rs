//! A location has a row of another one that its vector does not count, because the session that sent the row has not
//! completed. That other one restarts from an image that is older than this row. The row comes back to it from there,
//! although no vector reveals it.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{NO_BACKLOG, quiet, shuffled};
use crate::{network::Fate, world::World};

/// How long a message may take.
const SOON_MS: u64 = 10_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
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

    // Some rows arrive, and the end of their session does not.
    world.cut(reader, old, true)?;
    world.cut(reader, other, true)?;
    world.put(old, 0..40, 100)?;
    world.pass(SOON_MS)?;
    world.uncut(reader, other)?;
    hold!(world.run_until(SOON_MS, |world| world.has(reader, 0))?, "no rows arrive");
    world.network.fates.insert(((other, reader), Channel::CatchUp), Fate::Lost);
    world.cut(reader, other, true)?;
    world.sync_now(reader)?;
    hold!(!world.has(reader, 39), "all rows arrived");

    // It has a write of its own, so that the other requests a session.
    world.put(reader, [50], 100)?;
    world.cut(old, other, true)?;
    world.network.cut.remove(&(reader, old));
    world.network.cut.remove(&(old, reader));
    world.restore_old(old)?;
    let is_back = world.run_until(3 * SOON_MS, |world| world.has(old, 0))?;
    hold!(is_back, "a restored store does not get its lost write back");
    world.network.fates.clear();
    world.uncut(reader, other)?;
    world.uncut(old, other)?;
    world.uncut(old, reader)?;
    world.finish()
}
