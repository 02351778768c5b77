//! A store is rebuilt, and between its session and the comparison of its rows the source collects an entry that expires.
//! The store drops the entry too, and must count it as collected: it serves others afterwards, and one that lacks the
//! expiry would keep what the entry had replaced.

use kv_core::Attributes;
use kv_replicate::Channel;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{NO_BACKLOG, quiet, shuffled};
use crate::{events::Event, network::Fate, world::World};

/// How long locations may take to drop a tombstone, to start, and to be rebuilt.
const SOON_MS: u64 = 60_000;

/// After how many seconds the entry expires.
const TTL: u64 = 60;

/// How many seconds before that the store is rebuilt.
const BEFORE: u64 = 9;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let mut plan = quiet(2, &mut rng);
    // A backlog would have the deletion.
    plan.backlog_bytes = NO_BACKLOG;
    let mut world = World::new(seed, plan, false)?;
    let order = shuffled(2, &mut rng);
    let (old, source) = (order[0], order[1]);
    let expires_at = world.true_seconds() + TTL;
    let attributes = Attributes { expires_at: Some(expires_at), ..Attributes::default() };
    // The vectors count it apart from the deletion.
    world.put_with(old, 5, attributes)?;
    world.put(source, 0..rng.between(1, 4), 100)?;
    world.rest()?;
    world.keep_old(old);
    world.delete(source, 0)?;
    let is_dropped =
        |world: &mut World| (0..2).all(|node| !world.has(node, 0) && !world.is_deleted(node, 0));
    hold!(world.run_until(SOON_MS, is_dropped)?, "the tombstone is not dropped");
    world.cut(old, source, true)?;
    world.go_back(old)?;
    let is_time = |world: &mut World| {
        world.nodes[old].running.is_some() && world.true_seconds() + BEFORE >= expires_at
    };
    hold!(world.run_until(SOON_MS, is_time)?, "the restored location does not start");

    // The session is over, and no row is compared before the source has collected the entry.
    world.uncut(old, source)?;
    let sessions = world.happened(Event::SessionDone);
    let has_rows = |world: &mut World| world.happened(Event::SessionDone) > sessions;
    hold!(world.run_until(SOON_MS, has_rows)?, "the store is not rebuilt");
    hold!(world.true_seconds() < expires_at && world.has(old, 5), "the entry has expired");
    for way in [(old, source), (source, old)] {
        world.network.fates.insert((way, Channel::CatchUp), Fate::Lost);
    }
    let is_collected = |world: &mut World| !world.has(source, 5);
    hold!(world.run_until(SOON_MS, is_collected)?, "the entry is not collected");
    world.network.fates.clear();
    let is_whole = |world: &mut World| world.nodes[old].is_joined() && !world.has(old, 5);
    hold!(world.run_until(SOON_MS, is_whole)?, "the store is not whole");
    world.sync_now(old)?;
    world.finish()
}
