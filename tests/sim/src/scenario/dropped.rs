//! A namespace is dropped while a location is cut off that writes to it before and after the drop. What was
//! put later lives, and with it the namespace.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{quiet, shuffled};
use crate::{events::Event, world::World};

/// Longer than clocks differ.
const LATER_MS: u64 = 1_000;

/// How long the namespace may take to be everywhere again.
const SOON_MS: u64 = 30_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let nodes = 3;
    let mut world = World::new(seed, quiet(nodes, &mut rng), false)?;
    let order = shuffled(nodes, &mut rng);
    let (here, away, other) = (order[0], order[1], order[2]);
    world.put(*rng.pick(&order), [0], 100)?;
    world.rest()?;

    world.cut(away, here, true)?;
    world.cut(away, other, true)?;
    world.put(away, [1], 100)?;
    world.pass(LATER_MS)?;
    world.drop_namespace(here)?;
    world.pass(LATER_MS)?;
    if rng.chance(50) {
        // The other side has removed all that was there.
        world.pass(SOON_MS)?;
    }
    world.put(away, [2, 3], 100)?;
    world.delete(away, 3)?;

    world.uncut(away, here)?;
    world.uncut(away, other)?;
    let is_back = world.run_until(SOON_MS, |world| {
        let mut nodes = (0..nodes).map(|node| world.reads(node, 0..4));
        nodes.all(|read| read == [2])
    })?;
    hold!(is_back, "the entry that is later than the drop is not read everywhere, or another is");
    hold!(world.happened(Event::NamespaceKept) > 0, "nobody created the namespace again");
    world.finish()
}
