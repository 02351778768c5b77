//! The findings of an examination of a whole store, and those that can be repaired.

use std::collections::BTreeMap;

use super::damage::{Met, MetDamage};
use crate::{
    engine::Table,
    tables::{EntryKey, IndexedDot},
    types::{BodyId, Key, NamespaceId},
};

/// The most findings of a kind that are kept; all are counted.
const MAX_FOUND: usize = 10_000;

/// The most repairs that are kept, in some MiB; all findings are counted.
const MAX_REPAIRS: usize = 1 << 18;

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
    /// Adds one.
    pub(super) fn add(&mut self, found: T) {
        self.count += 1;
        if self.first.len() < MAX_FOUND {
            self.first.push(found);
        }
    }
}

/// An entry, by its name.
pub type EntryName = (NamespaceId, Key);

/// The findings of an examination.
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
    /// Rows of the dot index that name an entry of another dot, or none: a catch-up reads them without use. Those that
    /// a sweep has left are not among them: garbage collection removes them.
    pub misindexed: u64,
    /// Large bodies that nothing refers to: they use disk space.
    pub orphans: Findings<BodyId>,
    /// How many bytes these have.
    pub orphaned_bytes: u64,
    /// Entries that are dated in the future, with their times in Unix milliseconds: later writes of other keys are dated
    /// earlier, and an overwrite is dated later than they are.
    pub future: Findings<(EntryName, u64)>,
    /// The findings that can be repaired.
    repairs: Vec<Repair>,
    /// The damage of entries, for the store to record.
    met: Vec<MetDamage>,
    /// Whether a row of an entry can't be read, which may refer to any body.
    pub(super) has_unread_entries: bool,
    /// The number of the state of the index.
    pub(super) index: u64,
}

impl Examination {
    /// Creates that of a view with this number of the state of the index.
    pub(super) fn of_index(number: u64) -> Examination {
        Examination { index: number, ..Examination::default() }
    }

    /// Whether nothing is wrong. Entries that are dated in the future are not damage.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let counts =
            [self.damaged.count, self.unindexed.count, self.misindexed, self.orphans.count];
        counts.iter().all(|count| *count == 0) && self.damaged_rows.is_empty()
    }

    /// Whether the dot index lacks entries or has damaged rows: it must be checked against the entries.
    #[must_use]
    pub fn needs_index_check(&self) -> bool {
        self.unindexed.count > 0 || self.damaged_rows.contains_key(&Table::Dots)
    }

    /// Returns what can be repaired beside that: rows of the dot index that name no entry, and bodies that nothing refers
    /// to.
    #[must_use]
    pub fn repairs(&self) -> &[Repair] {
        &self.repairs
    }

    /// Returns how many findings of these kinds there are beyond the [repairs](Examination::repairs) that are kept: another
    /// examination finds them again.
    #[must_use]
    pub fn repairs_left(&self) -> u64 {
        (self.misindexed + self.orphans.count).saturating_sub(self.repairs.len() as u64)
    }

    /// Returns the damage of entries. A store that records it requests the entries from the other locations.
    #[must_use]
    pub fn met(&self) -> &[MetDamage] {
        &self.met
    }

    /// Counts a damaged row of a table.
    pub(super) fn add_damaged_row(&mut self, table: Table) {
        *self.damaged_rows.entry(table).or_default() += 1;
    }

    /// Keeps a repair.
    pub(super) fn repair(&mut self, repair: Repair) {
        if self.repairs.len() < MAX_REPAIRS {
            self.repairs.push(repair);
        }
    }

    /// Keeps the damage of an entry, for the store to record.
    pub(super) fn meet(&mut self, entry: EntryKey, met: Met) {
        if self.met.len() < MAX_FOUND {
            self.met.push(MetDamage { entry, met });
        }
    }
}

/// A repair. It is checked again when it is made, because the store may have changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair(pub(crate) Defect);

/// What was repaired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Rows of the dot index that were removed. One that had become right meanwhile is none of them.
    pub rows: u64,
    /// Bodies that garbage collection frees from now on. One that had begun to be freed meanwhile is none of them.
    pub bodies: u64,
    /// Damaged entries that are recorded now, whether they were before or not.
    pub recorded: u64,
}

impl std::ops::AddAssign for Repaired {
    fn add_assign(&mut self, more: Repaired) {
        self.rows += more.rows;
        self.bodies += more.bodies;
        self.recorded += more.recorded;
    }
}

/// The row or the body that a repair changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// This row of the dot index names an entry that is not of its dot.
    Misindexed(IndexedDot),
    /// Nothing refers to this body.
    Orphan(BodyId),
}
