//! Whether the bytes of a row are such as a store writes.

use crate::{
    NamespaceId,
    codec::{DecodeError, Reader},
    entry::BodyId,
    limits::{CHUNK_BYTES, MAX_KEY_BYTES, MAX_LOCAL_NAME_BYTES},
    local,
    record::{Kind, decode_entry, decode_number, unseal},
    schema::{META_COMMIT, META_FORMAT, META_IDENTITY, Table, split_dot, split_entry, split_timed},
    system::SystemEntry,
};

/// Checks one row by itself: its key, its checksums, its layout and its bounds. Whether it fits
/// the other rows is another question.
///
/// # Errors
/// What is wrong with it.
pub fn check_row(table: Table, key: &[u8], row: &[u8]) -> Result<(), DecodeError> {
    match table {
        Table::Meta => check_meta(key, row),
        Table::Origins => {
            check_whole(key, Reader::u32)?;
            check_whole(unseal(table, key, row)?, Reader::id)
        }
        Table::Entries => check_entry(key, row),
        Table::Dots => {
            split_dot(key)?;
            check_name(unseal(table, key, row)?).map(drop)
        }
        Table::Vector | Table::Collected => {
            check_whole(key, Reader::u32)?;
            decode_number(table, key, row).map(drop)
        }
        Table::Expiry | Table::Tombstones => {
            check_name(split_timed(key)?.1)?;
            Reader::new(unseal(table, key, row)?).end()
        }
        Table::Chunks => {
            check_whole(key, |reader| Ok((BodyId(reader.u64()?), reader.u32()?)))?;
            match unseal(table, key, row)?.len() {
                1..=CHUNK_BYTES => Ok(()),
                _ => Err(DecodeError("a chunk of a length that none has")),
            }
        }
        Table::Pending => {
            check_whole(key, |reader| reader.u64().map(BodyId))?;
            Reader::new(unseal(table, key, row)?).end()
        }
        Table::Purge => {
            check_whole(key, Reader::id)?;
            Reader::new(unseal(table, key, row)?).end()
        }
        Table::Local => {
            if !(1..=MAX_LOCAL_NAME_BYTES).contains(&key.len()) || str::from_utf8(key).is_err() {
                return Err(DecodeError("a name that none has"));
            }
            local::decode(key, row).map(drop)
        }
    }
}

/// Reads something that must be all that there is.
fn check_whole<'a, T>(
    bytes: &'a [u8],
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes);
    read(&mut reader)?;
    reader.end()
}

/// The name of an entry: a namespace and a key of a length that may be.
fn check_name(bytes: &[u8]) -> Result<(NamespaceId, &[u8]), DecodeError> {
    let (namespace, key) = split_entry(bytes)?;
    match key.len() {
        1..=MAX_KEY_BYTES => Ok((namespace, key)),
        _ => Err(DecodeError("a key of a length that none has")),
    }
}

fn check_meta(key: &[u8], row: &[u8]) -> Result<(), DecodeError> {
    // The engine's own rows have no checksum.
    if key.first() == Some(&0) {
        return check_whole(row, Reader::u64);
    }
    let value = unseal(Table::Meta, key, row)?;
    match key {
        META_FORMAT => check_whole(value, Reader::u32),
        META_IDENTITY => check_whole(value, |reader| Ok((reader.id()?, reader.id()?))),
        META_COMMIT => check_whole(value, Reader::u64),
        _ => Err(DecodeError("a row of meta that is not known")),
    }
}

fn check_entry(key: &[u8], row: &[u8]) -> Result<(), DecodeError> {
    let (namespace, name) = check_name(key)?;
    let (head, value) = decode_entry(key, row)?;
    if namespace != NamespaceId::SYSTEM {
        return Ok(());
    }
    let Kind::Inline(_) = head.kind else {
        return Err(DecodeError("an entry of the system namespace that is not inline"));
    };
    SystemEntry::decode(name, value).map(drop)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        ops::{Bound, ControlFlow},
        sync::Arc,
    };

    use super::*;
    use crate::{
        Attributes, Operation,
        commit::{Committer, GcLimits},
        engine::{Engine, Order, Snapshot, Visibility, disk, redb::RedbEngine},
    };

    /// Every row of the engine: table, key, row.
    fn rows(engine: &RedbEngine) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
        let snapshot = engine.snapshot(Visibility::Latest).unwrap();
        let all = (Bound::Unbounded, Bound::Unbounded);
        let mut rows = Vec::new();
        for table in Table::ALL {
            snapshot
                .range(table, all, Order::Ascending, &mut |key, row| {
                    rows.push((table, key.to_vec(), row.to_vec()));
                    ControlFlow::Continue(())
                })
                .unwrap();
        }
        rows
    }

    /// A store that has rows in every table, and those rows.
    fn every_kind_of_row() -> Vec<(Table, Vec<u8>, Vec<u8>)> {
        let engine = Arc::new(RedbEngine::open(disk::memory(), 1 << 20).unwrap());
        let mut ids = [7, 8].into_iter();
        let mut random_id = || ids.next().map(|id| [id; 16]).ok_or_else(String::new);
        let mut store = Committer::open(Arc::clone(&engine), &mut random_id).unwrap();
        let title = |title: &str| (String::new(), title.to_owned());
        let ids = ["kept", "dropped"].map(title).map(|(account, title)| {
            let id = crate::derive_id(&account, &title, 0);
            store.commit(1, vec![Operation::CreateNamespace { account, title, id: None }]);
            id
        });
        let attributes = Attributes { metadata: Some("{}".into()), expires_at: Some(99) };
        for (key, len) in [("small", 9), ("large", 9000), ("replaced", 9000), ("replaced", 9)] {
            let mut upload = store.upload();
            assert!(upload.push(&vec![b'v'; len]).unwrap().is_empty());
            let (_, body) = upload.finish();
            store.commit(
                1,
                vec![Operation::Put {
                    namespace: ids[0],
                    key: key.into(),
                    body,
                    attributes: attributes.clone(),
                }],
            );
        }
        let delete = |key: &'static str| Operation::Delete { namespace: ids[0], key: key.into() };
        let mut upload = store.upload();
        assert!(upload.push(&[b'l'; 9000]).unwrap().is_empty());
        let parts = vec![upload.finish().1, store.upload().finish().1];
        store.commit(1, vec![Operation::SaveLocal { name: "counters".into(), parts }]);
        store.commit(1, vec![delete("once"), delete("gone")]);
        let limits = GcLimits { rows: 1, bodies: 0, stable: store.clock(), max_skew_ms: 0 };
        assert_eq!(store.collect_garbage(1, &limits).unwrap().collected, 1);
        store.commit(1, vec![Operation::DropNamespace { id: ids[1] }]);
        rows(&engine)
    }

    #[test]
    fn every_row_that_a_store_writes_passes() {
        let rows = every_kind_of_row();
        let tables: BTreeSet<_> = rows.iter().map(|(table, ..)| *table).collect();
        assert_eq!(tables, Table::ALL.into_iter().collect());
        for (table, key, row) in rows {
            assert_eq!(check_row(table, &key, &row), Ok(()), "{table:?} {key:?}");
        }
    }

    #[test]
    fn a_row_that_was_damaged_or_moved_does_not() {
        for (table, key, row) in every_kind_of_row() {
            if key.starts_with(&[0]) && table == Table::Meta {
                continue;
            }
            for at in 0..row.len() {
                let mut damaged = row.clone();
                damaged[at] ^= 1;
                assert!(check_row(table, &key, &damaged).is_err(), "{table:?} {key:?} {at}");
            }
            assert!(check_row(table, &key, &row[1..]).is_err());
            assert!(check_row(table, &[&key[..], b"x"].concat(), &row).is_err());
        }
    }
}
