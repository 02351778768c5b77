//! Two members remove each other while they are disconnected. Each then considers the other
//! removed, and informs it. It must not do so in response to the same message, or the two would
//! exchange these messages for ever.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::quiet;
use crate::world::World;

/// How long the two are observed.
const WATCHED_MS: u64 = 30_000;
/// The progress messages, responses and timers of two locations in that time are a few hundred.
const MOST_HAPPENINGS: u64 = 2_000;

/// Runs the scenario. It checks only that the two come to rest: repairing the cluster is up to its
/// operators.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let mut world = World::new(seed, quiet(2, &mut rng), false)?;
    world.rest()?;
    world.cut(0, 1, true)?;
    for (lost, by) in [(0, 1), (1, 0)] {
        world.announce_leaving(lost);
        world.expel(lost, by)?;
    }
    world.pass(WATCHED_MS)?;
    world.uncut(0, 1)?;
    let before = world.happenings();
    world.pass(WATCHED_MS)?;
    let after = world.happenings() - before;
    hold!(after <= MOST_HAPPENINGS, "{after} events between two members that removed each other");
    Ok(())
}
