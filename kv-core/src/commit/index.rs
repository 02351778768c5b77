//! The check of the dot index: its rows are made again of the entries.
//!
//! It begins when a reader meets a row of the index that is damaged or missing, and walks over the store in bounded steps
//! between commits. The first pass reads the entries: each must be in the index under all of its dots. The second one
//! reads the index. What is damaged there and is the dot of no entry that can be read was overwritten, or is the write of
//! an entry that is damaged too: it is removed. Nothing says of which such entry it was, so all of them are *unplaced* from
//! then on: they are owed, and each catch-up from here names them, until they are repaired. If nobody caught up from here
//! meanwhile, two locations could wait for each other: what is owed here needs an answer of one that has everything, and
//! no other location can send what only this one has.
//!
//! Only where there is no room to record damaged entries, nothing can be removed: the check stays due, and nobody
//! catches up from here.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use super::{committer::Committer, openings::opened_by, transaction::Transaction};
use crate::{
    codec::DecodeError,
    engine::{Engine, Order, Snapshot, Table},
    error::{ReadError, WriteError},
    tables::{self, ClosedTime, Dots, EntryKey, IndexedDot, Layout, decode_head},
    types::{Dot, Found, OwedReason},
};

/// Most rows of a step: a few milliseconds, in which writers wait.
const STEP_ROWS: usize = 1024;

/// Most damaged rows of the index that one check looks at.
const MAX_LEFT: usize = 1024;

/// How long a check that failed waits before it begins again, in milliseconds: twice as long after each failure. The
/// engine reopens the file after some failures.
const FIRST_PAUSE_MS: u64 = 1000;

/// The longest such wait, in milliseconds.
const LONGEST_PAUSE_MS: u64 = 5 * 60_000;

/// What is read of an entry's row: everything but its value.
type Head = Result<Found<()>, DecodeError>;

/// How far the check is.
#[derive(Clone, Debug, Default)]
pub(super) struct IndexCheck {
    /// The walk; none if none is under way.
    walk: Option<Walk>,
    /// How many keys were owed when a check ended that could not record all of them.
    undecided: Option<usize>,
    /// The last failure, in cluster time, and how long the next check waits from there, in milliseconds.
    failed: Option<(u64, u64)>,
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
    /// Whether there are more damaged rows of the index than one check looks at.
    has_more: bool,
    /// Whether there was no room to record a damaged entry that it met.
    is_unrecorded: bool,
    /// Whether there is no room to record the entries that the index may not name.
    is_undecided: bool,
    /// How many keys were owed when it began.
    owed: usize,
    /// The owed entries that the index names.
    named: BTreeSet<EntryKey>,
    /// How many rows were written or removed.
    repaired: usize,
}

impl IndexCheck {
    /// The store was read again after a failure: what was written may be lost.
    pub(super) fn begin_again(&mut self) {
        self.walk = None;
        self.undecided = None;
    }

    /// A step failed.
    fn fail(&mut self, now_ms: u64) {
        let pause = self.failed.map_or(FIRST_PAUSE_MS, |(_, pause)| pause * 2);
        self.failed = Some((now_ms, pause.min(LONGEST_PAUSE_MS)));
        self.walk = None;
    }

    /// Begins a check that is due. Returns whether one is under way. One that could not record everything is repeated only
    /// once another number of keys is owed.
    fn begin(&mut self, owed: usize, now_ms: u64) -> bool {
        let waits = |(at, pause): (u64, u64)| now_ms >= at && now_ms < at + pause;
        let may_begin = self.undecided != Some(owed) && !self.failed.is_some_and(waits);
        if self.walk.is_none() && may_begin {
            self.walk = Some(Walk { owed, ..Walk::default() });
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
        if !self.damage.index.is_due() || !self.index.begin(self.state.owed.len(), now_ms) {
            return Ok((0, false));
        }
        let result = self.check_index_now(now_ms);
        if result.is_err() {
            self.index.fail(now_ms);
        }
        result
    }

    /// Does a step of the check that is under way.
    fn check_index_now(&mut self, now_ms: u64) -> Result<(usize, bool), WriteError> {
        if let Err(error) = self.refresh() {
            return Err(self.lost(&error.into()));
        }
        let mut walk = self.index.walk.take().unwrap_or_default();
        let before = walk.repaired;
        let mut transaction = Transaction::new(&self.state, &self.view, self.times(now_ms));
        let is_done = match transaction.check_index(&mut walk) {
            Ok(is_done) => is_done,
            Err(error) => return Err(self.lost(&error)),
        };
        if is_done {
            // Peers get a view that is later than the check, also if it wrote nothing.
            tables::put::<ClosedTime>(&mut transaction.batch, &(), &transaction.state.closed);
        }
        let changes = transaction.finish();
        self.write(changes.batch)?;
        self.adopt(changes.state);
        let repaired = walk.repaired - before;
        if !is_done {
            self.index.walk = Some(walk);
            return Ok((repaired, true));
        }
        tracing::warn!(rows = walk.repaired, "the index of writes was checked against the entries");
        self.index.failed = None;
        if walk.has_more && !walk.is_undecided {
            // The next check looks at the rest.
            return Ok((repaired, true));
        }
        self.index.undecided = walk.is_undecided.then_some(walk.owed);
        if walk.is_undecided {
            self.damage.index.is_undecided();
        } else {
            self.damage.index.is_checked();
        }
        Ok((repaired, false))
    }
}

impl<S: Snapshot> Transaction<'_, S> {
    /// Does a step of the check. Returns whether it was the last one.
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

    /// Reads the next entries and tombstones, and puts what the index lacks. Returns whether these were the last ones.
    fn check_entries(&mut self, walk: &mut Walk) -> Result<bool, ReadError> {
        let origins = Arc::clone(&self.state.origins);
        let mut heads: Vec<(Vec<u8>, Head)> = Vec::new();
        let bounds = (behind(&walk.after), Bound::Unbounded);
        tables::visit_rows(&self.view.snapshot, bounds, &mut |place, row| {
            heads.push((place.1.to_vec(), decode_head(place, row, &origins)));
            until(heads.len() < STEP_ROWS)
        })?;
        let is_end = heads.len() < STEP_ROWS;
        for (key, head) in heads {
            if let Ok(entry) = EntryKey::read(&key) {
                match head {
                    Ok(head) => self.check_dots(walk, &entry, &head)?,
                    Err(_damaged) => {
                        walk.is_unrecorded |= !self.owe_row(&entry) && self.has_others();
                    }
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
            match self.view.indexed(&indexed) {
                Ok(Some(named)) if named == *entry => continue,
                Ok(_) | Err(ReadError::Damaged { .. }) => {}
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
                Err(_damaged) => walk.has_more = true,
            }
            count += 1;
            after = key.to_vec();
            until(count < STEP_ROWS)
        })?;
        walk.after = after;
        Ok(count < STEP_ROWS)
    }

    /// Decides about the damaged rows of the index that are the dots of no entry that can be read, and about the owed
    /// entries that the index may not name.
    fn decide(&mut self, walk: &mut Walk) -> Result<(), ReadError> {
        let mut owed = self.owed_names();
        owed.is_full |= walk.is_unrecorded;
        let mut lost = 0;
        for key in mem::take(&mut walk.left) {
            let row = self.view.snapshot.get(Table::Dots, &key)?;
            if row.is_none_or(|row| tables::decode::<Dots>(&key, &row).is_ok()) {
                continue;
            }
            // That of an owed entry whose dot is known is put again below.
            if Dots::read_key(&key).ok().and_then(|at| owed.of(self, at)).is_none() {
                lost += 1;
                if !owed.is_full {
                    self.batch.push((Table::Dots, key, None));
                    walk.repaired += 1;
                }
            }
        }
        self.name_owed(walk, &owed)?;
        let has_lost = lost > 0 || walk.has_more;
        let unplaced = owed.unread.iter().filter(|entry| has_lost || !walk.named.contains(*entry));
        let unplaced: Vec<_> = unplaced.collect();
        walk.is_undecided = owed.is_full && (has_lost || !unplaced.is_empty());
        if walk.is_undecided {
            tracing::error!(
                rows = lost,
                "more entries are damaged than can be recorded, and rows of the index of writes too: other locations \
                 can't catch up from here until the entries are repaired"
            );
            return Ok(());
        }
        if !unplaced.is_empty() {
            tracing::error!(
                rows = lost,
                entries = unplaced.len(),
                "entries are damaged, and the rows of the index of writes that may be theirs: each location that catches \
                 up from here fetches these entries from others"
            );
        }
        unplaced.into_iter().for_each(|entry| self.unplace(entry));
        Ok(())
    }

    /// Puts the rows of the index that it lacks of owed entries whose dots are known.
    fn name_owed(&mut self, walk: &mut Walk, owed: &OwedNames) -> Result<(), ReadError> {
        for (dot, entry) in &owed.by_dot {
            let indexed = self.indexed(*dot);
            match self.view.indexed(&indexed) {
                Ok(Some(named)) if named == *entry => continue,
                Ok(_) | Err(ReadError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
            tables::put::<Dots>(&mut self.batch, &indexed, entry);
            walk.named.insert(entry.clone());
            walk.repaired += 1;
        }
        Ok(())
    }

    /// The owed entries.
    fn owed_names(&self) -> OwedNames {
        let (mut names, all) = (OwedNames::default(), self.state.owed.iter());
        names.is_full = self.state.owed.is_full();
        for (namespace, key, owed) in all {
            let entry = EntryKey::new(namespace, key);
            // The key of an opening row says which write it is.
            let opened = opened_by(&entry);
            let dot = match opened {
                Some(origin) => Some(Dot { origin, seq: 1 }),
                None => owed.dot.filter(|_| !owed.is_unplaced()),
            };
            if owed.reason == OwedReason::Row && opened.is_none() {
                names.unread.push(entry.clone());
            }
            let dot = dot.filter(|dot| self.state.origins.number(dot.origin).is_some());
            names.by_dot.extend(dot.map(|dot| (dot, entry)));
        }
        names
    }
}

/// The owed entries, for the rows of the index that may be theirs.
#[derive(Default)]
struct OwedNames {
    /// Those whose dots are known.
    by_dot: BTreeMap<Dot, EntryKey>,
    /// Those whose rows are damaged here. The index may name one under a dot that it had before, and a joined one has
    /// several dots.
    unread: Vec<EntryKey>,
    /// An entry that there is no room to record may belong to any row.
    is_full: bool,
}

impl OwedNames {
    /// The entry that has the dot of a row of the index, if its key is right.
    fn of<S: Snapshot>(
        &self,
        transaction: &Transaction<'_, S>,
        at: IndexedDot,
    ) -> Option<&EntryKey> {
        let origin = transaction.state.origins.id(at.origin).ok()?;
        self.by_dot.get(&Dot { origin, seq: at.seq })
    }
}

/// The bound behind a key; none at the beginning.
fn behind(after: &[u8]) -> Bound<&[u8]> {
    if after.is_empty() { Bound::Unbounded } else { Bound::Excluded(after) }
}

/// Continues while a condition holds.
fn until(goes_on: bool) -> ControlFlow<()> {
    if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_fails_begins_again_after_a_pause_that_grows() {
        let mut check = IndexCheck::default();
        let mut now = 7;
        for pause in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300].map(|seconds| seconds * 1000) {
            assert!(check.begin(0, now));
            check.fail(now);
            // The engine reopens the file, and the store is read again.
            check.begin_again();
            assert!(!check.begin(0, now + pause - 1), "{pause}");
            now += pause;
        }
        assert!(check.begin(0, now - 1_000_000), "the clock was set back");
    }

    #[test]
    fn a_check_that_could_not_record_everything_is_repeated_once_other_keys_are_owed() {
        let mut check = IndexCheck { undecided: Some(2), ..IndexCheck::default() };
        assert!(!check.begin(2, 7) && check.begin(1, 7));
    }
}
