//! The rows that a store writes pass the check of single rows, and damaged ones do not.

use std::{
    collections::BTreeSet,
    ops::{Bound, ControlFlow},
};

use super::{create, delete, joined::meet, new_store, new_store_of};
use crate::{
    commit::{GcLimits, Operation, Remote},
    engine::{Engine as _, Order, Snapshot as _, Table, Visibility, redb::RedbEngine},
    tables::check_row,
    types::{Attributes, DamagedKey, Key, LocalName, Metadata},
};

/// Returns every row of the engine: table, key, row.
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

/// Returns the rows of a store that has rows in every table.
fn every_kind_of_row() -> Vec<(Table, Vec<u8>, Vec<u8>)> {
    let mut store = new_store();
    let ids = ["kept", "dropped"].map(|title| {
        store.commit(1, vec![create(title)]);
        crate::derive_id("", title, 0)
    });
    let attributes = Attributes { metadata: Metadata::new("{}").ok(), expires_at: Some(99) };
    for (key, len) in [("small", 9), ("large", 9000), ("replaced", 9000), ("replaced", 9)] {
        let mut upload = store.upload();
        assert!(upload.push(&vec![b'v'; len]).unwrap().is_empty());
        let (_, body) = upload.finish();
        store.commit(
            1,
            vec![Operation::Put {
                namespace: ids[0],
                key: Key::new(key).unwrap(),
                body,
                attributes: attributes.clone(),
            }],
        );
    }
    let mut upload = store.upload();
    assert!(upload.push(&[b'l'; 9000]).unwrap().is_empty());
    let parts = vec![upload.finish().1, store.upload().finish().1];
    store
        .commit(1, vec![Operation::SaveLocal { name: LocalName::new("counters").unwrap(), parts }]);
    store.commit(1, vec![delete(ids[0], "once"), delete(ids[0], "gone")]);
    let mut limits = GcLimits {
        rows: 1,
        bodies: 0,
        stable: store.clock(),
        expired_ms: None,
        collects_expired: true,
    };
    assert_eq!(store.collect_garbage(1, &limits).unwrap().collected, 1);
    limits.expired_ms = Some(99_000);
    assert_eq!(store.collect_garbage(1, &limits).unwrap().expired, 1);
    let mut theirs = new_store_of(20);
    theirs.commit(1, vec![create("theirs")]);
    meet(&mut store, &mut theirs);
    let dot = crate::Dot { origin: theirs.origins().unwrap()[0], seq: 9 };
    let key = Key::new("owed").unwrap();
    let damaged = vec![DamagedKey { namespace: ids[0], key, dot }];
    let (vector, collected) = ([dot].into_iter().collect(), crate::VersionVector::default());
    let adopt = Remote::Adopt { vector, collected, floor: crate::Hlc::ZERO, damaged };
    let remote = |remote| vec![Operation::Remote(remote)];
    store.commit(1, remote(adopt));
    store.commit(1, vec![Operation::DropNamespace { id: ids[1] }]);
    store.commit(1, remote(Remote::Rebuild));
    rows(store.engine())
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
fn a_damaged_or_moved_row_fails() {
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
