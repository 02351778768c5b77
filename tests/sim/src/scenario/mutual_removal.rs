//! Two members remove each other while they are cut off from each other. Each then takes the other for one
//! that was removed, and tells it so; but not in answer to being told the same, or they never come to rest.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::quiet;
use crate::world::World;

/// How long they are watched.
const WATCHED_MS: u64 = 30_000;
/// Progress, answers and timers of two locations in that time are some hundred.
const MOST_HAPPENINGS: u64 = 2_000;

/// Runs it. What became of the cluster is for people to see to: nothing is judged but that it is quiet.
///
/// # Errors
/// What was found wrong.
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
    hold!(after <= MOST_HAPPENINGS, "{after} things happened between two that removed each other");
    Ok(())
}
