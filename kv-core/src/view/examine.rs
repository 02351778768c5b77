//! The examination of a whole store: every checksum, the dot index both ways, the chunks of large values, bodies that
//! nothing refers to, and what is dated in the future. It only reads, in one view; [`Repair`] says what may follow.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Bound, ControlFlow},
};

use super::{damage::Met, point::View};
use crate::{
    engine::{EngineError, Order, Snapshot, Table},
    error::ReadError,
    tables::{self, Dots, EntryKey, IndexedDot, Layout, LocalParts, Part, check_row, decode_entry},
    types::{BodyId, Found, Hlc, Key, NamespaceId, limits::CHUNK_BYTES},
    view::MetDamage,
};

/// The most findings of a kind that are kept; all are counted.
const MAX_FOUND: usize = 10_000;

/// How many rows are read at a time.
const STEP_ROWS: usize = 1024;

/// Findings of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings<T> {
    /// How many there are.
    pub count: u64,
    /// The first 10,000 of them.
    pub first: Vec<T>,
}

impl<T> Default for Findings<T> {
    fn default() -> Self {
        Findings { count: 0, first: Vec::new() }
    }
}

impl<T> Findings<T> {
    fn add(&mut self, found: T) {
        self.count += 1;
        if self.first.len() < MAX_FOUND {
            self.first.push(found);
        }
    }
}

/// An entry, by its name.
pub type EntryName = (NamespaceId, Key);

/// What an examination has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Examination {
    /// The rows that were read, of all tables.
    pub rows: u64,
    /// The entries and tombstones among them.
    pub entries: u64,
    /// Entries whose row fails its checksum, or whose value lacks a chunk or has a damaged one. Those that the store has
    /// recorded before are among them.
    pub damaged: Findings<EntryName>,
    /// Rows of other tables that fail their checksums, by table.
    pub damaged_rows: BTreeMap<Table, u64>,
    /// Entries that the dot index does not name under one of their dots: a catch-up would leave them out.
    pub unindexed: Findings<EntryName>,
    /// Rows of the dot index that name an entry of another dot, or none: a catch-up reads them in vain.
    pub misindexed: u64,
    /// Large bodies that nothing refers to: they use disk space.
    pub orphans: Findings<BodyId>,
    /// How many bytes these have.
    pub orphaned_bytes: u64,
    /// Entries that are dated in the future, with their times in Unix milliseconds: later writes of other keys are dated
    /// earlier, and an overwrite is dated later than they are.
    pub future: Findings<(EntryName, u64)>,
    /// What can be repaired.
    repairs: Vec<Repair>,
    /// The damage of entries, for the store to record.
    met: Vec<MetDamage>,
}

impl Examination {
    /// Whether nothing is wrong. Entries that are dated in the future are no damage.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let counts =
            [self.damaged.count, self.unindexed.count, self.misindexed, self.orphans.count];
        counts.iter().all(|count| *count == 0) && self.damaged_rows.is_empty()
    }

    /// Returns what can be repaired in the store itself: rows of the dot index and bodies that nothing refers to.
    #[must_use]
    pub fn repairs(&self) -> &[Repair] {
        &self.repairs
    }

    /// Returns the damage of entries. A store that records it requests the entries from the other locations.
    #[must_use]
    pub fn met(&self) -> &[MetDamage] {
        &self.met
    }

    fn repair(&mut self, repair: Repair) {
        if self.repairs.len() < 3 * MAX_FOUND {
            self.repairs.push(repair);
        }
    }
}

/// A repair. It is checked again when it is made, because the store may have changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair(pub(crate) Defect);

/// What a repair is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// The dot index lacks this entry.
    Unindexed(EntryKey),
    /// This row of the dot index names an entry that is not of its dot.
    Misindexed(IndexedDot),
    /// Nothing refers to this body.
    Orphan(BodyId),
}

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
    /// `progress` is told now and then how many rows were read.
    ///
    /// # Errors
    /// If the engine can't read. Damaged rows are findings and no errors.
    pub fn examine(
        &self,
        latest_ms: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Examination, ReadError> {
        let mut found = Examination::default();
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

    /// Reads the next rows of a table, behind a key.
    fn rows_behind(&self, table: Table, after: Option<&[u8]>) -> Result<Vec<Row>, EngineError> {
        let mut rows = Vec::new();
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        let bounds = (lower, Bound::Unbounded);
        self.snapshot.range(table, bounds, Order::Ascending, &mut |key, row| {
            rows.push((key.to_vec(), row.to_vec()));
            if rows.len() < STEP_ROWS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
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
            match decode_entry((table, key), row, &self.origins) {
                Ok(read) => {
                    let (head, _value) = read;
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

    /// Checks the chunks of an entry, and whether the index names it under each of its dots.
    fn examine_entry<V>(
        &self,
        found: &mut Examination,
        (entry, head): (&EntryKey, &Found<V>),
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
            let named = indexed.map(|dot| tables::get::<Dots>(&self.snapshot, &dot)).transpose();
            let is_named = match named {
                Ok(named) => named.flatten().as_ref() == Some(entry),
                Err(ReadError::Damaged { .. }) => false,
                Err(error) => return Err(error),
            };
            if !is_named {
                found.unindexed.add(name(entry));
                found.repair(Repair(Defect::Unindexed(entry.clone())));
                break;
            }
        }
        Ok(())
    }

    /// Checks whether each row of the dot index names an entry of its dot. Entries that can't be read, and those that a
    /// source could not send, are named although that can't be told.
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
                named => !named? && self.owed.get(namespace, key).is_none(),
            };
            if is_wrong {
                found.misindexed += 1;
                found.repair(Repair(Defect::Misindexed(dot)));
            }
            Ok(())
        })
    }

    /// Whether a row of the dot index names an entry of its dot.
    pub(crate) fn names(&self, dot: IndexedDot, entry: &EntryKey) -> Result<bool, ReadError> {
        let Ok(origin) = self.origins.id(dot.origin) else { return Ok(false) };
        let (namespace, key) = entry.split();
        let dot = crate::types::Dot { origin, seq: dot.seq };
        Ok(self.row(namespace, key)?.is_some_and(|row| row.dots().contains(&dot)))
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

impl Examination {
    /// Keeps the damage of an entry, for the store to record.
    fn meet(&mut self, entry: EntryKey, met: Met) {
        if self.met.len() < MAX_FOUND {
            self.met.push(MetDamage { entry, met });
        }
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
