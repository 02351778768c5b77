//! A clock is hours ahead for a while. Nothing but the keys that were written meanwhile stays dated ahead: one
//! of three corrects itself by the others, and one of two leaves nothing behind when it is right again.

use kv_core::Attributes;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{quiet, shuffled};
use crate::world::World;

/// How far the clock is ahead.
const AHEAD_MS: i64 = 8 * 3_600_000;

/// How long it is: garbage is collected, and the others are heard.
const WRONG_MS: u64 = 20_000;

/// Versions that are no further from the true time have the right one.
const RIGHT_MS: u64 = 2_000;

/// Runs the scenario. A value that expires within the error of the clock must outlive it.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let nodes = rng.weighted(&[(1, 2), (1, 3)]);
    let mut world = World::new(seed, quiet(nodes, &mut rng), false)?;
    let wrong = shuffled(nodes, &mut rng)[0];
    let soon = Some(world.true_seconds() + 3_600);
    world.put_with(wrong, 0, Attributes { metadata: None, expires_at: soon })?;
    world.rest()?;

    world.set_clock(wrong, AHEAD_MS);
    world.pass(WRONG_MS)?;
    let is_free_to_err = nodes == 2;
    world.put(wrong, [1], 100)?;
    let off_ms = world.off_by(wrong, 1);
    hold!(is_free_to_err || off_ms <= RIGHT_MS, "one of three dates a write {off_ms} ms off");
    world.pass(WRONG_MS)?;

    world.set_clock(wrong, 0);
    world.pass(WRONG_MS)?;
    world.put(wrong, [2], 100)?;
    let off_ms = world.off_by(wrong, 2);
    hold!(off_ms <= RIGHT_MS, "a later write is dated {off_ms} ms off");
    world.finish()
}
