//! A source serves a session, and meanwhile receives rows of another session that replace rows which it counts. Their
//! places are behind the walk, and its own session does not end, so that no vector counts them. The next round must
//! bring them.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{NO_BACKLOG, quiet};
use crate::world::World;

/// How many keys both locations write.
const KEYS: u64 = 48;

/// How long the session may take.
const SESSION_MS: u64 = 30_000;

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
    plan.pinned_bytes = 0;
    let mut world = World::new(seed, plan, false)?;
    world.rest()?;
    let (other, source, reader) = (0, 1, 2);

    world.cut(other, reader, true)?;
    world.cut(source, reader, true)?;
    world.put(source, 0..KEYS, 100)?;
    let is_here = |world: &mut World| (0..KEYS).all(|key| world.has(other, key));
    hold!(world.run_until(SESSION_MS, is_here)?, "the keys do not arrive");
    world.pass(1_000)?;
    world.cut(other, source, true)?;
    world.put(other, 0..KEYS, 100)?;

    let [own, _] = world.nodes[source].origins().expect("it has written");
    let wanted = world.nodes[source].vector().get(own);
    let pages = ((source, reader), Channel::CatchUp);
    let sent = |world: &World| world.network.sent.get(&pages).copied().unwrap_or(0);
    let before = sent(&world);
    world.uncut(source, reader)?;
    hold!(world.run_until(SESSION_MS, |world| sent(world) > before)?, "no session begins");
    world.uncut(other, source)?;
    world.pass(rng.between(30, 250))?;
    world.cut(other, source, true)?;
    let is_done = |world: &mut World| world.nodes[reader].vector().get(own) >= wanted;
    hold!(world.run_until(SESSION_MS, is_done)?, "the session does not end");
    world.sync_now(reader)?;
    for key in 0..KEYS {
        hold!(world.has(reader, key), "key {key} was left out");
    }
    world.uncut(other, source)?;
    world.uncut(other, reader)?;
    world.rest()?;
    world.finish()
}
