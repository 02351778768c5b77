//! Damaged rows of namespaces and members, and damaged rows of namespaces that are dropped.
#![expect(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod common;

use std::sync::Arc;

use common::{
    NOW,
    owed::{Case, create, is_damaged, row},
};
use kv_core::{
    Key, MemberId, NamespaceId, Operation, Outcome, Table, VersionVector,
    commit::{Applied, NewContent, Remote, RemoteWrite},
};

/// The row of a namespace as another location has it.
fn found_namespace(id: NamespaceId, row: &kv_core::Found) -> RemoteWrite {
    RemoteWrite {
        dot: row.dot,
        hlc: row.version.hlc,
        prev: None,
        namespace: NamespaceId::SYSTEM,
        key: Key::new(id.0).unwrap(),
        change: NewContent::Joined(Arc::clone(row.joined().unwrap())),
    }
}

#[test]
fn a_drop_is_later_than_the_damaged_rows_of_the_namespace() {
    for is_replaced in [false, true] {
        let mut case = Case::new();
        let ahead = case.remote("k", 2, 90 * NOW, "ahead");
        case.commit(Operation::Remote(Remote::Next(ahead)));
        case.damage_head("k");
        if is_replaced {
            let write = case.remote("k", 3, 5, "earlier");
            case.commit(Operation::Remote(Remote::Next(write)));
        }
        case.drop_namespace();
        let ahead = case.remote("k", 2, 90 * NOW, "ahead");
        let applied = case.commit(Operation::Remote(Remote::Found(ahead)));
        assert_eq!(applied, Outcome::Applied(Applied::Dropped));
    }
}

#[test]
fn a_creation_is_later_than_the_damaged_row_of_the_namespace() {
    let mut case = Case::new();
    case.add_member();
    let id = case.namespace;
    let ahead = case.remote("k", 2, 90 * NOW, "ahead");
    case.commit(Operation::Remote(Remote::Next(ahead)));
    case.commit(Operation::DropNamespace { id });
    let row = case.store.view().row(NamespaceId::SYSTEM, &id.0).unwrap().unwrap();
    case.damage_namespace();
    case.commit(create());
    let found = found_namespace(id, &row);
    case.commit(Operation::Remote(Remote::Found(found)));
    assert!(case.store.view().namespaces().get(id).is_some(), "the drop was dated ahead");
}

#[test]
fn a_damaged_row_of_a_dropped_namespace_is_owed_where_another_location_may_have_a_later_one() {
    for has_others in [false, true] {
        let mut case = Case::new();
        if has_others {
            case.add_member();
        }
        case.put("k", b"value");
        case.damage_head("k");
        case.drop_namespace();
        case.collect();
        let expected = if has_others { vec![row("k")] } else { vec![] };
        assert_eq!(case.owed(), expected);
        let view = case.store.view();
        assert!(view.row(case.namespace, b"k").unwrap().is_none(), "the row itself is gone");
    }
}

#[test]
fn a_damaged_row_that_was_purged_with_its_namespace_counts_as_no_deletion_that_was_forgotten() {
    let mut case = Case::new();
    case.put("k", b"value");
    case.damage_head("k");
    case.drop_namespace();
    case.collect();
    for is_created in [false, true] {
        if is_created {
            case.commit(create());
        }
        let all = case.store.view().rows_missing_in(&VersionVector::default(), None, 99).unwrap();
        assert_eq!(all.gone, [], "a location that catches up from here would rebuild");
        let names: Vec<_> = all.damaged.iter().map(|one| one.key.to_vec()).collect();
        assert_eq!(names, [b"k".to_vec()], "it asks the others for the key");
    }
}

#[test]
fn a_store_opens_with_a_damaged_namespace_and_its_entries_are_there_once_the_row_is() {
    let mut case = Case::new();
    case.put("k", b"value");
    case.damage_namespace();
    assert_eq!(case.store.view().owed().len(), 1);
    assert!(is_damaged(&case.get("k")), "the namespace is not taken for missing");
    case.commit(create());
    assert_eq!((case.store.view().owed().len(), case.get("k").unwrap()), (0, true));
}

#[test]
fn a_damaged_namespace_that_is_created_again_is_owed_until_the_others_have_answered() {
    let mut case = Case::new();
    case.put("dead", b"value");
    case.drop_namespace();
    case.commit(create());
    let (id, view) = (case.namespace, case.store.view());
    let row = view.row(NamespaceId::SYSTEM, &id.0).unwrap().unwrap();
    case.add_member();
    case.damage_namespace();
    case.commit(create());
    assert_eq!(case.store.view().owed().len(), 1, "the drop is not there");
    let found = found_namespace(id, &row);
    case.commit(Operation::Remote(Remote::Found(found)));
    let (namespace, key) = (NamespaceId::SYSTEM, Key::new(id.0).unwrap());
    let (is_nothing, is_destroyed) = (false, false);
    case.commit(Operation::Remote(Remote::Settled { namespace, key, is_nothing, is_destroyed }));
    assert_eq!((case.store.view().owed().len(), case.get("dead").unwrap()), (0, false));
}

#[test]
fn a_damaged_row_of_a_member_is_not_replaced_by_one_of_its_fields() {
    let mut case = Case::new();
    let (id, address) = (MemberId([6; 16]), || vec!["other:1".to_owned()]);
    let put = |name: &str| Operation::PutMember { id, name: name.into(), addresses: address() };
    case.commit(put("one"));
    let row = [&NamespaceId::SYSTEM.0[..], &kv_core::Member::key(id)].concat();
    case.damage(Table::Entries, &row, |bytes| bytes[3] ^= 1);
    assert!(case.store.commit(NOW, vec![put("two")]).results[0].is_err());
    let view = case.store.view();
    assert!(view.owed().len() == 1 && view.row(NamespaceId::SYSTEM, &row[16..]).is_err());
}

#[test]
fn a_namespace_of_which_every_row_is_destroyed_is_reported_until_it_is_created_again() {
    let mut case = Case::new();
    case.put("key", b"value");
    case.add_member();
    case.damage_namespace();
    let id = case.namespace;
    let settled = |is_nothing| {
        let (namespace, key) = (NamespaceId::SYSTEM, Key::new(id.0).unwrap());
        let is_destroyed = is_nothing;
        Operation::Remote(Remote::Settled { namespace, key, is_nothing, is_destroyed })
    };
    assert_eq!(case.commit(settled(true)), Outcome::Applied(Applied::Lost));
    assert!(is_damaged(&case.get("key")), "the entries are there, and 404 would be wrong");
    case.commit(create());
    assert!(case.get("key").unwrap());
    assert_eq!(case.commit(settled(false)), Outcome::Applied(Applied::Known));
    assert!(case.store.view().owed().is_empty());
}
