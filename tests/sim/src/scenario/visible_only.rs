//! A deletion is visible at a location whose disk has not synced it when the power fails. No member
//! may have dropped the tombstone by then: the location could not receive the deletion again, and
//! its value would stay.

use kv_core::Dot;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{NO_BACKLOG, quiet, shuffled};
use crate::world::World;

/// How long a deletion may take to arrive.
const SOON_MS: u64 = 5_000;

/// In this time a reader that counted the deletion would report it, and the tombstone would be
/// dropped everywhere.
const ALL_SAID_MS: u64 = 20_000;

/// Runs the scenario. The reader's own last write is later than the deletion, and durable: only the
/// deletion keeps it from reporting a resolved timestamp up to there.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let nodes = rng.weighted(&[(2, 2), (1, 3)]);
    let mut plan = quiet(nodes, &mut rng);
    plan.backlog_bytes = NO_BACKLOG;
    let mut world = World::new(seed, plan, false)?;
    let order = shuffled(nodes, &mut rng);
    let (writer, reader) = (order[0], order[1]);
    world.put(writer, [0, 1], 100)?;
    world.rest()?;

    // The reader's clock is ahead, and it receives the deletion only after its own write.
    world.nodes[writer].skew_ms = 0;
    world.nodes[reader].skew_ms = 200;
    world.delete(writer, 0)?;
    let origin = world.nodes[writer].origins().expect("it has written")[0];
    let deletion = Dot { origin, seq: world.nodes[writer].vector().get(origin) };
    world.put(reader, [1], 100)?;
    world.nodes[reader].is_stuck = true;
    let is_visible = world.run_until(SOON_MS, |world| world.is_deleted(reader, 0))?;
    hold!(is_visible, "the deletion does not become visible");

    world.pass(ALL_SAID_MS)?;
    let running = world.nodes[writer].running.as_ref();
    let copies = running.map(|running| running.core.durable_copies(deletion));
    hold!(copies == Some(nodes - 1), "the reader has not synced, and {copies:?} have the deletion");
    world.lose_power_now(reader)?;
    world.nodes[reader].is_stuck = false;
    world.rest()?;
    world.finish()
}
