//! A location dies while another one receives its writes, and a third one catches up from that one while it is
//! written to. The rows of the dead location are counted nowhere, and there are several batches of them. The session
//! ends all the same: because its rounds are read from pinned views, or because these rows are sent once.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{NO_BACKLOG, quiet};
use crate::{events::Event, world::World};

/// How long the session of the third location may take.
const SESSION_MS: u64 = 20_000;

/// How many writes of the dead location the second one must have.
const ORPHANS: u64 = 24;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let mut plan = quiet(3, &mut rng);
    plan.backlog_bytes = NO_BACKLOG;
    plan.batch_rows = 4;
    plan.latency_ms = 20;
    let is_pinned = rng.chance(50);
    // Without a pinned view, a round of one batch must happen to see no write.
    let every_ms = if is_pinned { 20 } else { 150 };
    if !is_pinned {
        plan.pinned_bytes = 0;
    }
    let mut world = World::new(seed, plan, false)?;
    world.rest()?;
    let (dead, source, reader) = (0, 1, 2);

    for (one, other) in [(dead, source), (dead, reader), (source, reader)] {
        world.cut(one, other, true)?;
    }
    world.put(dead, 0..4 * ORPHANS, 100)?;
    world.put(source, 1_000..1_004, 100)?;
    world.uncut(dead, source)?;
    let has_some = |world: &mut World| world.has(source, ORPHANS);
    hold!(world.run_until(SESSION_MS, has_some)?, "the first session brings nothing");
    world.cut(dead, source, true)?;
    hold!(!world.has(source, 4 * ORPHANS - 1), "the first session has ended");
    world.announce_leaving(dead);
    world.lose_for_good(dead)?;

    let done = world.happened(Event::SessionDone);
    world.uncut(source, reader)?;
    let mut written = 0;
    while world.happened(Event::SessionDone) == done || !world.has(reader, 1_000) {
        hold!(written * every_ms < SESSION_MS, "the session does not end under writes");
        world.put(source, [2_000 + written], 100)?;
        written += 1;
        world.pass(every_ms)?;
    }
    hold!(world.has(reader, ORPHANS), "the rows of the dead location were left out");
    world.expel(dead, source)?;
    world.rest()?;
    world.finish()
}
