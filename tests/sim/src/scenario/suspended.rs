//! A link closes while the body of a row is fetched, and the rows after it have arrived. The
//! session that resumes later must start with the batch of that row, or it would skip the row.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{NO_BACKLOG, quiet, shuffled};
use crate::{network::Fate, world::World};

/// How long a session may take until its rows.
const SOON_MS: u64 = 5_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let mut plan = quiet(2, &mut rng);
    plan.backlog_bytes = NO_BACKLOG;
    plan.batch_rows = rng.weighted(&[(1, 8), (1, 128)]);
    let mut world = World::new(seed, plan, false)?;
    let order = shuffled(2, &mut rng);
    let (source, reader) = (order[0], order[1]);
    world.rest()?;

    world.cut(source, reader, true)?;
    world.put(source, [0], 70_000)?;
    world.put(source, 1..rng.between(2, 6), 100)?;
    world.network.fates.insert(((source, reader), Channel::Body), Fate::Lost);
    world.uncut(source, reader)?;
    let is_sent = |world: &mut World| world.sent_pieces(source, reader) > 0;
    hold!(world.run_until(SOON_MS, is_sent)?, "no body is requested");
    world.pass(rng.below(500))?;
    world.cut(source, reader, true)?;
    world.network.fates.clear();
    world.pass(rng.below(2_000))?;
    world.uncut(source, reader)?;
    world.rest()?;
    hold!(world.has(reader, 0), "a row was skipped");
    world.finish()
}
