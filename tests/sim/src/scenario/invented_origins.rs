//! A member invents origins of members that never existed, by the hundred. They must change nothing for the others, which
//! restart and open their own, and come to rest once that member is removed.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{quiet, shuffled};
use crate::world::World;

/// How long what follows may take.
const SOON_MS: u64 = 60_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let mut world = World::new(seed, quiet(3, &mut rng), false)?;
    let order = shuffled(3, &mut rng);
    let (liar, honest, other) = (order[0], order[1], order[2]);
    world.rest()?;
    world.invent_origins(liar, 150)?;
    world.put(honest, 0..3, 100)?;
    world.pass(5_000)?;
    world.lose_power_now(other)?;
    hold!(
        world.run_until(SOON_MS, |world| world.nodes[other].is_joined())?,
        "{other} does not start"
    );
    world.put(other, 3..6, 100)?;
    world.announce_leaving(liar);
    world.expel(liar, honest)?;
    world.lose_for_good(liar)?;
    for node in [honest, other] {
        let has_all = |world: &mut World| world.reads(node, 0..6).len() == 6;
        hold!(world.run_until(SOON_MS, has_all)?, "{node} lacks writes");
    }
    world.finish()
}
