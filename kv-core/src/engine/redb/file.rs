//! redb's file: opening it, its tables, and writing a batch.

use std::{io, sync::Arc};

use redb::{Database, Durability, ReadableDatabase, TableHandle as _};

use super::{
    backend::Backend,
    guard::{failed, failed_read, guard},
    header::{forget_unborn, refuse_foreign, was_closed},
    names::{COMMIT_ROW, LATER, definition},
    snapshot::{RedbSnapshot, view},
};
use crate::engine::{
    api::{Batch, CommitNo, EngineError},
    storage::{Directory, DiskFile, FILE},
    table::Table,
    watched::FirstFailure,
};

/// Opens redb's file for a new process, or creates it. From then on its name survives a power failure.
pub(super) fn open_or_create(directory: &dyn Directory) -> io::Result<Arc<dyn DiskFile>> {
    let file = match directory.open(FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => directory.create(FILE)?,
        opened => opened?,
    };
    // Also for a file that was there: the process that created it may have ended before this sync.
    directory.sync()?;
    Ok(as_on_disk(file))
}

/// Reopens redb's file after a failure. A file that is gone is an error: an empty one in its place would be a store
/// without rows that takes writes.
pub(super) fn reopen(directory: &dyn Directory) -> io::Result<Arc<dyn DiskFile>> {
    directory.open(FILE).map(as_on_disk)
}

/// Returns a file that shows what the disk has, as far as a failed sync may have left that in doubt.
fn as_on_disk(file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
    if !was_closed(&*file) {
        file.forget_cached();
    }
    file
}

/// Opens or creates the database on a disk, with all its tables.
pub(super) fn open_database(
    disk: &Arc<FirstFailure>,
    cache_bytes: usize,
) -> Result<(Database, RedbSnapshot), EngineError> {
    forget_unborn(&**disk)?;
    refuse_foreign(&**disk)?;
    let backend = Backend(Arc::clone(disk));
    let database = Database::builder()
        .set_cache_size(cache_bytes)
        .create_with_backend(backend)
        .map_err(|error| with_advice(failed(error)))?;
    let missing = missing_tables(&database).map_err(failed)?;
    if !missing.is_empty() {
        let transaction = database.begin_write().map_err(failed)?;
        for table in missing {
            transaction.open_table(definition(table)).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
    }
    let view = view(&database, disk)?;
    view.open_all()?;
    Ok((database, view))
}

/// Adds to the error of a damaged file what to do.
fn with_advice(error: EngineError) -> EngineError {
    match error {
        EngineError::Corrupt(reason) => EngineError::Corrupt(format!(
            "{reason}. Check the disk, and restore a copy of the data directory. If other locations have the entries, \
             replace this location instead: remove it there, and let it join with an empty data directory"
        )),
        other => other,
    }
}

/// Returns the tables to create: all in a new file, the younger ones in an old file. The others were
/// all created in one transaction. If only some of them exist, the rest was lost, or the file is
/// another program's.
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

/// Drops a database. redb then closes it, and may panic on a damaged file.
pub(super) fn put_away(database: Option<Database>) {
    let dropped = guard(|| {
        drop(database);
        Ok(())
    });
    if let Err(error) = dropped {
        tracing::warn!(%error, "the database was not closed cleanly");
    }
}

/// Commits rows and the number of the commit in one transaction of redb, without a sync. Returns how many bytes of keys and
/// rows it has removed more than it added.
pub(super) fn write_batch(
    database: &Database,
    n: CommitNo,
    batch: &Batch,
) -> Result<i64, EngineError> {
    let mut transaction = database.begin_write().map_err(failed)?;
    let (mut removed, mut added) = (0, 0);
    transaction.set_durability(Durability::None).map_err(failed)?;
    for table in Table::ALL {
        let mut rows = batch.iter().filter(|(of, ..)| *of == table).peekable();
        if table != Table::Meta && rows.peek().is_none() {
            continue;
        }
        let mut open = transaction.open_table(definition(table)).map_err(failed)?;
        for (_, key, value) in rows {
            let former = match value {
                Some(value) => {
                    added += key.len() + value.len();
                    open.insert(&key[..], &value[..]).map_err(failed_read)?
                }
                None => open.remove(&key[..]).map_err(failed_read)?,
            };
            removed += former.map_or(0, |row| key.len() + row.value().len());
        }
        if table == Table::Meta {
            open.insert(COMMIT_ROW, &n.to_be_bytes()[..]).map_err(failed_read)?;
        }
    }
    transaction.commit().map_err(failed)?;
    let signed = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
    Ok(signed(removed) - signed(added))
}

#[cfg(test)]
mod tests {
    use redb::TableDefinition;

    use super::*;
    use crate::engine::{
        memory::memory,
        redb::header::{PAGE_SIZE, PAGE_SIZE_OFFSET},
    };

    #[test]
    fn a_file_shows_whether_it_was_closed() {
        let disk = disk_of(b"");
        assert!(!was_closed(&*disk), "it is empty");
        let opened = open_database(&FirstFailure::new(Arc::clone(&disk)), 0).unwrap();
        assert!(!was_closed(&*disk));
        drop(opened);
        assert!(was_closed(&*disk));
    }

    fn disk_of(bytes: &[u8]) -> Arc<dyn DiskFile> {
        let file = memory().create(FILE).unwrap();
        file.write_at(0, bytes).unwrap();
        file
    }

    #[test]
    fn another_programs_file_is_rejected_and_not_changed() {
        let mut header = vec![0; 4096];
        header[100] = 1;
        let mut late = vec![0; 8192];
        late[5000] = 1;
        let sql = b"SQLite format 3\0".repeat(256);
        for bytes in [b"hi\n".as_slice(), b"\0\0\x01", &[7; 5000], &header, &late, &sql] {
            let disk = disk_of(bytes);
            let refused =
                open_database(&FirstFailure::new(Arc::clone(&disk)), 0).map(drop).unwrap_err();
            let EngineError::Corrupt(reason) = &refused else { panic!("{refused}") };
            assert!(reason.contains("another data directory"), "{reason}");
            let mut after = vec![0; bytes.len()];
            disk.read_at(0, &mut after).unwrap();
            assert_eq!((disk.size().unwrap(), &after[..]), (bytes.len() as u64, bytes));
        }
    }

    #[test]
    fn a_file_whose_creation_was_interrupted_is_created_again() {
        let mut begun = vec![0; 8192];
        begun[PAGE_SIZE_OFFSET..][..4].copy_from_slice(&PAGE_SIZE);
        begun[70] = 3;
        for bytes in [vec![0; 3], vec![0; 4096], begun] {
            assert!(open_database(&FirstFailure::new(disk_of(&bytes)), 0).is_ok());
        }
    }

    #[test]
    fn a_redb_file_of_another_program_is_rejected_and_gets_no_table() {
        let disk = disk_of(b"");
        let disk = FirstFailure::new(disk);
        let other = || Database::builder().create_with_backend(Backend(Arc::clone(&disk))).unwrap();
        let users = TableDefinition::<u64, u64>::new("users");
        let database = other();
        let write = database.begin_write().unwrap();
        write.open_table(users).unwrap();
        write.commit().unwrap();
        drop(database);
        let refused = open_database(&disk, 0).map(drop);
        assert!(matches!(refused, Err(EngineError::Corrupt(_))), "{refused:?}");
        let database = other();
        let read = database.begin_read().unwrap();
        let names: Vec<_> =
            read.list_tables().unwrap().map(|table| table.name().to_owned()).collect();
        assert_eq!(names, ["users"]);
    }

    #[test]
    fn an_old_file_gets_younger_tables_and_a_file_that_lost_a_table_is_rejected() {
        for table in Table::ALL {
            let disk = disk_of(b"");
            let disk = FirstFailure::new(disk);
            drop(open_database(&disk, 0).unwrap());
            let database = Database::builder();
            let database = database.create_with_backend(Backend(Arc::clone(&disk))).unwrap();
            let write = database.begin_write().unwrap();
            assert!(write.delete_table(definition(table)).unwrap());
            write.commit().unwrap();
            drop(database);
            assert_eq!(open_database(&disk, 0).is_ok(), LATER.contains(&table), "{table:?}");
        }
    }
}
