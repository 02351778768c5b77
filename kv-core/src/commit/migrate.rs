//! Migrations of the disk format: a chain of steps, each from one format to the next, that runs when a store is opened.
//!
//! A step works in slices: each reads rows behind a cursor and returns the rows to write and the next cursor. A slice and
//! the cursor are one commit, and each commit is synced, so that a crash at any moment loses at most a slice, which is
//! repeated. The first commit of a step already has the new format: an older program never takes a store that is half
//! migrated for one of its own.

use std::ops::{Bound, ControlFlow};

use super::{
    program::Program,
    state::{meta_row, optional_row},
};
use crate::{
    engine::{Batch, CommitNo, Engine, Order, Snapshot, Table, Visibility},
    error::OpenError,
    tables::{
        self, Apart, EntryKey, ExpiredTombstones, FORMAT_VERSION, Format, FormatBy, Migrating,
        Migration, Timed, Tombstones,
    },
    types::SoftwareVersion,
};

/// The steps of this program, by rising format: the last one leads to [`FORMAT_VERSION`]. None leads from format 1, which
/// was never released.
pub const MIGRATIONS: &[Step] = &[TOMBSTONES_APART];

/// About how many bytes of rows [`Slice::rewrite`] reads for a commit.
const SLICE_BYTES: usize = 1 << 20;

/// A step of a chain of migrations.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The format that it migrates from, to the next one.
    pub from: u32,
    /// Makes the slice that begins behind a cursor, which is empty at the beginning. It must depend on nothing but the
    /// snapshot and the cursor, and read and write a bounded number of bytes.
    pub slice: fn(&dyn Snapshot, &[u8]) -> Result<Slice, OpenError>,
}

/// Rewrites one row: adds to the batch, given the row's key and bytes, both as the engine has them.
pub type Rewrite<'a> = dyn FnMut(&mut Batch, &[u8], &[u8]) -> Result<(), OpenError> + 'a;

/// A part of a migration, which is one commit.
#[derive(Debug, Default)]
pub struct Slice {
    /// The rows to write.
    pub batch: Batch,
    /// Where the next slice begins; none if this is the last one.
    pub next: Option<Vec<u8>>,
}

/// The formats that a program reads.
#[derive(Clone, Copy, Debug)]
pub struct Formats {
    /// The format that it writes.
    pub newest: u32,
    /// The steps that lead there from older ones, by rising format, without a gap.
    pub chain: &'static [Step],
}

impl Default for Formats {
    fn default() -> Self {
        Formats { newest: FORMAT_VERSION, chain: MIGRATIONS }
    }
}

impl Formats {
    /// The step from a format.
    fn step(self, from: u32) -> Option<&'static Step> {
        self.chain.iter().find(|step| step.from == from)
    }

    /// The oldest format from which steps lead to the newest.
    fn oldest(self) -> u32 {
        let has_step = |format: &u32| self.step(*format).is_some();
        (0..self.newest).rev().take_while(has_step).last().unwrap_or(self.newest)
    }
}

impl Slice {
    /// Makes a slice over the rows of one table, in the order of their keys. The cursor is the key of the last row.
    ///
    /// # Errors
    /// If the table can't be read, or `change` fails.
    pub fn rewrite(
        snapshot: &dyn Snapshot,
        table: Table,
        after: &[u8],
        change: &mut Rewrite<'_>,
    ) -> Result<Slice, OpenError> {
        let from = if after.is_empty() { Bound::Unbounded } else { Bound::Excluded(after) };
        let (mut slice, mut bytes, mut result) = (Slice::default(), 0, Ok(()));
        snapshot
            .range(table, (from, Bound::Unbounded), Order::Ascending, &mut |key, row| {
                result = change(&mut slice.batch, key, row);
                bytes += key.len() + row.len();
                if result.is_err() {
                    return ControlFlow::Break(());
                }
                if bytes >= SLICE_BYTES {
                    slice.next = Some(key.to_vec());
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })
            .map_err(OpenError::Engine)?;
        result.map(|()| slice)
    }
}

/// Moves the tombstones of format 2 out of the entries, and writes their dots into their rows in the indexes by time. A
/// row that can't be read stays where it is, and is owed once it is met.
const TOMBSTONES_APART: Step = Step { from: 2, slice: set_tombstones_apart };

fn set_tombstones_apart(snapshot: &dyn Snapshot, after: &[u8]) -> Result<Slice, OpenError> {
    Slice::rewrite(snapshot, Table::Entries, after, &mut |batch, key, row| {
        let Some(Apart { row, index, time, dot }) = tables::set_apart(key, row) else {
            return Ok(());
        };
        let Ok(entry) = EntryKey::read(key) else { return Ok(()) };
        batch.push((Table::Entries, key.to_vec(), None));
        batch.push((Table::Deleted, key.to_vec(), Some(row)));
        let place = Timed { time, entry };
        match index {
            Table::Tombstones => tables::put::<Tombstones>(batch, &place, &dot),
            _ => tables::put::<ExpiredTombstones>(batch, &place, &dot),
        }
        Ok(())
    })
}

/// Adds the rows by which every program, older and newer ones too, finds the format of a store.
pub(super) fn put_format(batch: &mut Batch, format: u32, by: &SoftwareVersion) {
    tables::put::<Format>(batch, &(), &format);
    tables::put::<FormatBy>(batch, &(), by);
}

/// Brings a store to the newest format of a program. Returns the number of the last commit.
///
/// # Errors
/// If the store has a newer format, or one from which no steps lead here, or the engine fails. After a failure the
/// next opening continues.
pub(super) fn migrate<E: Engine>(
    engine: &E,
    mut last: CommitNo,
    program: &Program,
) -> Result<CommitNo, OpenError> {
    loop {
        let snapshot = engine.snapshot(Visibility::Latest).map_err(OpenError::Engine)?;
        let Some(due) = due(&snapshot, program)? else { return Ok(last) };
        let batch = next_batch(&snapshot, &due, &program.version)?;
        last += 1;
        engine.commit(last, batch).map_err(OpenError::Engine)?;
        engine.sync(last).map_err(OpenError::Engine)?;
    }
}

/// A step that is due, and where it continues.
struct Due {
    /// The step.
    step: &'static Step,
    /// The cursor; empty at the beginning.
    after: Vec<u8>,
}

/// Finds the step that is due; none if the store has the newest format.
fn due(snapshot: &impl Snapshot, program: &Program) -> Result<Option<Due>, OpenError> {
    let (found, known) = (meta_row::<Format>(snapshot)?, program.formats.newest);
    if found > known {
        // The row of the program is only for the message.
        let by = optional_row::<FormatBy>(snapshot).unwrap_or_default();
        return Err(OpenError::Format { found, known, by });
    }
    let unfinished = optional_row::<Migrating>(snapshot)?;
    let Migration { from, after } = match unfinished {
        Some(migration) if migration.from.checked_add(1) == Some(found) => migration,
        Some(_) => return Err(OpenError::Corrupt("its migration leads to another format".into())),
        None if found == known => return Ok(None),
        None => Migration { from: found, after: Vec::new() },
    };
    let oldest = program.formats.oldest();
    match program.formats.step(from).filter(|_| from >= oldest) {
        Some(step) => Ok(Some(Due { step, after })),
        None => Err(OpenError::OldFormat { found: from, oldest }),
    }
}

/// Makes the next commit of a step: its slice, the format that it leads to, and how far it is.
fn next_batch(
    snapshot: &impl Snapshot,
    due: &Due,
    by: &SoftwareVersion,
) -> Result<Batch, OpenError> {
    let Slice { mut batch, next } = (due.step.slice)(snapshot, &due.after)?;
    let from = due.step.from;
    put_format(&mut batch, from + 1, by);
    match next {
        Some(after) if after == due.after || after.is_empty() => {
            return Err(OpenError::Corrupt(format!(
                "the migration from format {from} stands still"
            )));
        }
        Some(after) => {
            tracing::info!(format = from + 1, "migrating the store");
            tables::put::<Migrating>(&mut batch, &(), &Migration { from, after });
        }
        None => {
            tracing::info!(format = from + 1, "migrated the store");
            tables::delete::<Migrating>(&mut batch, &());
        }
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STILL: Step = Step { from: 0, slice: |_, _| Ok(Slice::default()) };

    #[test]
    fn the_steps_of_this_program_lead_to_its_format_without_a_gap() {
        let formats = Formats::default();
        let first = formats.chain.first().map_or(FORMAT_VERSION, |step| step.from);
        assert_eq!(formats.oldest(), first);
        assert!(formats.chain.iter().map(|step| step.from).eq(first..FORMAT_VERSION));
    }

    #[test]
    fn a_gap_in_a_chain_ends_what_can_be_migrated() {
        static CHAIN: [Step; 3] =
            [Step { from: 1, ..STILL }, Step { from: 3, ..STILL }, Step { from: 4, ..STILL }];
        assert_eq!(Formats { newest: 5, chain: &CHAIN }.oldest(), 3);
        assert_eq!(Formats { newest: 7, chain: &CHAIN }.oldest(), 7);
    }
}
