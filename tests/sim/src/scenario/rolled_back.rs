//! Stores are slow, and their disks fail again and again, also between a session's last rows and
//! its version vector. Work that a core requested before its store rolled back must not be done
//! afterwards.

use waypost_disk_tests::{rng::Rng, violation::Checked};

use super::NO_BACKLOG;
use crate::{
    plan::{Fault, Plan},
    world::World,
};

/// Runs the scenario. No rows are sent live, so all arrive through sessions.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let plan = Plan {
        nodes: 3,
        faults: 40,
        kinds: vec![(1, Fault::DiskFails)],
        loss: 0,
        skew_ms: 100,
        steps_at_start: false,
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
