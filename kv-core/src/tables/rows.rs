//! The rows of keys in both of their tables: entries and tombstones.

use std::{
    collections::VecDeque,
    ops::{Bound, ControlFlow},
};

use bytes::Bytes;

use super::{entries::Place, entry_key::EntryKey};
use crate::engine::{EngineError, Order, Snapshot, Table};

/// Most tombstones that a walk reads ahead of the entries.
const AHEAD: usize = 128;

/// Visits a row, and returns whether to continue.
type RowVisitor<'v> = &'v mut dyn FnMut(Place<'_>, &[u8]) -> ControlFlow<()>;

/// Reads the row of a key, an entry or a tombstone, and the table that has it.
pub(crate) fn row(
    snapshot: &impl Snapshot,
    key: &EntryKey,
) -> Result<Option<(Table, Bytes)>, EngineError> {
    for table in [Table::Entries, Table::Deleted] {
        if let Some(row) = snapshot.get(table, key.as_bytes())? {
            return Ok(Some((table, row)));
        }
    }
    Ok(None)
}

/// Visits the rows of both tables between two keys, in the order of their keys, until the visitor breaks.
pub(crate) fn visit_rows<S: Snapshot>(
    snapshot: &S,
    bounds: (Bound<&[u8]>, Bound<&[u8]>),
    visit: RowVisitor<'_>,
) -> Result<(), EngineError> {
    let mut tombstones = Tombstones { snapshot, bounds, ahead: VecDeque::new(), last: None };
    let mut flow = Ok(ControlFlow::Continue(()));
    snapshot.range(Table::Entries, bounds, Order::Ascending, &mut |key, row| {
        flow = tombstones.visit_before(Some(key), visit);
        if let Ok(ControlFlow::Continue(())) = flow {
            flow = Ok(visit((Table::Entries, key), row));
        }
        *flow.as_ref().unwrap_or(&ControlFlow::Break(()))
    })?;
    match flow? {
        ControlFlow::Continue(()) => {
            tombstones.visit_before(None, visit).map(|_whether_to_go_on| ())
        }
        ControlFlow::Break(()) => Ok(()),
    }
}

/// The tombstones of a walk.
struct Tombstones<'a, S> {
    /// The rows.
    snapshot: &'a S,
    /// The bounds of the walk.
    bounds: (Bound<&'a [u8]>, Bound<&'a [u8]>),
    /// The next ones.
    ahead: VecDeque<(Vec<u8>, Vec<u8>)>,
    /// The key of the last row that was read; empty once there are no more.
    last: Option<Vec<u8>>,
}

impl<S: Snapshot> Tombstones<'_, S> {
    /// Visits those before a key, or all that are left. One under the key itself is passed over: damage has left two
    /// rows, and the entry counts.
    fn visit_before(
        &mut self,
        key: Option<&[u8]>,
        visit: RowVisitor<'_>,
    ) -> Result<ControlFlow<()>, EngineError> {
        while self.has_next()? {
            let Some((next, _)) = self.ahead.front() else { break };
            if key.is_some_and(|key| next[..] > *key) {
                break;
            }
            let Some((next, row)) = self.ahead.pop_front() else { break };
            if key.is_none_or(|key| next[..] < *key)
                && visit((Table::Deleted, &next), &row).is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Whether there is another one; reads ahead.
    fn has_next(&mut self) -> Result<bool, EngineError> {
        let (lower, upper) = self.bounds;
        let lower = match &self.last {
            _ if !self.ahead.is_empty() => return Ok(true),
            Some(last) if last.is_empty() => return Ok(false),
            Some(last) => Bound::Excluded(&last[..]),
            None => lower,
        };
        let ahead = &mut self.ahead;
        self.snapshot.range(
            Table::Deleted,
            (lower, upper),
            Order::Ascending,
            &mut |key, row| {
                ahead.push_back((key.to_vec(), row.to_vec()));
                if ahead.len() < AHEAD { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            },
        )?;
        let is_end = self.ahead.len() < AHEAD;
        let last = self.ahead.back().filter(|_| !is_end).map(|(key, _)| key.clone());
        self.last = Some(last.unwrap_or_default());
        Ok(!self.ahead.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::{Engine as _, Visibility, disk, redb::RedbEngine};

    /// The rows of a table, by numbers that are their keys.
    fn rows_of(
        table: Table,
        keys: &[u16],
    ) -> impl Iterator<Item = (Table, Vec<u8>, Option<Vec<u8>>)> {
        keys.iter().map(move |key| (table, key.to_be_bytes().to_vec(), Some(vec![table.number()])))
    }

    fn bound(end: &Bound<u16>) -> Bound<[u8; 2]> {
        end.as_ref().map(|key| key.to_be_bytes())
    }

    fn any_bound() -> impl Strategy<Value = Bound<u16>> {
        (0..500u16).prop_flat_map(|key| {
            prop_oneof![
                Just(Bound::Unbounded),
                Just(Bound::Included(key)),
                Just(Bound::Excluded(key))
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_walk_visits_both_tables_in_the_order_of_keys_and_an_entry_before_its_tombstone(
            entries in proptest::collection::btree_set(0..500u16, 0..300),
            tombstones in proptest::collection::btree_set(0..500u16, 0..400),
            (lower, upper) in (any_bound(), any_bound()),
            limit in 1..700usize,
        ) {
            let engine = RedbEngine::open(disk::memory(), 1 << 20).unwrap();
            let (of_entries, of_tombstones): (Vec<_>, Vec<_>) =
                (entries.iter().copied().collect(), tombstones.iter().copied().collect());
            let batch = rows_of(Table::Entries, &of_entries)
                .chain(rows_of(Table::Deleted, &of_tombstones));
            engine.commit(engine.status().latest + 1, batch.collect()).unwrap();
            let snapshot = engine.snapshot(Visibility::Latest).unwrap();
            let (from, to) = (bound(&lower), bound(&upper));
            let bounds = (from.as_ref().map(|key| &key[..]), to.as_ref().map(|key| &key[..]));
            let mut seen = Vec::new();
            visit_rows(&snapshot, bounds, &mut |(table, key), row| {
                assert_eq!(row, [table.number()]);
                seen.push((u16::from_be_bytes(key.try_into().unwrap()), table));
                if seen.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
            .unwrap();
            let is_in = |key: &&u16| std::ops::RangeBounds::contains(&(lower, upper), *key);
            let all = entries.union(&tombstones).filter(is_in);
            let table = |key| if entries.contains(key) { Table::Entries } else { Table::Deleted };
            let expected: Vec<_> = all.map(|key| (*key, table(key))).take(limit).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
