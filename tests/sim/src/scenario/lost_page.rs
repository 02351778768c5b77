//! A body is unavailable at its source while the next page of its batch is lost. The batch must be
//! requested again from its beginning: a request from the last received page would skip the row
//! without its body.

use kv_replicate::Channel;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{NO_BACKLOG, quiet};
use crate::{events::Event, network::Fate, world::World};

/// How long until the fetch of a body times out.
const GIVEN_UP_MS: u64 = 60_000;

/// Runs the scenario. The row with the body is on the first page: large values precede the others
/// if their origin is the lower one.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let mut plan = quiet(2, &mut rng);
    plan.backlog_bytes = NO_BACKLOG;
    let (mut world, source) = loop {
        let mut world = World::new(rng.next_u64(), plan.clone(), false)?;
        let mut is_low =
            |node: &usize| world.nodes[*node].origins().is_some_and(|[small, large]| large < small);
        if let Some(source) = (0..2).find(&mut is_low) {
            break (world, source);
        }
    };
    let reader = 1 - source;
    world.rest()?;

    world.cut(source, reader, true)?;
    world.put(source, [0], 70_000)?;
    // Two pages in one batch.
    world.put(source, 1..100, 1_000)?;
    let way = (source, reader);
    world.network.fates.insert((way, Channel::Body), Fate::Lost);
    world.network.fates.insert((way, Channel::CatchUp), Fate::LostBehind);
    world.uncut(source, reader)?;
    let is_given_up = |world: &mut World| world.happened(Event::BodyLost) > 0;
    hold!(world.run_until(GIVEN_UP_MS, is_given_up)?, "the fetch of the body does not time out");
    world.network.fates.clear();
    world.rest()?;
    hold!(world.has(reader, 0), "a row was skipped");
    world.finish()
}
