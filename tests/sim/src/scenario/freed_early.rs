//! A location that no other one can reach has a clock that is days ahead, for longer than the expiry grace: it frees a
//! value that has not expired. Once its clock is confirmed it fetches the value from the others.

use kv_core::Attributes;
use waypost_disk_tests::{hold, violation::Checked};

use super::{BIG_BACKLOG, begin, cut_off, reconnect};

/// How far the clock is ahead.
const AHEAD_MS: i64 = 2 * 86_400_000;

/// The expiry grace of the location.
const GRACE_MS: u64 = 5_000;

/// How long the repair may take.
const SOON_MS: u64 = 60_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let (mut rng, mut world, order) = begin(seed, &[2, 3], BIG_BACKLOG)?;
    let (wrong, others) = (order[0], &order[1..]);
    let expires_at = Some(world.true_seconds() + 86_400);
    world.put_with(*rng.pick(&order), 0, Attributes { metadata: None, expires_at })?;
    world.put(wrong, [1], 100)?;
    world.rest()?;

    cut_off(&mut world, wrong, others)?;
    world.set_grace(wrong, GRACE_MS);
    world.set_clock(wrong, AHEAD_MS);
    world.pass(60_000 + 4 * GRACE_MS)?;
    hold!(world.is_freed(wrong, 0), "the location does not free the value");
    world.set_clock(wrong, 0);
    reconnect(&mut world, wrong, others)?;
    let is_back = world.run_until(SOON_MS, |world| !world.is_freed(wrong, 0))?;
    hold!(is_back, "the value does not come back");
    for node in order {
        hold!(world.has(node, 0) && !world.is_freed(node, 0), "{node}: the value is missing");
    }
    world.finish()
}
