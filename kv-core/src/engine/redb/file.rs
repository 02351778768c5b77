//! The file that redb keeps: its making, its tables, and how it was left.

use std::sync::Arc;

use redb::{
    Database, Durability, ReadableDatabase, StorageBackend, TableDefinition, TableHandle as _,
};

use super::{
    failed, failed_read, guard,
    snapshot::{RedbSnapshot, view},
};
use crate::{
    engine::{
        Batch, CommitNo, EngineError,
        disk::FILE,
        gate::{Gate, Gated},
    },
    schema::Table,
};

/// The name in redb of each table, by [`Table::number`].
const NAMES: [&str; Table::ALL.len()] = [
    "meta",
    "origins",
    "entries",
    "dots",
    "vector",
    "collected",
    "expiry",
    "graves",
    "chunks",
    "pending",
    "purge",
    "local",
];

/// Tables that came after the first stores were made: where one is missing, it was never there.
const LATER: [Table; 1] = [Table::Local];

/// The row of `meta` in which the engine keeps the number of the last commit.
pub(super) const COMMIT_ROW: &[u8] = b"\0commit";

/// How redb's files begin.
const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";

/// No file that redb has just begun to make is longer.
const UNBORN_BYTES: u64 = 4 << 20;

/// What redb's header says of the size of its pages, right behind the magic number and flags.
const PAGE_SIZE: [u8; 4] = 4096_u32.to_le_bytes();
const PAGE_SIZE_OFFSET: usize = 12;

/// redb's header lies in the first sector.
const SECTOR_BYTES: usize = 512;

pub(super) fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(NAMES[usize::from(table.number())])
}

/// Opens or makes the database behind a gate, with all its tables.
pub(super) fn open_database(
    gate: &Arc<Gate>,
    cache_bytes: usize,
) -> Result<(Database, RedbSnapshot), EngineError> {
    let disk = Gated(Arc::clone(gate));
    forget_unborn(&disk)?;
    refuse_foreign(&disk)?;
    let database = Database::builder()
        .set_cache_size(cache_bytes)
        .create_with_backend(disk)
        .map_err(failed)?;
    let missing = missing_tables(&database).map_err(failed)?;
    if !missing.is_empty() {
        let transaction = database.begin_write().map_err(failed)?;
        for table in missing {
            transaction.open_table(definition(table)).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
    }
    let view = view(&database, gate)?;
    view.open_all()?;
    Ok((database, view))
}

/// The tables that are to be made: all of a new file, of an old one those that came later. All were
/// made in one transaction, so that if one is there, another that is missing was lost, or the file
/// is another program's.
fn missing_tables(database: &Database) -> Result<Vec<Table>, redb::Error> {
    let read = database.begin_read()?;
    let names: Vec<String> = read.list_tables()?.map(|table| table.name().to_owned()).collect();
    let is_missing = |table: &Table| !names.iter().any(|name| name == definition(*table).name());
    let missing: Vec<Table> = Table::ALL.into_iter().filter(is_missing).collect();
    match missing.iter().find(|table| !LATER.contains(table)) {
        Some(lost) if !names.is_empty() => {
            let name = definition(*lost).name().to_owned();
            Err(redb::Error::TableDoesNotExist(name))
        }
        _ => Ok(missing),
    }
}

/// Drops a database: redb closes it then, and may panic on a damaged file.
pub(super) fn put_away(database: Option<Database>) {
    let dropped = guard(|| {
        drop(database);
        Ok(())
    });
    if let Err(error) = dropped {
        tracing::warn!(%error, "the database was not put away cleanly");
    }
}

/// Whether the process that had the file open last has closed it. If not, a sync may have failed.
pub(in crate::engine) fn was_closed(disk: &dyn StorageBackend) -> bool {
    // redb's header has flags after its magic number; this one is set for as long as it is open.
    const FLAGS_OFFSET: u64 = 9;
    const RECOVERY_REQUIRED: u8 = 2;
    let mut flags = [0];
    disk.read(FLAGS_OFFSET, &mut flags).is_ok() && flags[0] & RECOVERY_REQUIRED == 0
}

/// Empties a file whose making a crash cut short. redb writes its magic number last, and takes a
/// file without one for another program's. Only a file in which nothing was ever stored is taken
/// for unborn: short, and zeros but for the first sector, in which then redb's header stands, its
/// magic number aside.
fn forget_unborn(disk: &dyn StorageBackend) -> Result<(), EngineError> {
    let len = disk.len()?;
    if !(1..=UNBORN_BYTES).contains(&len) || begins_with(disk, &MAGIC)? {
        return Ok(());
    }
    let mut file = vec![0; usize::try_from(len).expect("a short file")];
    disk.read(0, &mut file)?;
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let (first, rest) = file.split_at(SECTOR_BYTES.min(file.len()));
    let is_begun = first.get(..MAGIC.len()).is_some_and(is_zero)
        && first.get(PAGE_SIZE_OFFSET..).is_some_and(|header| header.starts_with(&PAGE_SIZE));
    if is_zero(rest) && (is_zero(first) || is_begun) {
        disk.set_len(0)?;
    }
    Ok(())
}

/// Refuses a file that is not redb's, which redb would call a failure of the disk.
fn refuse_foreign(disk: &dyn StorageBackend) -> Result<(), EngineError> {
    if disk.len()? == 0 || begins_with(disk, &MAGIC)? {
        return Ok(());
    }
    Err(EngineError::Corrupt(format!(
        "{FILE} does not begin as a store's file does, and is left as it is. Move it away or name \
         another data directory; if it was a store, put back a copy of it"
    )))
}

fn begins_with(disk: &dyn StorageBackend, expected: &[u8]) -> Result<bool, EngineError> {
    let mut beginning = vec![0; expected.len()];
    if disk.len()? < expected.len() as u64 {
        return Ok(false);
    }
    disk.read(0, &mut beginning)?;
    Ok(beginning == expected)
}

pub(super) fn write_batch(
    database: &Database,
    n: CommitNo,
    batch: &Batch,
) -> Result<(), EngineError> {
    let mut transaction = database.begin_write().map_err(failed)?;
    transaction.set_durability(Durability::None).map_err(failed)?;
    for table in Table::ALL {
        let mut rows = batch.iter().filter(|(of, ..)| *of == table).peekable();
        if table != Table::Meta && rows.peek().is_none() {
            continue;
        }
        let mut open = transaction.open_table(definition(table)).map_err(failed)?;
        for (_, key, value) in rows {
            match value {
                Some(value) => open.insert(&key[..], &value[..]).map_err(failed_read)?,
                None => open.remove(&key[..]).map_err(failed_read)?,
            };
        }
        if table == Table::Meta {
            open.insert(COMMIT_ROW, &n.to_be_bytes()[..]).map_err(failed_read)?;
        }
    }
    transaction.commit().map_err(failed)
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;
    use crate::engine::{Engine as _, redb::RedbEngine};

    #[test]
    fn a_file_says_whether_it_was_closed() {
        let disk: Arc<dyn StorageBackend> = Arc::new(InMemoryBackend::new());
        assert!(!was_closed(&*disk), "it is empty");
        let again = Arc::clone(&disk);
        let engine = RedbEngine::open(Box::new(move || Ok(Arc::clone(&again))), 0).unwrap();
        assert!(!was_closed(&*disk));
        engine.close().unwrap();
        assert!(was_closed(&*disk));
    }

    fn disk_of(bytes: &[u8]) -> Arc<dyn StorageBackend> {
        let disk = InMemoryBackend::new();
        disk.set_len(bytes.len() as u64).unwrap();
        disk.write(0, bytes).unwrap();
        Arc::new(disk)
    }

    #[test]
    fn another_programs_file_is_refused_and_left_as_it_is() {
        let mut header = vec![0; 4096];
        header[100] = 1;
        let mut late = vec![0; 8192];
        late[5000] = 1;
        let sql = b"SQLite format 3\0".repeat(256);
        for bytes in [b"hi\n".as_slice(), b"\0\0\x01", &[7; 5000], &header, &late, &sql] {
            let disk = disk_of(bytes);
            let refused = open_database(&Gate::new(Arc::clone(&disk)), 0).map(drop).unwrap_err();
            let EngineError::Corrupt(reason) = &refused else { panic!("{refused}") };
            assert!(reason.contains("another data directory"), "{reason}");
            let mut after = vec![0; bytes.len()];
            disk.read(0, &mut after).unwrap();
            assert_eq!((disk.len().unwrap(), &after[..]), (bytes.len() as u64, bytes));
        }
    }

    #[test]
    fn a_file_that_was_only_begun_is_made_anew() {
        let mut begun = vec![0; 8192];
        begun[PAGE_SIZE_OFFSET..][..4].copy_from_slice(&PAGE_SIZE);
        begun[70] = 3;
        for bytes in [vec![0; 3], vec![0; 4096], begun] {
            assert!(open_database(&Gate::new(disk_of(&bytes)), 0).is_ok());
        }
    }

    #[test]
    fn a_redb_file_of_another_program_is_refused_and_gets_no_table() {
        let disk = disk_of(b"");
        let gate = Gate::new(disk);
        let other = || Database::builder().create_with_backend(Gated(Arc::clone(&gate))).unwrap();
        let users = TableDefinition::<u64, u64>::new("users");
        let database = other();
        let write = database.begin_write().unwrap();
        write.open_table(users).unwrap();
        write.commit().unwrap();
        drop(database);
        let refused = open_database(&gate, 0).map(drop);
        assert!(matches!(refused, Err(EngineError::Corrupt(_))), "{refused:?}");
        let database = other();
        let read = database.begin_read().unwrap();
        let names: Vec<_> =
            read.list_tables().unwrap().map(|table| table.name().to_owned()).collect();
        assert_eq!(names, ["users"]);
    }

    #[test]
    fn a_file_from_before_a_later_table_gets_it_and_one_that_lost_another_is_refused() {
        for table in Table::ALL {
            let disk: Arc<dyn StorageBackend> = Arc::new(InMemoryBackend::new());
            let gate = Gate::new(disk);
            drop(open_database(&gate, 0).unwrap());
            let database = Database::builder();
            let database = database.create_with_backend(Gated(Arc::clone(&gate))).unwrap();
            let write = database.begin_write().unwrap();
            assert!(write.delete_table(definition(table)).unwrap());
            write.commit().unwrap();
            drop(database);
            assert_eq!(open_database(&gate, 0).is_ok(), LATER.contains(&table), "{table:?}");
        }
    }
}
