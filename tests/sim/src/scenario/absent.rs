//! A location is away that has not heard of a deletion. Nobody may drop the tombstone, however long
//! it stays away: it could not be had again, and the value would stay there.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{quiet, shuffled};
use crate::world::World;

/// Runs it. The one that goes away has made a later write than the deletion, of which the others know:
/// they are complete up to the deletion, and only it is not.
///
/// # Errors
/// What was found wrong.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let nodes = rng.weighted(&[(2, 3), (1, 4)]);
    let plan = quiet(nodes, &mut rng);
    let mut world = World::new(seed, plan, false)?;
    let order = shuffled(nodes, &mut rng);
    let (writer, absent) = (order[0], order[1]);
    world.put(writer, [0, 1], 100)?;
    world.rest()?;

    // It hears nothing more, and its clock is ahead.
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
    hold!(world.is_deleted(writer, 0), "a tombstone went that not all have");
    for other in (0..nodes).filter(|other| *other != absent) {
        world.uncut(other, absent)?;
    }
    world.rest()?;
    world.finish()
}
