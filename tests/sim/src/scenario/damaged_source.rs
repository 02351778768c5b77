//! A location that missed writes catches up from one whose row, or chunk of a value, is damaged, while nobody else can
//! be reached. It must get everything else, know which key it lacks, and get that one once another location that has
//! it is back.

use waypost_disk_tests::{hold, violation::Checked};

use super::{BIG_BACKLOG, begin};
use crate::world::{World, damage::Place};

/// How long a catch-up may take.
const SOON_MS: u64 = 60_000;

/// Runs the scenario.
///
/// # Errors
/// The violation.
pub fn run(seed: u64) -> Checked {
    let (mut rng, mut world, order) = begin(seed, &[3], BIG_BACKLOG)?;
    let (source, other, late) = (order[0], order[1], order[2]);
    let place = if rng.chance(50) { Place::Row } else { Place::Chunk };
    // A value of one chunk travels in its row, and one of several is fetched.
    let bytes = match place {
        Place::Chunk => rng.weighted(&[(1, 10_000), (1, 100_000)]),
        Place::Row => rng.weighted(&[(2, 100), (1, 100_000)]),
    };
    world.put(source, 0..5, 100)?;
    world.rest()?;

    world.cut(source, late, true)?;
    world.cut(other, late, true)?;
    world.put(source, [0], bytes)?;
    world.put(source, 5..8, 100)?;
    let has_all = |world: &mut World| world.nodes[other].vector() == world.nodes[source].vector();
    hold!(world.run_until(SOON_MS, has_all)?, "a good link brings nothing");
    world.cut(source, other, true)?;
    world.damage_key(source, 0, place)?;
    let is_up = |world: &mut World| world.nodes[source].is_joined();
    hold!(world.run_until(SOON_MS, is_up)?, "a location with a damaged row does not start");
    world.uncut(source, late)?;
    let has_all = |world: &mut World| world.nodes[late].vector() == world.nodes[source].vector();
    hold!(world.run_until(SOON_MS, has_all)?, "a damaged row ends a catch-up");
    hold!(world.has(late, 7), "what can be read is missing");
    hold!(world.owes(late, 0), "a key that the source could not read is not known as missing");

    world.uncut(source, other)?;
    world.uncut(other, late)?;
    world.rest()?;
    hold!(world.has(late, 0) && world.has(source, 0), "a damaged row did not come back");
    world.finish()
}
