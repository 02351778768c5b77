//! A location joins through a member that is lost before it informed the others. Only the new
//! member has the row that makes it a member. The others must accept it although they do not know
//! it.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{quiet, reconnect, shuffled};
use crate::world::World;

/// How long a location may take to join, and to become known.
const SOON_MS: u64 = 10_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let nodes = rng.weighted(&[(1, 3), (1, 4)]);
    let mut world = World::new(seed, quiet(nodes, &mut rng), false)?;
    world.put(rng.index(nodes), 0..5, 100)?;
    world.rest()?;
    let order = shuffled(nodes, &mut rng);
    let (sponsor, others) = (order[0], &order[1..]);

    let new = nodes;
    for other in others {
        world.cut(sponsor, *other, true)?;
        world.cut(new, *other, false)?;
    }
    hold!(world.come_new()? == new, "the new location has an unexpected number");
    world.admit(new, sponsor)?;
    let is_in = |world: &mut World| world.nodes[new].is_joined();
    hold!(world.run_until(SOON_MS, is_in)?, "the new member does not join");
    world.lose_for_good(sponsor)?;

    reconnect(&mut world, new, others)?;
    let is_known = |world: &mut World| others.iter().all(|other| world.has_member(*other, new));
    hold!(world.run_until(SOON_MS, is_known)?, "a member remains unknown to the others");
    world.finish()
}
