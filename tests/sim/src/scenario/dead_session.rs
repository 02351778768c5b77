//! The last page of a session arrives late. The session was aborted, and the rows of its earlier
//! pages are lost, because the disk failed before they were durable. The new session must not
//! accept the old page: it would adopt the version vector without the rows.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{NO_BACKLOG, quiet, shuffled};
use crate::{network::Fate, world::World};

/// How long a session may take until its last page.
const SESSION_MS: u64 = 10_000;

/// The delay of that page: the new session has started and has not timed out.
const LATE_MS: u64 = 2_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let (nodes, bursts) = (2, rng.between(2, 5));
    let mut plan = quiet(nodes, &mut rng);
    plan.backlog_bytes = NO_BACKLOG;
    plan.batch_rows = 3;
    let latency_ms = plan.latency_ms;
    let mut world = World::new(seed, plan, false)?;
    world.rest()?;
    let order = shuffled(nodes, &mut rng);
    let (source, reader) = (order[0], order[1]);

    world.cut(source, reader, true)?;
    world.put(source, 0..3 * bursts, 100)?;
    world.nodes[reader].is_stuck = true;
    let pages = ((source, reader), Channel::CatchUp);
    let sent = |world: &World| world.network.sent.get(&pages).copied().unwrap_or(0);
    let last = sent(&world) + bursts;
    world.uncut(source, reader)?;
    let is_near = world.run_until(SESSION_MS, |world| sent(world) == last - 1)?;
    world.network.fates.insert(pages, Fate::Echo(LATE_MS));
    let is_sent = world.run_until(SESSION_MS, |world| sent(world) == last)?;
    hold!(is_near && is_sent, "the session does not reach its last page");
    world.network.fates.remove(&pages);

    // The requests of the new session are lost for a while, so that nothing arrives before the old
    // page.
    let requests = ((reader, source), Channel::Control);
    world.network.fates.insert(requests, Fate::Lost);
    world.nodes[reader].is_stuck = false;
    world.fail_sync(reader)?;
    hold!(!world.has(reader, 0), "the disk must lose rows that are not durable");
    world.pass(LATE_MS + 2 * latency_ms)?;
    world.network.fates.remove(&requests);
    world.rest()?;
    world.finish()
}
