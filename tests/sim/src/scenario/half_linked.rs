//! A link begins again at one of its ends only. That end knows nothing of the other one any more, and the progress of the
//! other one builds on what was acknowledged before. It must not count, and the other end must send everything again.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, violation::Checked};

use super::{BIG_BACKLOG, begin, cut_off, reconnect};
use crate::{network::Fate, world::World};

/// The next progress without a change is sent within three seconds from each end, and a session follows.
const SOON_MS: u64 = 12_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let (mut rng, mut world, order) = begin(seed, &[2, 3], BIG_BACKLOG)?;
    let (writer, reader) = (order[0], order[1]);
    world.put(writer, 0..3, 100)?;
    world.rest()?;

    cut_off(&mut world, reader, &order[2..])?;
    let way = (writer, reader);
    world.network.fates.insert((way, Channel::Live), Fate::Lost);
    world.connect(reader, writer)?;
    world.pass(rng.below(200))?;
    world.put(writer, [200], 100)?;
    // A row of a session comes on another channel.
    let is_here = |world: &mut World| world.has(reader, 200);
    hold!(world.run_until(SOON_MS, is_here)?, "an end that has begun again is not told everything");
    world.network.fates.clear();
    reconnect(&mut world, reader, &order[2..])?;
    world.finish()
}
