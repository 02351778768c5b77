//! A member reports to others that they were removed, again and again, without a member row that says so. A message alone
//! must do nothing: every location continues, and everything that was written meanwhile replicates.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::quiet;
use crate::{events::Event, world::World};

/// How often a location is lied to.
const LIES: u64 = 20;

/// How long a location may take to link again after it has closed a link for a lie.
const LINKED_MS: u64 = 10_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let nodes = rng.weighted(&[(1, 2), (1, 3)]);
    let mut world = World::new(seed, quiet(nodes, &mut rng), false)?;
    world.rest()?;
    for lie in 0..LIES {
        let victim = rng.index(nodes);
        world.put(rng.index(nodes), lie..lie + 1, 100)?;
        world.lie_to(victim)?;
        world.pass(LINKED_MS)?;
        hold!(!world.has_halted(victim), "{victim} has halted for a lie");
    }
    hold!(world.count_of(Event::LieTold) == LIES, "some lies were not told");
    world.rest()?;

    // Nobody can name the origins of a process that has just opened them.
    let victim = rng.index(nodes);
    world.lose_power_now(victim)?;
    let is_open = |world: &mut World| world.nodes[victim].origins().is_some();
    hold!(world.run_until(LINKED_MS, is_open)?, "{victim} does not open its origins");
    world.lie_to(victim)?;
    world.pass(LINKED_MS)?;
    world.rest()?;
    world.finish()
}
