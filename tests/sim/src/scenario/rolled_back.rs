//! Stores take their time, and their disks fail again and again: between a session's last rows and its
//! vector, too. What was asked of a store before it went back must not be done after it.

use waypost_disk_tests::{rng::Rng, violation::Checked};

use super::NO_BACKLOG;
use crate::{
    plan::{Fault, Plan},
    world::World,
};

/// Runs it. Nothing is sent live, so that all comes by sessions.
///
/// # Errors
/// What was found wrong.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let plan = Plan {
        nodes: 3,
        faults: 40,
        kinds: vec![(1, Fault::DiskFails)],
        loss: 0,
        skew_ms: 100,
        backlog_bytes: NO_BACKLOG,
        batch_rows: 20,
        pause_ms: 20,
        latency_ms: 2,
        store_ms: 40,
        large: 0,
        ..Plan::mixed(&mut rng)
    };
    World::run(seed, plan, false).1
}
