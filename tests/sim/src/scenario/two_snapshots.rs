//! A request arrives twice, with a broken link and new writes in between, and is answered from two
//! snapshots. Pages of one response and pages of the other do not add up to all rows of either.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{NO_BACKLOG, quiet, shuffled};
use crate::{network::Fate, world::World};

/// A page holds seventeen rows of this size.
const ROW_BYTES: usize = 3_300;

/// The delay of the duplicate request: by then the link is back, and the requester has not timed
/// out.
const ECHO_MS: u64 = 500;

/// How long a session may take until its first page.
const SESSION_MS: u64 = 10_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let nodes = 2;
    let mut plan = quiet(nodes, &mut rng);
    plan.backlog_bytes = NO_BACKLOG;
    let mut world = World::new(seed, plan, false)?;
    world.rest()?;
    let order = shuffled(nodes, &mut rng);
    let (source, reader) = (order[0], order[1]);

    world.cut(source, reader, true)?;
    world.put(source, 0..rng.between(25, 60), ROW_BYTES)?;
    let (requests, pages) = ((reader, source), (source, reader));
    world.network.fates.insert((requests, Channel::Control), Fate::Echo(ECHO_MS));
    world.network.fates.insert((pages, Channel::CatchUp), Fate::CutBehind);
    world.uncut(source, reader)?;
    let is_cut = world.run_until(SESSION_MS, |world| world.network.cut.contains(&pages))?;
    hold!(is_cut, "the session does not reach its first page");
    let sent = |world: &World| world.network.sent[&(pages, Channel::CatchUp)];
    let first_sent = sent(&world);

    // The row of the first page moves behind the last one, and all others move forward.
    world.put(source, 0..rng.between(1, 5), ROW_BYTES)?;
    world.network.fates.remove(&(pages, Channel::CatchUp));
    world.network.cut.remove(&pages);
    world.connect(source, reader)?;
    let is_sent = world.run_until(ECHO_MS + 100, |world| sent(world) > first_sent)?;
    hold!(is_sent, "the duplicate request gets no second response");
    world.rest()?;
    world.finish()
}
