//! Scenarios: sequences of faults that random runs would produce too rarely. Each scenario tests
//! one rule.
//!
//! The seed still chooses latencies, clock errors and amounts; the events and their order are
//! fixed. Each scenario passes with every seed. `tests/mutants` shows that each fails if its rule
//! is broken.

use kv_replicate::PINNED_BYTES;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use crate::{plan::Plan, world::World};

pub mod absent;
pub mod all_restored;
pub mod barrier;
pub mod behind_walk;
pub mod claimed_time;
pub mod claimed_writes;
pub mod copied;
pub mod counted_away;
pub mod damaged_ahead;
pub mod damaged_both;
pub mod damaged_index;
pub mod damaged_opening;
pub mod damaged_source;
pub mod damaged_system;
pub mod damaged_tombstone;
pub mod dead_session;
pub mod destroyed;
pub mod dropped;
pub mod forgotten_alone;
pub mod freed_early;
pub mod half_joined;
pub mod half_linked;
pub mod invented_origins;
pub mod last_words;
pub mod late_deletion;
pub mod late_progress;
pub mod late_write;
pub mod lost_live;
pub mod lost_page;
pub mod lost_process;
pub mod lost_progress;
pub mod lying_removal;
pub mod lying_store;
pub mod mixed_versions;
pub mod mutual_removal;
pub mod non_member;
pub mod not_made;
pub mod old_deletions;
pub mod old_image;
pub mod orphaned;
pub mod relay;
pub mod removed_alone;
pub mod rewritten;
pub mod rolled_back;
pub mod second_sponsor;
pub mod slow_link;
pub mod stranded;
pub mod suspended;
pub mod swapped;
pub mod two_halves;
pub mod two_old_images;
pub mod two_snapshots;
pub mod unheard_member;
pub mod visible_only;
pub mod wrong_clock;

/// A backlog that never discards a row.
const BIG_BACKLOG: usize = 8 << 20;

/// A backlog that holds no row.
const NO_BACKLOG: usize = 0;

/// A plan without random faults: each message arrives once, in order.
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
        steps_at_start: false,
        backlog_bytes: BIG_BACKLOG,
        batch_rows: 128,
        pinned_bytes: PINNED_BYTES,
        large: 0,
        store_ms: 0,
        keys: 0,
    }
}

/// A world without random faults, with one of these numbers of locations, and the locations in random order.
fn begin(seed: u64, nodes: &[usize], backlog_bytes: usize) -> Checked<(Rng, World, Vec<usize>)> {
    let mut rng = Rng::new(seed);
    let nodes = match nodes {
        [nodes] => *nodes,
        several => *rng.pick(several),
    };
    let plan = Plan { backlog_bytes, ..quiet(nodes, &mut rng) };
    let world = World::new(seed, plan, false)?;
    let order = shuffled(nodes, &mut rng);
    Ok((rng, world, order))
}

/// The locations in random order.
fn shuffled(nodes: usize, rng: &mut Rng) -> Vec<usize> {
    let mut left: Vec<_> = (0..nodes).collect();
    (0..nodes).map(|_| left.swap_remove(rng.index(left.len()))).collect()
}

/// Cuts a location off from these others.
fn cut_off(world: &mut World, node: usize, others: &[usize]) -> Checked {
    others.iter().try_for_each(|other| world.cut(node, *other, true))
}

/// Links a location with these others again.
fn reconnect(world: &mut World, node: usize, others: &[usize]) -> Checked {
    others.iter().try_for_each(|other| world.uncut(node, *other))
}

/// Waits until no location has the key of this number, or its tombstone.
fn await_forgotten(world: &mut World, number: u64, ms: u64) -> Checked {
    let is_forgotten = |world: &mut World| {
        let mut nodes = 0..world.nodes.len();
        nodes.all(|node| !world.has(node, number) && !world.is_deleted(node, number))
    };
    hold!(world.run_until(ms, is_forgotten)?, "the tombstone is not dropped");
    Ok(())
}

/// Restores a location from the image that was kept of it, and waits until it runs.
fn restore(world: &mut World, node: usize, ms: u64) -> Checked {
    world.restore_old(node)?;
    let runs = |world: &mut World| world.nodes[node].running.is_some();
    hold!(world.run_until(ms, runs)?, "the restored location does not start");
    Ok(())
}
