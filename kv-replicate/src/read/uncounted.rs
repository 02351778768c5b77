//! Finds the writes that a store holds and its vector does not count: rows of sessions that have not ended.

use std::collections::BTreeSet;

use kv_core::{OriginId, engine::Snapshot, view::View};

/// How many rows are read at a time.
const SLICE_ROWS: usize = 256;

/// A digest of the uncounted writes of some origins, 0 if there are none; none if the index of rows can't be read. It
/// costs a seek for each origin of the store, and a read for each row that it finds.
pub(super) fn digest<S: Snapshot>(view: &View<S>, origins: &BTreeSet<OriginId>) -> Option<u64> {
    // An origin may be counted although its opening row is owed.
    let mut since = view.vector().clone();
    let others = view.registry().iter().map(|info| info.id).filter(|id| !origins.contains(id));
    others.for_each(|origin| since.raise(origin, u64::MAX - 1));
    let (mut is_any, mut hasher) = (false, blake3::Hasher::new());
    let mut after = None;
    loop {
        let read = view.rows_missing_in(&since, after, SLICE_ROWS).ok()?;
        // A damaged one is here too: it is owed, and fetched by name.
        let damaged = read.damaged.iter().map(|damaged| damaged.dot);
        let dots: BTreeSet<_> =
            read.changes.iter().map(|change| change.found.dot).chain(damaged).collect();
        for dot in dots {
            is_any = true;
            hasher.update(&dot.origin.0);
            hasher.update(&dot.seq.to_be_bytes());
        }
        after = read.next;
        if after.is_none() {
            break;
        }
    }
    let first = hasher.finalize().as_bytes().first_chunk().copied();
    let digest = u64::from_be_bytes(first.expect("a hash has 32 bytes"));
    // 0 and the greatest number have meanings of their own.
    Some(if is_any { digest.clamp(1, u64::MAX - 1) } else { 0 })
}
