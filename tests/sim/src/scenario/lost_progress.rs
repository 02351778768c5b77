//! Progress is lost, and with it the news of a write that does not arrive. Nothing changes afterwards, so
//! the next progress must repeat it, because its receiver has not acknowledged the lost one.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, violation::Checked};

use super::{BIG_BACKLOG, begin, cut_off, reconnect};
use crate::{network::Fate, world::World};

/// By then progress about the write was sent, and lost.
const LOST_WITHIN_MS: u64 = 1_000;

/// The next progress without a change is sent within three seconds, and a session follows.
const SOON_MS: u64 = 8_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let (_rng, mut world, order) = begin(seed, &[2, 3], BIG_BACKLOG)?;
    let (writer, reader) = (order[0], order[1]);
    world.rest()?;

    // Only the writer can report its write.
    cut_off(&mut world, reader, &order[2..])?;
    let way = (writer, reader);
    world.network.fates.insert((way, Channel::Live), Fate::Lost);
    world.network.fates.insert((way, Channel::Control), Fate::Lost);
    world.put(writer, [200], 100)?;
    world.pass(LOST_WITHIN_MS)?;
    hold!(!world.has(reader, 200), "the write was not lost");
    world.network.fates.clear();
    let is_here = |world: &mut World| world.has(reader, 200);
    hold!(
        world.run_until(SOON_MS, is_here)?,
        "what the lost progress reported is not reported again"
    );
    reconnect(&mut world, reader, &order[2..])?;
    world.finish()
}
