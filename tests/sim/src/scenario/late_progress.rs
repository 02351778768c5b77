//! Messages of a location's earlier start come after those of its next. What they say is passed over:
//! the numbers of heads begin anew, and the later ones would be taken for old.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{quiet, shuffled};
use crate::{network::Fate, world::World};

/// How late messages come for the second time: the location is up again by then.
const LATE_MS: u64 = 12_000;

/// How long rows have to come that only heads tell of.
const SOON_MS: u64 = 8_000;

/// Runs it.
///
/// # Errors
/// What was found wrong.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let nodes = rng.weighted(&[(1, 2), (1, 3)]);
    let mut world = World::new(seed, quiet(nodes, &mut rng), false)?;
    let order = shuffled(nodes, &mut rng);
    let (writer, reader) = (order[0], order[1]);
    world.rest()?;

    let way = (writer, reader);
    world.network.fates.insert((way, Channel::Control), Fate::Echo(LATE_MS));
    for number in 0..100 {
        world.put(writer, [number], 100)?;
        world.pass(25)?;
    }
    world.network.fates.clear();
    world.lose_power_now(writer)?;
    world.pass(2 * LATE_MS)?;

    // Who tells of these rows is the writer alone.
    for other in (0..nodes).filter(|other| *other != writer && *other != reader) {
        world.cut(reader, other, true)?;
        world.cut(writer, other, true)?;
    }
    world.network.fates.insert((way, Channel::Live), Fate::Lost);
    world.put(writer, [200], 100)?;
    world.network.fates.clear();
    let is_here = |world: &mut World| world.has(reader, 200);
    hold!(world.run_until(SOON_MS, is_here)?, "what a location says since its start is not heard");
    for other in (0..nodes).filter(|other| *other != writer && *other != reader) {
        world.uncut(reader, other)?;
        world.uncut(writer, other)?;
    }
    world.finish()
}
