//! A location is removed while it is cut off. It learns of that by its member row, which a member sends it. From then on
//! it knows by itself: it restarts after a power loss, reaches no other location, and does not take part.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{cut_off, quiet};
use crate::{events::Event, world::World};

/// How long a removal may take to reach the other members.
const KNOWN_MS: u64 = 30_000;

/// How long the removed location may take to learn of its removal once it has links.
const NOTICED_MS: u64 = 30_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let nodes = 3;
    let mut world = World::new(seed, quiet(nodes, &mut rng), false)?;
    world.put(rng.index(nodes), 0..5, 100)?;
    world.rest()?;
    let lost = rng.index(nodes);
    let others: Vec<_> = (0..nodes).filter(|node| *node != lost).collect();
    cut_off(&mut world, lost, &others)?;
    world.announce_leaving(lost);
    world.expel(lost, others[rng.index(others.len())])?;
    let is_known = |world: &mut World| others.iter().all(|other| !world.has_member(*other, lost));
    hold!(world.run_until(KNOWN_MS, is_known)?, "the removal does not replicate");
    hold!(!world.has_halted(lost), "it can't know of its removal");
    world.uncut(lost, others[rng.index(others.len())])?;
    let is_noticed = |world: &mut World| world.has_halted(lost);
    hold!(world.run_until(NOTICED_MS, is_noticed)?, "it does not learn of its removal");
    hold!(world.count_of(Event::RemovalRemembered) == 1, "it was not restarted alone");
    world.finish()
}
