//! Scenarios: what chance alone would bring about too seldom, each with one rule in mind.
//!
//! The seed still chooses how far the locations are from each other, how wrong their clocks are, and
//! how much there is of everything; what happens, and in which order, is written down. Each passes
//! with every seed. `tests/mutants` shows that each fails if its rule is broken.

use waypost_disk_tests::rng::Rng;

use crate::plan::Plan;

pub mod absent;
pub mod barrier;
pub mod copied;
pub mod dead_session;
pub mod half_joined;
pub mod last_words;
pub mod late_progress;
pub mod lost_live;
pub mod lost_page;
pub mod mutual_removal;
pub mod not_made;
pub mod old_image;
pub mod relay;
pub mod rolled_back;
pub mod second_sponsor;
pub mod stranded;
pub mod stranger;
pub mod suspended;
pub mod two_snapshots;
pub mod unheard_member;
pub mod visible_only;

/// A ring that never moves on.
const BIG_BACKLOG: usize = 8 << 20;

/// A ring that holds no row.
const NO_BACKLOG: usize = 0;

/// Nothing happens by itself, and messages come once, in order.
fn quiet(nodes: usize, rng: &mut Rng) -> Plan {
    Plan {
        nodes,
        operations: 0,
        pause_ms: 0,
        faults: 0,
        kinds: Vec::new(),
        loss: 0,
        repeat: 0,
        reorders: false,
        latency_ms: rng.weighted(&[(1, 2), (2, 20), (2, 50)]),
        skew_ms: 100,
        backlog_bytes: BIG_BACKLOG,
        batch_rows: 128,
        large: 0,
        store_ms: 0,
        keys: 0,
    }
}

/// Locations in any order.
fn shuffled(nodes: usize, rng: &mut Rng) -> Vec<usize> {
    let mut left: Vec<_> = (0..nodes).collect();
    (0..nodes).map(|_| left.swap_remove(rng.index(left.len()))).collect()
}
