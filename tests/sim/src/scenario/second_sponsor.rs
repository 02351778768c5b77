//! A joining member has some rows of its sponsor when the sponsor is lost for good. The other
//! members, which do not know the joining one, delete one of these rows and drop the tombstone. It
//! must not join through them with its stale rows: the deleted row would stay.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::quiet;
use crate::world::World;

/// How long rows may take.
const SOON_MS: u64 = 10_000;

/// How long the other member may take to drop a tombstone.
const FORGET_MS: u64 = 60_000;

/// Runs the scenario. The joining member may be restarted in between.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let mut plan = quiet(2, &mut rng);
    plan.batch_rows = 3;
    let mut world = World::new(seed, plan, false)?;
    let (sponsor, other) = if rng.chance(50) { (0, 1) } else { (1, 0) };
    world.put(sponsor, 0..300, 100)?;
    world.rest()?;

    world.cut(sponsor, other, true)?;
    let new = world.come_new()?;
    world.cut(new, other, true)?;
    world.admit(new, sponsor)?;
    hold!(world.run_until(SOON_MS, |world| world.has(new, 0))?, "no rows arrive");
    hold!(!world.nodes[new].is_joined(), "the joining member has already joined");
    world.lose_for_good(sponsor)?;
    if rng.chance(50) {
        world.sync_now(new)?;
        world.lose_power_now(new)?;
        world.pass(SOON_MS)?;
    }

    world.delete(other, 0)?;
    world.expel(sponsor, other)?;
    let is_gone = |world: &mut World| !world.has(other, 0) && !world.is_deleted(other, 0);
    hold!(world.run_until(FORGET_MS, is_gone)?, "the tombstone is not dropped");
    world.admit(new, other)?;
    world.uncut(new, other)?;
    world.pass(SOON_MS)?;
    world.finish()
}
