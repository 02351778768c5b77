//! A location joins while a large key is rewritten faster than a round trip, and another one of a few KB too. It must
//! be ready soon, and then follow the keys.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{NO_BACKLOG, quiet};
use crate::{events::Event, world::World};

/// How long joining may take.
const JOIN_MS: u64 = 30_000;

/// How often the keys are rewritten.
const EVERY_MS: u64 = 20;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let mut plan = quiet(1, &mut rng);
    plan.latency_ms = 100;
    plan.backlog_bytes = rng.weighted(&[(1, NO_BACKLOG), (1, 8 << 20)]);
    let mut world = World::new(seed, plan, false)?;
    world.rest()?;
    world.put(0, 0..100, 5_000)?;
    let node = world.come_new()?;
    world.admit(node, 0)?;
    let mut written = 0;
    while !world.nodes[node].is_joined() {
        hold!(written * EVERY_MS < JOIN_MS, "joining does not end under writes");
        world.put(0, [0], 5_000)?;
        if written % 3 == 0 {
            world.put(0, [100], 70_000)?;
        }
        written += 1;
        world.pass(EVERY_MS)?;
    }
    for _ in 0..50 {
        world.put(0, [100], 70_000)?;
        world.pass(EVERY_MS)?;
    }
    hold!(world.happened(Event::BodyReplaced) > 0, "no body was overwritten while it was fetched");
    world.rest()?;
    hold!(world.has(node, 0) && world.has(node, 100), "a key is missing");
    world.finish()
}
