//! A reader is permanently cut off from all members but one, which does not write. It must still
//! receive the writes of the others.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{quiet, shuffled};
use crate::world::World;

/// Long enough to detect the missing rows and to run a session.
const SOON_MS: u64 = 5_000;

/// Runs the scenario. The cut links are closed, or their ends do not notice the cut.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let nodes = rng.weighted(&[(2, 3), (1, 4)]);
    let mut plan = quiet(nodes, &mut rng);
    plan.batch_rows = rng.weighted(&[(1, 3), (1, 128)]);
    let mut world = World::new(seed, plan, false)?;
    world.rest()?;
    let order = shuffled(nodes, &mut rng);
    let (reader, writers) = (order[0], &order[2..]);

    let is_noticed = rng.chance(50);
    for writer in writers {
        world.cut(reader, *writer, is_noticed)?;
    }
    for round in 0..3 {
        let keys = 10 * round..10 * round + rng.between(1, 10);
        for (writer, first) in writers.iter().zip((0..).step_by(100)) {
            world.put(*writer, keys.clone().map(|key| first + key), 100)?;
        }
        let last = keys.end - 1;
        let is_here = |world: &mut World| {
            let mut lasts = (0..).step_by(100).map(|first| first + last).take(writers.len());
            lasts.all(|key| world.has(reader, key))
        };
        hold!(
            world.run_until(SOON_MS, is_here)?,
            "the writes of the others do not arrive through the relay"
        );
    }
    world.finish()
}
