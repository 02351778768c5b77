//! The check of the dot index: its rows are made again of the entries.
//!
//! It begins when a reader meets a row of the index that is damaged or missing, and walks over the store in bounded steps
//! between commits. The first pass reads the entries: each must be in the index under all of its dots. The second one
//! reads the index. What is damaged there and is the dot of no entry that can be read was overwritten, or is the write of
//! an entry that is damaged too: such entries are owed, and the index must name them, so that a catch-up does.

use std::{
    collections::BTreeSet,
    mem,
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use super::{committer::Committer, transaction::Transaction};
use crate::{
    codec::DecodeError,
    engine::{Engine, Order, Snapshot, Table},
    error::{ReadError, WriteError},
    tables::{self, Dots, EntryKey, Layout, decode_head},
    types::{Dot, Found},
};

/// Most rows of a step: a few milliseconds, in which writers wait.
const STEP_ROWS: usize = 1024;

/// Most damaged rows of the index that one check looks at.
const MAX_LEFT: usize = 1024;

/// What is read of an entry's row: everything but its value.
type Head = Result<Found<()>, DecodeError>;

/// How far the check is.
#[derive(Clone, Debug, Default)]
pub(super) struct IndexCheck {
    /// The walk; none if none is under way.
    walk: Option<Walk>,
    /// How many keys were owed when a check ended that could not tell the keys of all damaged rows.
    undecided: Option<usize>,
}

/// The walk over the entries, and then over the index.
#[derive(Clone, Debug, Default)]
struct Walk {
    /// Whether the entries have been walked over.
    has_entries: bool,
    /// The row behind which the next step begins.
    after: Vec<u8>,
    /// The keys of damaged rows of the index.
    left: Vec<Vec<u8>>,
    /// The owed entries that the index names.
    named: BTreeSet<EntryKey>,
    /// How many rows were written or removed.
    repaired: usize,
}

impl IndexCheck {
    /// The store was read again after a failure: what was written may be lost.
    pub(super) fn begin_again(&mut self) {
        if let Some(walk) = &mut self.walk {
            *walk = Walk::default();
        }
    }

    /// Begins a check if damage was noted. Returns whether one is under way. One that could not tell everything is repeated
    /// only once another number of keys is owed.
    fn begin(&mut self, is_due: bool, owed: usize) -> bool {
        let is_useless = self.undecided == Some(owed);
        if self.walk.is_none() && !is_useless && (is_due || self.undecided.is_some()) {
            self.walk = Some(Walk::default());
        }
        self.walk.is_some()
    }
}

impl<E: Engine> Committer<E>
where
    E::Snapshot: Clone,
{
    /// Does a step of the check of the index, if one is due, in a commit of its own. Returns how many rows it wrote or
    /// removed, and whether there is more to do.
    pub(super) fn check_index(&mut self, now_ms: u64) -> Result<(usize, bool), WriteError> {
        let is_due = self.index.walk.is_none() && self.damage.index.take_due();
        if !self.index.begin(is_due, self.state.owed.len()) {
            return Ok((0, false));
        }
        if let Err(error) = self.refresh() {
            return Err(self.lost(&error.into()));
        }
        let mut walk = self.index.walk.clone().unwrap_or_default();
        let mut transaction = Transaction::new(&self.state, &self.view, self.times(now_ms));
        let is_done = match transaction.check_index(&mut walk) {
            Ok(is_done) => is_done,
            Err(error) => return Err(self.lost(&error)),
        };
        let undecided = is_done && !walk.left.is_empty();
        let repaired = walk.repaired - self.index.walk.as_ref().map_or(0, |walk| walk.repaired);
        let changes = transaction.finish();
        self.write(changes.batch)?;
        self.adopt(changes.state);
        if is_done {
            tracing::warn!(
                rows = walk.repaired,
                "the index of writes was checked against the entries"
            );
            self.index.undecided = undecided.then(|| self.state.owed.len());
        }
        self.index.walk = (!is_done).then_some(walk);
        Ok((repaired, !is_done))
    }
}

impl<S: Snapshot> Transaction<'_, S> {
    /// Does a step of the check. Returns whether it was the last one; rows that are left then are those whose keys could
    /// not be told.
    fn check_index(&mut self, walk: &mut Walk) -> Result<bool, ReadError> {
        let is_end = match walk.has_entries {
            false => self.check_entries(walk)?,
            true => self.check_rows(walk)?,
        };
        match (is_end, walk.has_entries) {
            (false, _) => return Ok(false),
            (true, false) => {
                (walk.has_entries, walk.after) = (true, Vec::new());
                return Ok(false);
            }
            (true, true) => {}
        }
        self.decide(walk)?;
        Ok(true)
    }

    /// Reads the next entries, and puts what the index lacks. Returns whether these were the last ones.
    fn check_entries(&mut self, walk: &mut Walk) -> Result<bool, ReadError> {
        let origins = Arc::clone(&self.state.origins);
        let mut heads: Vec<(Vec<u8>, Head)> = Vec::new();
        let bounds = (behind(&walk.after), Bound::Unbounded);
        self.view.snapshot.range(Table::Entries, bounds, Order::Ascending, &mut |key, row| {
            heads.push((key.to_vec(), decode_head(key, row, &origins)));
            until(heads.len() < STEP_ROWS)
        })?;
        let is_end = heads.len() < STEP_ROWS;
        for (key, head) in heads {
            if let Ok(entry) = EntryKey::read(&key) {
                match head {
                    Ok(head) => self.check_dots(walk, &entry, &head)?,
                    Err(_damaged) => drop(self.owe_row(&entry)),
                }
            }
            walk.after = key;
        }
        Ok(is_end)
    }

    /// Puts what the index lacks of an entry.
    fn check_dots(
        &mut self,
        walk: &mut Walk,
        entry: &EntryKey,
        head: &Found<()>,
    ) -> Result<(), ReadError> {
        for dot in head.dots() {
            let indexed = self.indexed(dot);
            match tables::get::<Dots>(&self.view.snapshot, &indexed) {
                Ok(Some(_)) => continue,
                Ok(None) | Err(ReadError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
            tables::put::<Dots>(&mut self.batch, &indexed, entry);
            walk.repaired += 1;
        }
        Ok(())
    }

    /// Reads the next rows of the index. Returns whether these were the last ones.
    fn check_rows(&mut self, walk: &mut Walk) -> Result<bool, ReadError> {
        let owed = Arc::clone(&self.state.owed);
        let before = mem::take(&mut walk.after);
        let bounds = (behind(&before), Bound::Unbounded);
        let (mut count, mut after) = (0, Vec::new());
        self.view.snapshot.range(Table::Dots, bounds, Order::Ascending, &mut |key, row| {
            match tables::decode::<Dots>(key, row) {
                Ok((_, entry)) => {
                    let (namespace, name) = entry.split();
                    if owed.get(namespace, name).is_some() {
                        walk.named.insert(entry);
                    }
                }
                Err(_damaged) if walk.left.len() < MAX_LEFT => walk.left.push(key.to_vec()),
                Err(_damaged) => {}
            }
            count += 1;
            after = key.to_vec();
            until(count < STEP_ROWS)
        })?;
        walk.after = after;
        Ok(count < STEP_ROWS)
    }

    /// Decides about the damaged rows of the index that are the dots of no entry that can be read. A row stays if it may be
    /// that of several owed entries.
    fn decide(&mut self, walk: &mut Walk) -> Result<(), ReadError> {
        let owed: Vec<_> = self
            .state
            .owed
            .iter()
            .map(|(namespace, key, owed)| (EntryKey::new(namespace, key), owed.dot))
            .collect();
        let is_unnamed = |entry: &EntryKey| !walk.named.contains(entry);
        let unnamed: Vec<_> =
            owed.iter().map(|(entry, _)| entry).filter(|one| is_unnamed(one)).collect();
        // What there is no room to record may be the entry of any of these rows.
        let is_full = self.state.owed.is_full();
        let mut undecided = Vec::new();
        for key in mem::take(&mut walk.left) {
            let row = self.view.snapshot.get(Table::Dots, &key)?;
            if row.is_none_or(|row| tables::decode::<Dots>(&key, &row).is_ok()) {
                continue;
            }
            let indexed = Dots::read_key(&key).ok();
            let dot = indexed.as_ref().and_then(|indexed| {
                let origin = self.state.origins.id(indexed.origin).ok()?;
                Some(Dot { origin, seq: indexed.seq })
            });
            let of_dot = owed.iter().find(|(_, of)| of.is_some() && *of == dot);
            let entry = match (of_dot, &unnamed[..]) {
                (Some((entry, _)), _) => Some(entry),
                (None, [entry]) => Some(*entry),
                (None, []) if !is_full => None,
                _ if dot.is_none() => None,
                _ => {
                    undecided.push(key);
                    continue;
                }
            };
            match (indexed, entry) {
                (Some(indexed), Some(entry)) if dot.is_some() => {
                    tables::put::<Dots>(&mut self.batch, &indexed, entry);
                }
                _ => self.batch.push((Table::Dots, key, None)),
            }
            walk.repaired += 1;
        }
        if !undecided.is_empty() {
            tracing::error!(
                rows = undecided.len(),
                "several entries are damaged, and rows of the index of writes that may be theirs: locations that lack \
                 these writes catch up from other ones, or from here once the entries are repaired"
            );
        }
        walk.left = undecided;
        Ok(())
    }
}

/// The bound behind a key; none at the beginning.
fn behind(after: &[u8]) -> Bound<&[u8]> {
    if after.is_empty() { Bound::Unbounded } else { Bound::Excluded(after) }
}

/// Goes on while a condition holds.
fn until(goes_on: bool) -> ControlFlow<()> {
    if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}
