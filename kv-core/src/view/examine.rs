//! The examination of a whole store: every checksum, the dot index both ways, the chunks of large values, bodies that
//! nothing refers to, and what is dated in the future. It only reads, in one view. [`Repair`] says what may follow;
//! damaged and missing rows of the dot index are left to its check (`commit/index`), after which peers begin again.

use std::ops::{Bound, ControlFlow};

use super::{
    bodies::Bodies,
    damage::Met,
    examination::{Defect, EntryName, Examination, Repair},
    point::View,
};
use crate::{
    engine::{EngineError, Order, Snapshot, Table},
    error::ReadError,
    tables::{
        self, ChunkKey, Dots, EntryKey, IndexedDot, Layout, LocalParts, Part, Place, check_row,
        decode_entry, decode_head,
    },
    types::{BodyId, Dot, Found, Hlc, Key, NamespaceId, limits::CHUNK_BYTES},
};

/// How many rows are read at a time at most, and after how many bytes of rows no more are.
const STEP_ROWS: usize = 1024;
const STEP_BYTES: usize = 4 << 20;

/// How many large bodies are compared with the entries in one walk over these, in 12 MiB. If there are more, the entries that
/// refer to bodies are walked again for the next ones.
const BODIES_AT_ONCE: usize = 1 << 19;

/// The key and the row, as they are in a table.
type Row = (Vec<u8>, Vec<u8>);

/// Checks one row, by its key. The walk ends where it breaks, before the row counts as read.
type Visit<'v> =
    dyn FnMut(&mut Examination, &[u8], &[u8]) -> Result<ControlFlow<()>, ReadError> + 'v;

/// Goes on with the next row.
const NEXT: Result<ControlFlow<()>, ReadError> = Ok(ControlFlow::Continue(()));

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
        self.examine_in_parts(latest_ms, BODIES_AT_ONCE, progress)
    }

    /// Examines every row, with at most so many bodies in memory.
    pub(crate) fn examine_in_parts(
        &self,
        latest_ms: u64,
        bodies_at_once: usize,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Examination, ReadError> {
        let mut found = Examination::of_index(self.index);
        let mut bodies = Bodies::from(BodyId(0), bodies_at_once);
        self.examine_chunks(&mut found, &mut bodies, progress)?;
        for table in [Table::Entries, Table::Deleted] {
            self.examine_rows(table, (&mut found, &mut bodies), (latest_ms, &mut *progress))?;
        }
        self.examine_index(&mut found, progress)?;
        let rest = Table::ALL.into_iter().filter(|table| !is_examined(*table));
        for table in rest {
            self.examine_table(&mut found, table, progress)?;
        }
        self.examine_orphans(&mut found, &mut bodies)?;
        while let Some(next) = bodies.next() {
            bodies = Bodies::from(next, bodies_at_once);
            self.examine_chunks(&mut found, &mut bodies, progress)?;
            self.examine_large(&mut found, &mut bodies)?;
            self.examine_orphans(&mut found, &mut bodies)?;
        }
        Ok(found)
    }

    /// Requests a check of the dot index, if an examination has found that it needs one.
    pub(crate) fn note_examined(&self, found: &Examination) {
        if found.needs_index_check() {
            self.note_index_as_of(found.index);
        }
    }

    /// Reads the next rows of a table, from a bound on.
    fn rows_from(&self, table: Table, lower: Bound<&[u8]>) -> Result<Vec<Row>, EngineError> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        let bounds = (lower, Bound::Unbounded);
        self.snapshot.range(table, bounds, Order::Ascending, &mut |key, row| {
            bytes += row.len();
            rows.push((key.to_vec(), row.to_vec()));
            let is_full = rows.len() >= STEP_ROWS || bytes >= STEP_BYTES;
            if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(rows)
    }

    /// Visits each row of a table from a bound on. Nothing is pinned in between but the view.
    fn each_row(
        &self,
        (table, mut lower): (Table, Bound<Vec<u8>>),
        (found, progress): (&mut Examination, &mut dyn FnMut(u64)),
        visit: &mut Visit<'_>,
    ) -> Result<(), ReadError> {
        loop {
            let rows = self.rows_from(table, lower.as_ref().map(Vec::as_slice))?;
            for (key, row) in &rows {
                if visit(found, key, row)?.is_break() {
                    return Ok(());
                }
                found.rows += 1;
            }
            progress(found.rows);
            match rows.into_iter().next_back() {
                Some((last, _)) => lower = Bound::Excluded(last),
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
        self.each_row((table, Bound::Unbounded), (found, progress), &mut |found, key, row| {
            if check_row(table, key, row).is_err() {
                found.add_damaged_row(table);
            }
            NEXT
        })
    }

    /// Checks the chunks of the next bodies.
    fn examine_chunks(
        &self,
        found: &mut Examination,
        bodies: &mut Bodies,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ReadError> {
        let first = tables::Chunks::key(&ChunkKey { body: bodies.first(), index: 0 });
        let from = (Table::Chunks, Bound::Included(first));
        self.each_row(from, (found, progress), &mut |found, key, row| {
            let Ok(place) = tables::Chunks::read_key(key) else {
                found.add_damaged_row(Table::Chunks);
                return NEXT;
            };
            let is_readable = check_row(Table::Chunks, key, row).is_ok();
            let added = bodies.add((place.body, place.index), row.len() as u64, is_readable);
            if added.is_continue() && !is_readable {
                found.add_damaged_row(Table::Chunks);
            }
            Ok(added)
        })
    }

    /// Checks the rows of keys in one of their tables: their dots, their dates, and the chunks of the first bodies.
    fn examine_rows(
        &self,
        table: Table,
        (found, bodies): (&mut Examination, &mut Bodies),
        (latest_ms, progress): (u64, &mut dyn FnMut(u64)),
    ) -> Result<(), ReadError> {
        self.each_row((table, Bound::Unbounded), (found, progress), &mut |found, key, row| {
            found.entries += 1;
            let Ok(entry) = EntryKey::read(key) else {
                found.add_damaged_row(table);
                return NEXT;
            };
            if table == Table::Deleted && self.has_entry(&entry)? {
                // Readers take the entry.
                found.add_damaged_row(table);
                return NEXT;
            }
            match decode_entry((table, key), row, &self.origins) {
                Ok((head, _value)) => {
                    examine_body(found, (&entry, &head), bodies);
                    self.examine_dots(found, (&entry, &head))?;
                    if head.version.hlc > Hlc::at_millis(latest_ms) {
                        found.future.add((name(&entry), head.version.hlc.millis()));
                    }
                }
                Err(_damaged) => {
                    found.damaged.add(name(&entry));
                    found.has_unread_entries = true;
                    found.meet(entry, Met::Row);
                }
            }
            NEXT
        })
    }

    /// Checks the chunks of further bodies, for the entries that refer to them. Everything else of the entries was examined.
    fn examine_large(&self, found: &mut Examination, bodies: &mut Bodies) -> Result<(), ReadError> {
        let rows = found.rows;
        let from = (Table::Entries, Bound::Unbounded);
        self.each_row(from, (&mut *found, &mut |_rows| {}), &mut |found, key, row| {
            let Ok(entry) = EntryKey::read(key) else { return NEXT };
            if let Ok((head, _value)) = decode_entry((Table::Entries, key), row, &self.origins) {
                examine_body(found, (&entry, &head), bodies);
            }
            NEXT
        })?;
        found.rows = rows;
        Ok(())
    }

    /// Whether a key has a row among the entries.
    fn has_entry(&self, key: &EntryKey) -> Result<bool, EngineError> {
        Ok(self.snapshot.get(Table::Entries, key.as_bytes())?.is_some())
    }

    /// Checks whether the index names an entry under each of its dots.
    fn examine_dots(
        &self,
        found: &mut Examination,
        (entry, head): (&EntryKey, &Found<()>),
    ) -> Result<(), ReadError> {
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
        let from = (Table::Dots, Bound::Unbounded);
        self.each_row(from, (found, progress), &mut |found, key, row| {
            let Ok((dot, entry)) = tables::decode::<Dots>(key, row) else {
                found.add_damaged_row(Table::Dots);
                return NEXT;
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
            NEXT
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
        bodies: &mut Bodies,
    ) -> Result<(), ReadError> {
        let unread = [Table::Entries, Table::Local, Table::Pending];
        let is_unread = |table: &Table| found.damaged_rows.contains_key(table);
        if found.has_unread_entries || unread.iter().any(is_unread) {
            return Ok(());
        }
        self.refer_to_others(bodies)?;
        for stored in bodies.unused() {
            found.orphans.add(stored.body);
            found.orphaned_bytes += stored.bytes;
            found.repair(Repair(Defect::Orphan(stored.body)));
        }
        Ok(())
    }

    /// The location's own data and the pending table refer to bodies too.
    fn refer_to_others(&self, bodies: &mut Bodies) -> Result<(), ReadError> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        tables::visit::<LocalParts>(&self.snapshot, all, &mut |(_, row)| {
            let parts = row.map(|(_, parts)| parts).unwrap_or_default();
            for part in parts {
                if let Part::Large(large) = part {
                    bodies.refer(large.body);
                }
            }
            ControlFlow::Continue(())
        })?;
        tables::visit::<tables::Pending>(&self.snapshot, all, &mut |(_, row)| {
            if let Ok((body, ())) = row {
                bodies.refer(body);
            }
            ControlFlow::Continue(())
        })?;
        Ok(())
    }
}

/// Checks the chunks of an entry, if its body is among these.
fn examine_body(
    found: &mut Examination,
    (entry, head): (&EntryKey, &Found<()>),
    bodies: &mut Bodies,
) {
    let Some(large) = head.large() else { return };
    let Some(whole) = bodies.refer(large.body) else { return };
    if u64::from(whole) < large.len.div_ceil(CHUNK_BYTES as u64) {
        found.damaged.add(name(entry));
        found.meet(entry.clone(), Met::Chunk { body: large.body, index: whole });
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
