//! A location joins through a member that lacks a deletion by a third one. The third one does not
//! learn of the new member for long, though it receives everything else. It must keep the
//! tombstone, because the new member has the value.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::quiet;
use crate::{network::Fate, world::World};

/// Long enough for all messages to arrive, and for tombstones to be dropped where that is allowed.
const SOON_MS: u64 = 10_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let mut world = World::new(seed, quiet(2, &mut rng), false)?;
    let (source, third) = if rng.chance(50) { (0, 1) } else { (1, 0) };
    world.put(source, 0..rng.between(1, 9), 100)?;
    for node in [0, 1] {
        world.admit(node, source)?;
    }
    world.rest()?;

    // The source does not receive the deletion. A later write of the source advances its resolved
    // timestamp beyond the deletion.
    world.network.cut.insert((third, source));
    world.delete(third, 0)?;
    world.pass(SOON_MS)?;
    world.put(source, [20], 100)?;
    world.pass(SOON_MS)?;

    // From now on the third one receives no row of the source, and so does not learn of the new
    // member.
    let rows = |from: usize, to: usize| {
        [Channel::Live, Channel::CatchUp].map(|channel| ((from, to), channel))
    };
    for way in rows(source, third) {
        world.network.fates.insert(way, Fate::Lost);
    }
    let new = 2;
    world.cut(new, third, false)?;
    hold!(world.come_new()? == new, "the new location has an unexpected number");
    world.admit(new, source)?;
    let has_joined = world.run_until(SOON_MS, |world| world.nodes[new].is_joined())?;
    hold!(has_joined, "the new member does not join");

    // The source receives the deletion, and its new member does not.
    for way in rows(source, new) {
        world.network.fates.insert(way, Fate::Lost);
    }
    world.network.cut.remove(&(third, source));
    world.pass(3 * SOON_MS)?;
    hold!(world.has(new, 0), "the new member received the deletion");
    hold!(world.is_deleted(third, 0), "a tombstone was dropped that a member lacks");
    world.network.fates.clear();
    world.uncut(new, third)?;
    world.rest()?;
    world.finish()
}
