//! The opening rows of origins are damaged at the only source of their writes. A location that catches up from it, and a
//! new one that joins beside it, must get all the rest, and know what they lack, in one session.
//!
//! One row of a pair is made again of the other. If both are damaged, they come from another location that has them; if
//! there is none, the origins count as those of no member, and nothing waits for them any more.

use kv_core::OriginId;
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use super::{NO_BACKLOG, quiet, shuffled};
use crate::{events::Event, world::World};

/// How long a location may take to start, and to catch up.
const SOON_MS: u64 = 60_000;

/// How long it may take until all locations know what became of the rows.
const SETTLED_MS: u64 = 300_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let mut rng = Rng::new(seed);
    let mut plan = quiet(3, &mut rng);
    plan.batch_rows = rng.weighted(&[(1, 3), (1, 128)]);
    plan.backlog_bytes = NO_BACKLOG;
    let mut world = World::new(seed, plan, false)?;
    let order = shuffled(3, &mut rng);
    let (source, other, late) = (order[0], order[1], order[2]);
    world.put(late, 0..2, 100)?;
    world.rest()?;

    // Another location has the rows, and perhaps only these.
    let (others_have, knows_later) = (rng.chance(50), rng.chance(30));
    let is_one = rng.chance(40);
    world.cut(source, late, true)?;
    world.cut(other, late, true)?;
    if !others_have {
        world.cut(source, other, true)?;
    }
    // A process opens its origins with its first write after a start.
    world.lose_power_now(source)?;
    let is_up = |world: &mut World| world.nodes[source].is_joined();
    hold!(world.run_until(SOON_MS, is_up)?, "a location does not start");
    world.put(source, 2..5, 100)?;
    let Some(pair) = world.own_pair(source) else { return Ok(()) };
    if others_have {
        let has_all =
            |world: &mut World| world.nodes[other].vector() == world.nodes[source].vector();
        hold!(world.run_until(SOON_MS, has_all)?, "a good link brings nothing");
        world.cut(source, other, true)?;
    }
    if knows_later {
        world.uncut(source, late)?;
        let has_all =
            |world: &mut World| world.nodes[late].vector() == world.nodes[source].vector();
        hold!(world.run_until(SOON_MS, has_all)?, "a good link brings nothing");
        world.cut(source, late, true)?;
    }
    world.put(source, 5..8, 100)?;
    world.sync_now(source)?;
    let damaged = if is_one { &pair[rng.index(2)..][..1] } else { &pair[..] };
    let is_destroyed = !others_have && !knows_later && !is_one;
    if is_destroyed {
        world.destroy_openings(&pair);
    }
    world.damage_openings(source, damaged)?;
    hold!(world.run_until(SOON_MS, is_up)?, "a location with damaged rows does not start");
    world.put(source, 8..10, 100)?;

    let late = if rng.chance(30) {
        let new = world.come_new()?;
        for node in [other, late] {
            world.cut(node, new, false)?;
        }
        world.admit(new, source)?;
        new
    } else {
        late
    };
    catches_up(&mut world, (source, late), &pair)?;
    let links =
        [(source, other), (source, order[2]), (other, order[2]), (late, other), (late, order[2])];
    for (one, two) in links.into_iter().filter(|(one, two)| one != two) {
        world.uncut(one, two)?;
    }
    settles(&mut world, &pair)?;
    if is_destroyed {
        // Only the judge knows the content of the rows.
        return Ok(());
    }
    world.rest()?;
    world.finish()
}

/// All locations learn what became of the opening rows.
fn settles(world: &mut World, pair: &[OriginId; 2]) -> Checked {
    let is_settled = |world: &mut World| {
        (0..world.nodes.len()).all(|node| {
            let owes = pair.iter().any(|id| world.owes_opening(node, *id));
            !owes && world.knows_origins(node, pair)
        })
    };
    hold!(world.run_until(SETTLED_MS, is_settled)?, "an opening row stays owed");
    Ok(())
}

/// A location catches up from the one whose rows are damaged, in sessions that end.
fn catches_up(world: &mut World, (source, late): (usize, usize), pair: &[OriginId; 2]) -> Checked {
    world.uncut(source, late)?;
    let has_all = |world: &mut World| world.nodes[late].vector() == world.nodes[source].vector();
    hold!(world.run_until(SOON_MS, has_all)?, "a damaged opening row ends a catch-up");
    hold!((0..10).all(|number| world.has(late, number)), "what can be read is missing");
    let is_owed = pair.iter().any(|id| world.owes_opening(late, *id));
    let is_known = world.knows_origins(late, pair);
    hold!(is_owed || is_known, "a row that the source could not read is not known as missing");
    world.pass(7_000)?;
    let sessions = world.count_of(Event::SessionDone);
    world.pass(SOON_MS)?;
    hold!(world.count_of(Event::SessionDone) == sessions, "sessions repeat");
    Ok(())
}
