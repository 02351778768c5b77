//! Damaged rows of the dot index: a walk passes them over and does not end without them, and they are made again.
#![expect(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod common;

use common::{Case, key};
use kv_core::{
    Dot, ReadError, Table, VersionVector,
    commit::{Applied, Remote},
};

/// The names of the entries of the namespace that a walk over everything gives.
fn walked(case: &mut Case) -> (Vec<String>, usize) {
    let namespace = case.namespace;
    let read = case.store.view().rows_missing_in(&VersionVector::default(), None, 99).unwrap();
    let entries = read.changes.into_iter().filter(|change| change.namespace == namespace);
    let name = |key: &kv_core::Key| String::from_utf8(key.to_vec()).unwrap();
    let mut names: Vec<_> = entries.map(|change| name(&change.key)).collect();
    names.sort();
    (names, read.unread.len())
}

/// The names that the end of the walk adds; none if it must wait.
fn added(case: &mut Case) -> Option<Vec<String>> {
    let read = case.store.view().passed_over(&VersionVector::default());
    let read = match read {
        Err(ReadError::Damaged { table: Table::Dots, .. }) => return None,
        read => read.unwrap(),
    };
    let names = read.changes.iter().map(|change| &change.key);
    let names = names.chain(read.damaged.iter().map(|damaged| &damaged.key));
    Some(names.map(|key| String::from_utf8(key.to_vec()).unwrap()).collect())
}

/// Collects garbage until nothing is left to do. Returns how many rows of the index were written or removed.
fn check(case: &mut Case) -> usize {
    let mut reindexed = 0;
    loop {
        let step = case.collect();
        reindexed += step.reindexed;
        if !step.more {
            return reindexed;
        }
    }
}

fn names(all: &[&str]) -> Vec<String> {
    all.iter().map(|name| (*name).into()).collect()
}

/// A store with the entries `a`, `b` and `c`.
fn case() -> Case {
    let mut case = Case::new();
    ["a", "b", "c"].iter().for_each(|name| case.put(name));
    case
}

#[test]
fn a_walk_passes_over_a_damaged_row_of_the_index_and_does_not_end_without_it() {
    let mut case = case();
    let row = case.indexed("b");
    case.damage(Table::Dots, std::slice::from_ref(&row));
    assert_eq!(added(&mut case), Some(vec![]), "nothing was passed over");
    assert_eq!(walked(&mut case), (names(&["a", "c"]), 1));
    assert!(case.store.view().changes(&VersionVector::default(), None, 99).is_err());
    assert_eq!(added(&mut case), None, "the walk would end without it");
    assert_eq!(check(&mut case), 1);
    assert_eq!(added(&mut case), Some(names(&["b"])));
    assert_eq!(walked(&mut case), (names(&["a", "b", "c"]), 0));
    assert_eq!(check(&mut case), 0, "all is well");
}

#[test]
fn a_walk_that_has_the_write_needs_no_row_of_the_index_for_it() {
    let mut case = case();
    let row = case.indexed("b");
    case.damage(Table::Dots, std::slice::from_ref(&row));
    walked(&mut case);
    let all = case.store.view().vector().clone();
    assert!(case.store.view().passed_over(&all).unwrap().changes.is_empty());
}

#[test]
fn a_damaged_row_of_an_overwritten_entry_goes_with_the_overwrite() {
    let mut case = case();
    let row = case.indexed("b");
    case.damage(Table::Dots, std::slice::from_ref(&row));
    walked(&mut case);
    case.put("b");
    assert_eq!(added(&mut case), Some(vec![]));
    assert_eq!(walked(&mut case), (names(&["a", "b", "c"]), 0));
}

#[test]
fn a_row_of_the_index_under_a_damaged_key_is_removed_and_its_entry_is_put_again() {
    for (at, bits) in [(0, 0xff), (11, 0x40)] {
        let mut case = case();
        let row = case.indexed("b");
        let rows = case.rows(Table::Dots);
        let (_, value) = rows.into_iter().find(|(key, _)| *key == row).unwrap();
        let mut bogus = row.clone();
        bogus[at] ^= bits;
        case.write(vec![(Table::Dots, row, None), (Table::Dots, bogus.clone(), Some(value))]);
        walked(&mut case);
        assert_eq!(check(&mut case), 2);
        assert!(!case.rows(Table::Dots).iter().any(|(key, _)| *key == bogus));
        assert_eq!(walked(&mut case), (names(&["a", "b", "c"]), 0));
        assert_eq!(added(&mut case), Some(vec![]));
    }
}

#[test]
fn an_entry_that_the_index_lacks_is_noticed_by_a_check_of_the_rows() {
    let mut case = case();
    let row = case.indexed("b");
    case.write(vec![(Table::Dots, row, None)]);
    assert_eq!((walked(&mut case), check(&mut case)), ((names(&["a", "c"]), 0), 0));
    let view = case.store.view();
    for name in ["a", "b"] {
        let found = view.row(case.namespace, name.as_bytes()).unwrap().unwrap();
        view.check_indexed((case.namespace, name.as_bytes()), &found).unwrap();
    }
    assert_eq!(check(&mut case), 1);
    assert_eq!(walked(&mut case), (names(&["a", "b", "c"]), 0));
}

#[test]
fn the_damaged_row_of_a_damaged_entry_is_known_to_be_its_own() {
    let mut case = case();
    case.add_member();
    let (row, entry) = (case.indexed("b"), [&case.namespace.0[..], b"b"].concat());
    case.damage(Table::Dots, std::slice::from_ref(&row));
    case.damage(Table::Entries, &[entry]);
    walked(&mut case);
    assert_eq!(added(&mut case), None);
    assert_eq!(check(&mut case), 1);
    assert_eq!(added(&mut case), Some(names(&["b"])), "the receiver must know that it lacks b");
    assert_eq!(case.owed(), [b"b".to_vec()]);
}

#[test]
fn a_damaged_row_that_may_be_of_several_damaged_entries_stays_until_they_are_repaired() {
    let mut case = case();
    let rows = ["a", "b"].map(|name| case.indexed(name));
    let entry = |name: &[u8]| [&case.namespace.0[..], name].concat();
    let entries = [entry(b"a"), entry(b"b")];
    case.damage(Table::Dots, &rows);
    case.damage(Table::Entries, &entries);
    walked(&mut case);
    assert_eq!((check(&mut case), added(&mut case)), (0, None));
    case.put("a");
    assert_eq!(check(&mut case), 2, "both are named as b");
    assert_eq!(added(&mut case), Some(names(&["b", "b"])));
}

#[test]
fn a_damaged_row_of_the_index_refuses_no_joined_row_of_a_peer() {
    let mut case = case();
    case.add_member();
    let member = kv_core::Member::key(kv_core::MemberId([6; 16]));
    let found = case.store.view().row(kv_core::NamespaceId::SYSTEM, &member).unwrap().unwrap();
    let entry = [&[0; 16][..], &member].concat();
    let rows = case.rows(Table::Dots);
    let row = rows.iter().find(|(_, row)| row.starts_with(&entry)).unwrap().0.clone();
    case.damage(Table::Dots, &[row]);
    let change = kv_core::commit::NewContent::Joined(found.joined().unwrap().clone());
    let (dot, hlc, prev) = (found.dot, found.version.hlc, None);
    let (namespace, key) = (kv_core::NamespaceId::SYSTEM, kv_core::Key::new(&member[..]).unwrap());
    let write = kv_core::commit::RemoteWrite { dot, hlc, prev, namespace, key, change };
    assert_eq!(case.apply(Remote::Found(write)), Applied::Known);
    assert_eq!(check(&mut case), 1);
}

#[test]
fn what_a_source_could_not_read_keeps_its_name_when_its_row_of_the_index_is_damaged() {
    let mut case = case();
    case.add_member();
    let own = case.store.view().own_origins().unwrap()[0];
    case.reopen();
    let (namespace, dot) = (case.namespace, Dot { origin: own, seq: 40 });
    let damaged = ["x", "y"].map(|name| {
        let dot = Dot { seq: dot.seq + u64::from(name == "y"), ..dot };
        kv_core::DamagedKey { namespace, key: key(name), dot }
    });
    let (vector, collected) = ([dot].into_iter().collect(), VersionVector::default());
    let floor = kv_core::Hlc::ZERO;
    case.apply(Remote::Adopt { vector, collected, floor, damaged: damaged.into() });
    let rows = ["x", "y"].map(|name| case.indexed(name));
    case.damage(Table::Dots, &rows);
    walked(&mut case);
    assert_eq!(check(&mut case), 2);
    assert_eq!(added(&mut case), Some(names(&["x", "y"])));
}
