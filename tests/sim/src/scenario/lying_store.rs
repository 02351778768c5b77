//! The store of a member holds lies of every kind, again and again, while links are cut and all members write. Once that
//! member is removed, the others must converge, with all that they have written.

use waypost_disk_tests::{rng::Rng, violation::Checked};

use super::{BIG_BACKLOG, NO_BACKLOG, quiet, shuffled};
use crate::{events::Events, plan::Plan, world::World};

/// How many lies are told.
const LIES: u64 = 12;

/// How long it takes at most until a claim is found out.
const FOUND_OUT_MS: u64 = 20_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    run_counted(seed, &mut Events::default())
}

/// Runs the scenario, and adds what has happened in it.
///
/// # Errors
/// The violation.
pub fn run_counted(seed: u64, events: &mut Events) -> Checked {
    let mut rng = Rng::new(seed);
    let backlog_bytes = rng.weighted(&[(1, NO_BACKLOG), (1, BIG_BACKLOG)]);
    let plan = Plan { backlog_bytes, ..quiet(4, &mut rng) };
    let mut world = World::new(seed, plan, false)?;
    let order = shuffled(4, &mut rng);
    let (liar, honest) = (order[0], &order[1..]);
    for (node, key) in order.iter().zip(0..) {
        world.put(*node, [key], 100)?;
    }
    world.rest()?;
    for lie in 0..LIES {
        let cut = (*rng.pick(&order), *rng.pick(&order));
        if cut.0 != cut.1 {
            world.cut(cut.0, cut.1, rng.chance(50))?;
        }
        match rng.below(4) {
            0 | 1 => world.claim_writes(liar, *rng.pick(honest), false)?,
            2 => world.claim_time(liar)?,
            _ => world.invent_origins(liar, 20)?,
        }
        for node in honest {
            world.put(*node, [10 + lie * 10 + *node as u64], 100)?;
        }
        world.pass(rng.below(3_000))?;
        if cut.0 != cut.1 {
            world.uncut(cut.0, cut.1)?;
        }
        world.pass(rng.below(1_000))?;
    }
    world.pass(FOUND_OUT_MS)?;
    world.announce_leaving(liar);
    world.expel(liar, honest[0])?;
    world.lose_for_good(liar)?;
    events.merge(world.events());
    world.finish()
}
