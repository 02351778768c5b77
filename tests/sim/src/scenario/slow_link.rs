//! A location catches up over a link on which a page takes longer than the location waits for one at first. Requests
//! that are repeated too early, or batches that are too long for the link, fill it with rows that were sent before.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{NO_BACKLOG, quiet};
use crate::world::World;

/// The bytes of the values: 40 seconds of the slowest link.
const VALUES: u64 = 800_000;

/// How many times the bytes of the values the link may carry. The first batch is requested twice on a link that is
/// slower than expected, and another batch may be under way when the link gets slower.
const MOST: f64 = 1.5;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let mut plan = quiet(2, &mut rng);
    plan.backlog_bytes = NO_BACKLOG;
    let mut world = World::new(seed, plan, false)?;
    world.rest()?;
    let (source, reader) = if rng.chance(50) { (0, 1) } else { (1, 0) };
    let way = (source, reader);
    world.cut(source, reader, true)?;
    let each = rng.weighted(&[(1, 800), (2, 4_000), (1, 40_000)]);
    world.put(source, 0..(VALUES / each), usize::try_from(each).unwrap_or_default())?;
    let rate = rng.weighted(&[(2, 20), (1, 50), (1, 200)]);
    world.network.rates.insert((way, Channel::CatchUp), rate);
    world.uncut(source, reader)?;
    let before =
        world.network.sent_bytes.get(&(way, Channel::CatchUp)).copied().unwrap_or_default();
    let last = VALUES / each - 1;
    let longest_ms = 2 * VALUES / rate as u64 + 10_000;
    let is_here = |world: &mut World| world.has(reader, 0) && world.has(reader, last);
    hold!(world.run_until(longest_ms, is_here)?, "catch-up over a slow link does not end");
    let sent = world.network.sent_bytes[&(way, Channel::CatchUp)] - before;
    hold!((sent as f64) < MOST * VALUES as f64, "{VALUES} bytes of values took {sent} bytes");
    world.rest()?;
    world.finish()
}
