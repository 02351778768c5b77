//! A process announces its origins and its closed timestamp, and none of its writes reach anybody. Then its location is
//! restored from an older image of its disk. No location has those writes any more, and none closes their origins: what
//! the process announced must not hold back garbage collection for ever.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, violation::Checked};

use super::{BIG_BACKLOG, begin};
use crate::network::Fate;

/// How long the process runs: it sends its progress in that time.
const ANNOUNCED_MS: u64 = 8_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let (mut rng, mut world, order) = begin(seed, &[2, 3], BIG_BACKLOG)?;
    let nodes = order.len();
    let (writer, deleter) = (order[0], order[1]);
    world.put(deleter, 0..10, 100)?;
    world.rest()?;

    world.keep_old(writer);
    for other in (0..nodes).filter(|other| *other != writer) {
        for channel in [Channel::Live, Channel::CatchUp] {
            world.network.fates.insert(((writer, other), channel), Fate::Lost);
        }
    }
    world.lose_power_now(writer)?;
    world.pass(ANNOUNCED_MS)?;
    world.put(writer, 10..10 + rng.between(1, 10), 100)?;
    world.pass(ANNOUNCED_MS)?;
    hold!(!world.has(deleter, 10), "a write has reached another location");
    world.restore_old(writer)?;
    world.pass(ANNOUNCED_MS)?;
    world.network.fates.clear();

    world.delete(deleter, 0)?;
    world.rest()?;
    world.finish()
}
