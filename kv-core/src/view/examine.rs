//! The examination of a whole store: every checksum, the dot index both ways, the chunks of large values, bodies that
//! nothing refers to, and what is dated in the future. It only reads, in one view. [`Repair`] says what may follow;
//! damaged and missing rows of the dot index are left to its check (`commit/index`), after which peers begin again.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Bound, ControlFlow},
};

use super::{
    damage::Met,
    examination::{Defect, EntryName, Examination, Repair},
    point::View,
};
use crate::{
    engine::{EngineError, Order, Snapshot, Table},
    error::ReadError,
    tables::{
        self, Dots, EntryKey, IndexedDot, Layout, LocalParts, Part, Place, check_row, decode_entry,
        decode_head,
    },
    types::{BodyId, Dot, Found, Hlc, Key, NamespaceId, limits::CHUNK_BYTES},
};

/// How many rows are read at a time at most, and after how many bytes of rows no more are.
const STEP_ROWS: usize = 1024;
const STEP_BYTES: usize = 4 << 20;

/// The key and the row, as they are in a table.
type Row = (Vec<u8>, Vec<u8>);

/// Checks one row, by its key.
type Visit<'v> = dyn FnMut(&mut Examination, &[u8], &[u8]) -> Result<(), ReadError> + 'v;

/// The chunks of a body.
#[derive(Clone, Copy, Debug, Default)]
struct Stored {
    /// How many there are from the first one on without a gap.
    whole: u32,
    /// The bytes of all chunks.
    bytes: u64,
}

impl<S: Snapshot> View<S> {
    /// Examines every row. Entries are dated in the future if their time is later than `latest_ms`, in Unix milliseconds.
    /// `progress` is called from time to time with the number of rows read.
    ///
    /// # Errors
    /// If the engine can't read. Damaged rows are findings and no errors.
    pub fn examine(
        &self,
        latest_ms: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Examination, ReadError> {
        let mut found = Examination::of_index(self.index);
        let bodies = self.examine_chunks(&mut found, progress)?;
        let used = self.examine_entries(&mut found, &bodies, (latest_ms, &mut *progress))?;
        self.examine_index(&mut found, progress)?;
        let rest = Table::ALL.into_iter().filter(|table| !is_examined(*table));
        for table in rest {
            self.examine_table(&mut found, table, progress)?;
        }
        self.examine_orphans(&mut found, &bodies, used)?;
        Ok(found)
    }

    /// Requests a check of the dot index, if an examination has found that it needs one.
    pub(crate) fn note_examined(&self, found: &Examination) {
        if found.needs_index_check() {
            self.note_index_as_of(found.index);
        }
    }

    /// Reads the next rows of a table, behind a key.
    fn rows_behind(&self, table: Table, after: Option<&[u8]>) -> Result<Vec<Row>, EngineError> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        let bounds = (lower, Bound::Unbounded);
        self.snapshot.range(table, bounds, Order::Ascending, &mut |key, row| {
            bytes += row.len();
            rows.push((key.to_vec(), row.to_vec()));
            let is_full = rows.len() >= STEP_ROWS || bytes >= STEP_BYTES;
            if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(rows)
    }

    /// Visits each row of a table. Nothing is pinned in between but the view.
    fn each_row(
        &self,
        table: Table,
        (found, progress): (&mut Examination, &mut dyn FnMut(u64)),
        visit: &mut Visit<'_>,
    ) -> Result<(), ReadError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.rows_behind(table, after.as_deref())?;
            for (key, row) in &rows {
                visit(found, key, row)?;
            }
            found.rows += rows.len() as u64;
            progress(found.rows);
            match rows.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// Checks the rows of a table one by one.
    fn examine_table(
        &self,
        found: &mut Examination,
        table: Table,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ReadError> {
        self.each_row(table, (found, progress), &mut |found, key, row| {
            if check_row(table, key, row).is_err() {
                *found.damaged_rows.entry(table).or_default() += 1;
            }
            Ok(())
        })
    }

    /// Checks all chunks. Returns what is stored of each body.
    fn examine_chunks(
        &self,
        found: &mut Examination,
        progress: &mut dyn FnMut(u64),
    ) -> Result<BTreeMap<BodyId, Stored>, ReadError> {
        let mut bodies: BTreeMap<BodyId, Stored> = BTreeMap::new();
        self.each_row(Table::Chunks, (found, progress), &mut |found, key, row| {
            let Ok(place) = tables::Chunks::read_key(key) else {
                *found.damaged_rows.entry(Table::Chunks).or_default() += 1;
                return Ok(());
            };
            let stored = bodies.entry(place.body).or_default();
            stored.bytes += row.len() as u64;
            if check_row(Table::Chunks, key, row).is_err() {
                *found.damaged_rows.entry(Table::Chunks).or_default() += 1;
            } else if stored.whole == place.index {
                stored.whole += 1;
            }
            Ok(())
        })?;
        Ok(bodies)
    }

    /// Checks all entries, their chunks, their dots and their dates. Returns the bodies that they refer to.
    fn examine_entries(
        &self,
        found: &mut Examination,
        bodies: &BTreeMap<BodyId, Stored>,
        (latest_ms, progress): (u64, &mut dyn FnMut(u64)),
    ) -> Result<BTreeSet<BodyId>, ReadError> {
        let mut used = BTreeSet::new();
        for table in [Table::Entries, Table::Deleted] {
            self.examine_rows(table, (found, bodies, &mut used), (latest_ms, progress))?;
        }
        Ok(used)
    }

    /// Checks the rows of keys in one of their tables.
    fn examine_rows(
        &self,
        table: Table,
        (found, bodies, used): (&mut Examination, &BTreeMap<BodyId, Stored>, &mut BTreeSet<BodyId>),
        (latest_ms, progress): (u64, &mut dyn FnMut(u64)),
    ) -> Result<(), ReadError> {
        self.each_row(table, (found, progress), &mut |found, key, row| {
            found.entries += 1;
            let Ok(entry) = EntryKey::read(key) else {
                *found.damaged_rows.entry(table).or_default() += 1;
                return Ok(());
            };
            if table == Table::Deleted && self.has_entry(&entry)? {
                // Readers take the entry.
                *found.damaged_rows.entry(table).or_default() += 1;
                return Ok(());
            }
            match decode_entry((table, key), row, &self.origins) {
                Ok((head, _value)) => {
                    self.examine_entry(found, (&entry, &head), bodies, used)?;
                    if head.version.hlc > Hlc::at_millis(latest_ms) {
                        found.future.add((name(&entry), head.version.hlc.millis()));
                    }
                }
                Err(_damaged) => {
                    found.damaged.add(name(&entry));
                    found.meet(entry, Met::Row);
                }
            }
            Ok(())
        })
    }

    /// Whether a key has a row among the entries.
    fn has_entry(&self, key: &EntryKey) -> Result<bool, EngineError> {
        Ok(self.snapshot.get(Table::Entries, key.as_bytes())?.is_some())
    }

    /// Checks the chunks of an entry, and whether the index names it under each of its dots.
    fn examine_entry(
        &self,
        found: &mut Examination,
        (entry, head): (&EntryKey, &Found<()>),
        bodies: &BTreeMap<BodyId, Stored>,
        used: &mut BTreeSet<BodyId>,
    ) -> Result<(), ReadError> {
        if let Some(large) = head.large() {
            used.insert(large.body);
            let whole = bodies.get(&large.body).copied().unwrap_or_default().whole;
            if u64::from(whole) < large.len.div_ceil(CHUNK_BYTES as u64) {
                found.damaged.add(name(entry));
                found.meet(entry.clone(), Met::Chunk { body: large.body, index: whole });
            }
        }
        for dot in head.dots() {
            let number = self.origins.number(dot.origin);
            let indexed = number.map(|origin| IndexedDot { origin, seq: dot.seq });
            let named = indexed.map(|dot| self.indexed(&dot)).transpose();
            let is_named = match named {
                Ok(named) => named.flatten().as_ref() == Some(entry),
                Err(ReadError::Damaged { .. }) => false,
                Err(error) => return Err(error),
            };
            if !is_named {
                found.unindexed.add(name(entry));
                break;
            }
        }
        Ok(())
    }

    /// Checks whether each row of the dot index names an entry of its dot. Entries that can't be read, and those that a
    /// source could not send, are named although that is not known.
    fn examine_index(
        &self,
        found: &mut Examination,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ReadError> {
        self.each_row(Table::Dots, (found, progress), &mut |found, key, row| {
            let Ok((dot, entry)) = tables::decode::<Dots>(key, row) else {
                *found.damaged_rows.entry(Table::Dots).or_default() += 1;
                return Ok(());
            };
            let (namespace, key) = entry.split();
            let is_wrong = match self.names(dot, &entry) {
                Err(ReadError::Damaged { .. }) => false,
                named => {
                    let is_accounted = named?
                        || self.owed.get(namespace, key).is_some()
                        || self.has_collected(dot);
                    !is_accounted && !self.may_have_ended(&entry)?
                }
            };
            if is_wrong {
                found.misindexed += 1;
                found.repair(Repair(Defect::Misindexed(dot)));
            }
            Ok(())
        })
    }

    /// Whether a row of the dot index names an entry of its dot. Damage is not noted: it is a finding.
    pub(crate) fn names(&self, dot: IndexedDot, entry: &EntryKey) -> Result<bool, ReadError> {
        let Ok(origin) = self.origins.id(dot.origin) else { return Ok(false) };
        let Some((table, row)) = tables::row(&self.snapshot, entry)? else { return Ok(false) };
        let place: Place<'_> = (table, entry.as_bytes());
        let head = decode_head(place, &row, &self.origins).map_err(ReadError::damaged(table))?;
        Ok(head.dots().contains(&Dot { origin, seq: dot.seq }))
    }

    /// Whether there is no row of an entry, and nobody knows how it ended: its tombstone, or its last row in a namespace that
    /// was dropped, was damaged. Other locations that lack a write of it must be told, and so its rows of the index stay.
    pub(crate) fn may_have_ended(&self, entry: &EntryKey) -> Result<bool, ReadError> {
        let has_others = self.members.current().any(|member| member.id != self.member);
        let is_deletable = entry.split().0 != NamespaceId::SYSTEM;
        Ok(has_others && is_deletable && tables::row(&self.snapshot, entry)?.is_none())
    }

    /// Whether a tombstone of this dot may have been collected: a sweep leaves its row in the index for a while.
    fn has_collected(&self, dot: IndexedDot) -> bool {
        let origin = self.origins.id(dot.origin);
        origin.is_ok_and(|origin| self.collected.covers(Dot { origin, seq: dot.seq }))
    }

    /// Finds the bodies that neither an entry, nor the location's own data, nor the pending table refers to. None are
    /// looked for if a row that may refer to one can't be read.
    fn examine_orphans(
        &self,
        found: &mut Examination,
        bodies: &BTreeMap<BodyId, Stored>,
        mut used: BTreeSet<BodyId>,
    ) -> Result<(), ReadError> {
        let unread = [Table::Entries, Table::Local, Table::Pending];
        let is_unread = |table: &Table| found.damaged_rows.contains_key(table);
        if found.damaged.count > 0 || unread.iter().any(is_unread) {
            return Ok(());
        }
        self.bodies_of_others(&mut used)?;
        for (body, stored) in bodies.iter().filter(|(body, _)| !used.contains(body)) {
            found.orphans.add(*body);
            found.orphaned_bytes += stored.bytes;
            found.repair(Repair(Defect::Orphan(*body)));
        }
        Ok(())
    }

    /// The bodies of the location's own data, and those in the pending table.
    fn bodies_of_others(&self, used: &mut BTreeSet<BodyId>) -> Result<(), ReadError> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        tables::visit::<LocalParts>(&self.snapshot, all, &mut |(_, row)| {
            let parts = row.map(|(_, parts)| parts).unwrap_or_default();
            used.extend(parts.into_iter().filter_map(|part| match part {
                Part::Large(large) => Some(large.body),
                Part::Inline(_) => None,
            }));
            ControlFlow::Continue(())
        })?;
        tables::visit::<tables::Pending>(&self.snapshot, all, &mut |(_, row)| {
            used.extend(row.map(|(body, ())| body));
            ControlFlow::Continue(())
        })?;
        Ok(())
    }
}

/// The name of an entry.
fn name(entry: &EntryKey) -> EntryName {
    let (namespace, key) = entry.split();
    (namespace, Key::new(key).expect("the key of an entry is valid"))
}

/// Whether a table has an examination of its own.
fn is_examined(table: Table) -> bool {
    matches!(table, Table::Chunks | Table::Entries | Table::Deleted | Table::Dots)
}
