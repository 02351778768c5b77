//! Messages from a location's previous incarnation arrive after those of its current one. They must
//! be ignored: progress numbers start again with each incarnation, and the current ones would be
//! taken for old.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, violation::Checked};

use super::{BIG_BACKLOG, begin};
use crate::{network::Fate, world::World};

/// The delay of the duplicates: by then the location has restarted.
const LATE_MS: u64 = 12_000;

/// How long rows may take that only progress messages announce.
const SOON_MS: u64 = 8_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let (_rng, mut world, order) = begin(seed, &[2, 3], BIG_BACKLOG)?;
    let nodes = order.len();
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

    // Only the writer announces these rows.
    for other in (0..nodes).filter(|other| *other != writer && *other != reader) {
        world.cut(reader, other, true)?;
        world.cut(writer, other, true)?;
    }
    world.network.fates.insert((way, Channel::Live), Fate::Lost);
    world.put(writer, [200], 100)?;
    world.network.fates.clear();
    let is_here = |world: &mut World| world.has(reader, 200);
    hold!(world.run_until(SOON_MS, is_here)?, "the progress of the current incarnation is ignored");
    for other in (0..nodes).filter(|other| *other != writer && *other != reader) {
        world.uncut(reader, other)?;
        world.uncut(writer, other)?;
    }
    world.finish()
}
