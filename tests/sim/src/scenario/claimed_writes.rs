//! A member claims to have more writes of another one than that one has made, while nobody can ask that one. Another member
//! believes it. When the writer is back, what it wrote meanwhile must reach everybody: who believed the claim finds out, and
//! the writer reports it.

use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{NO_BACKLOG, quiet, shuffled};
use crate::{events::Event, plan::Plan, world::World};

/// How long the repair may take.
const SOON_MS: u64 = 60_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let backlog_bytes = rng.weighted(&[(1, NO_BACKLOG), (1, 8 << 20)]);
    let plan = Plan { backlog_bytes, ..quiet(3, &mut rng) };
    let mut world = World::new(seed, plan, false)?;
    let order = shuffled(3, &mut rng);
    let (writer, liar, other) = (order[0], order[1], order[2]);
    world.put(writer, 0..3, 100)?;
    world.put(other, 3..5, 100)?;
    world.rest()?;

    for node in [liar, other] {
        world.cut(writer, node, true)?;
    }
    world.claim_writes(liar, writer, false)?;
    world.put(writer, 5..9, 100)?;
    let origin = world.nodes[writer].origins().expect("it has written")[0];
    let made = world.nodes[writer].vector().get(origin);
    let is_believed = |world: &mut World| world.nodes[other].vector().get(origin) > made;
    hold!(world.run_until(SOON_MS, is_believed)?, "nobody believes the claim");
    for node in [liar, other] {
        world.uncut(writer, node)?;
    }
    let has_all = |world: &mut World| world.reads(other, 0..9).len() == 9;
    hold!(world.run_until(SOON_MS, has_all)?, "writes are lost for a claim to have them");
    hold!(world.count_of(Event::ClaimNoticed) > 0, "the writer does not report the claim");

    // From now on the writer is asked.
    let before = world.count_of(Event::ClaimDisowned);
    // Without a backlog, what the liar has written during a cut comes in a session. Its own store, which is true to the
    // protocol, does not find out as long as it hears nothing of the writer.
    for node in [other, writer] {
        world.cut(liar, node, true)?;
    }
    world.claim_writes(liar, writer, false)?;
    world.put(writer, 9..12, 100)?;
    world.put(liar, 12..15, 100)?;
    world.uncut(liar, other)?;
    let has_all = |world: &mut World| world.reads(other, 0..15).len() == 15;
    hold!(world.run_until(SOON_MS, has_all)?, "a claim is believed although the writer is linked");
    let disowned = world.count_of(Event::ClaimDisowned) - before;
    hold!(disowned == 0, "it is believed once more");
    world.uncut(liar, writer)?;
    world.finish()
}
