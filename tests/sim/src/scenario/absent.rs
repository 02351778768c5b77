//! A member is offline and has not received a deletion. The others must not drop the tombstone,
//! however long the member is offline: it could not receive the deletion any more, and its value
//! would stay.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{quiet, shuffled};
use crate::world::World;

/// Runs the scenario. The absent member has made a write that is later than the deletion, and the
/// others know it: the absent member's resolved timestamp covers the deletion, and only the
/// deletion itself is missing.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let nodes = rng.weighted(&[(2, 3), (1, 4)]);
    let plan = quiet(nodes, &mut rng);
    let mut world = World::new(seed, plan, false)?;
    let order = shuffled(nodes, &mut rng);
    let (writer, absent) = (order[0], order[1]);
    world.put(writer, [0, 1], 100)?;
    world.rest()?;

    // It receives nothing more, and its clock is ahead.
    for other in (0..nodes).filter(|other| *other != absent) {
        world.network.cut.insert((other, absent));
    }
    world.nodes[writer].skew_ms = 0;
    world.nodes[absent].skew_ms = 200;
    world.delete(writer, 0)?;
    world.put(absent, [1], 100)?;
    world.pass(10_000)?;
    for other in (0..nodes).filter(|other| *other != absent) {
        world.cut(other, absent, true)?;
    }
    world.pass(20_000)?;
    hold!(world.is_deleted(writer, 0), "a tombstone was dropped before all members had it");
    for other in (0..nodes).filter(|other| *other != absent) {
        world.uncut(other, absent)?;
    }
    world.rest()?;
    world.finish()
}
