//! The merge of namespaces and members: drops, creations and removals in any order, and the entries below them.
#![expect(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod common;

use std::sync::Arc;

use common::replica::{
    NAMESPACE, Replica, Sketch, SketchKind, WON, apply, creation, namespace_write, put_of, replica,
    rows, sketch, system_write,
};
use kv_core::{
    Account, Dot, Hlc, Key, ListQuery, Member, MemberId, Namespace, Operation, OriginId,
    OriginInfo, Outcome, ReadError, Title, VersionVector, WriteError,
    commit::{Applied, GcLimits, GcStep, Remote},
    derive_id,
};

fn readable(replica: &mut Replica) -> Vec<u8> {
    let view = replica.view();
    (0..9).filter(|key| matches!(view.get(NAMESPACE, &[*key], 1), Ok(Some(_)))).collect()
}

fn collect_garbage(replica: &mut Replica, rows: usize) -> GcStep {
    let limits =
        GcLimits { rows, bodies: 9, stable: Hlc::ZERO, expired_ms: None, collects_expired: true };
    replica.collect_garbage(1, &limits).unwrap()
}

fn put_member(id: u8, name: &str) -> Operation {
    let addresses = vec!["a.example:8421".to_owned()];
    Operation::PutMember { id: MemberId([id; 16]), name: name.into(), addresses }
}

#[test]
fn entries_that_are_not_later_than_a_drop_are_dead_at_once_and_later_ones_live() {
    let mut replica = replica(1);
    let write = put_of(0, 1, 6).write(&replica);
    assert_eq!(apply(&mut replica, Remote::Next(write)), WON);
    assert_eq!(rows(&mut replica).len(), 1, "kept while its namespace is not known");
    assert_eq!(apply(&mut replica, Remote::Next(namespace_write(2, 7, creation("t")))), WON);
    assert_eq!(readable(&mut replica), [0]);
    let dropped = namespace_write(3, 8, vec![Namespace::drop()]);
    assert_eq!(apply(&mut replica, Remote::Next(dropped)), WON);
    assert!(replica.view().namespaces().is_dropped(NAMESPACE));
    assert!(matches!(replica.view().get(NAMESPACE, &[0], 1), Err(ReadError::UnknownNamespace(_))));
    assert_eq!(apply(&mut replica, Remote::Next(namespace_write(4, 9, creation("t")))), WON);
    let write = put_of(1, 5, 10).write(&replica);
    assert_eq!(apply(&mut replica, Remote::Next(write)), WON);
    let other = Dot { origin: OriginId([101; 16]), seq: 2 };
    let write = Sketch { dot: other, ..put_of(2, 1, 7) }.write(&replica);
    assert_eq!(apply(&mut replica, Remote::Next(write)), Applied::Dropped);
    assert_eq!(readable(&mut replica), [1], "before any step of garbage collection");
    assert_eq!(replica.view().list(NAMESPACE, &ListQuery::default(), 1).unwrap().entries.len(), 1);
    assert_eq!(replica.view().vector().get(OriginId([100; 16])), 6);
    assert_eq!(replica.view().vector().get(other.origin), 2);
    assert_eq!(collect_garbage(&mut replica, 9).purged, 1);
    assert_eq!(rows(&mut replica).into_keys().collect::<Vec<_>>(), [1]);
    assert!(collect_garbage(&mut replica, 9).is_idle());
}

#[test]
fn dead_rows_among_living_ones_are_removed_in_steps() {
    let mut replica = replica(1);
    let mut seq = 0;
    let mut next = || {
        seq += 1;
        seq
    };
    for key in 0..3 {
        let write = put_of(key, next(), 5).write(&replica);
        apply(&mut replica, Remote::Next(write));
    }
    let fields = [creation("t"), vec![Namespace::drop()]].concat();
    apply(&mut replica, Remote::Next(namespace_write(next(), 6, fields)));
    apply(&mut replica, Remote::Next(namespace_write(next(), 7, creation("t"))));
    let write = put_of(1, next(), 8).write(&replica);
    apply(&mut replica, Remote::Next(write));
    let steps: Vec<_> = (0..4).map(|_| collect_garbage(&mut replica, 1)).collect();
    assert_eq!(steps.iter().map(|step| step.purged).collect::<Vec<_>>(), [1, 0, 1, 0]);
    assert_eq!(steps.iter().map(|step| step.more).collect::<Vec<_>>(), [true, true, true, false]);
    assert_eq!(readable(&mut replica), [1]);
}

#[test]
fn a_dropped_namespace_with_a_later_entry_is_created_again_by_the_store_that_finds_it() {
    for is_entry_first in [true, false] {
        let mut replica = replica(1);
        let put = put_of(3, 1, 9).write(&replica);
        let fields = [creation("t"), vec![Namespace::drop()]].concat();
        let row = namespace_write(2, 6, fields);
        let writes = if is_entry_first { [put, row] } else { [row, put] };
        for write in writes {
            assert_eq!(apply(&mut replica, Remote::Row(write)), WON);
        }
        let vector = [Dot { origin: OriginId([100; 16]), seq: 3 }].into_iter().collect();
        let collected = VersionVector::default();
        let adopt = Remote::Adopt { vector, collected, floor: Hlc::ZERO, damaged: Vec::new() };
        assert_eq!(apply(&mut replica, adopt), Applied::Adopted);
        assert_eq!(readable(&mut replica), []);
        assert_eq!(collect_garbage(&mut replica, 9).kept, 1);
        assert_eq!(readable(&mut replica), [3]);
        let kept: Vec<_> = replica.take_kept().into_iter().map(|write| write.key).collect();
        let opened = [3, 4].map(|id| OriginInfo::key(OriginId([id; 16])));
        assert_eq!(kept, [&opened[0][..], &opened[1], &NAMESPACE.0], "for peers");
        assert_eq!(collect_garbage(&mut replica, 9), GcStep::default());
    }
}

#[test]
fn a_deleted_entry_later_than_the_drop_does_not_bring_the_namespace_back() {
    let mut replica = replica(1);
    let fields = [creation("t"), vec![Namespace::drop()]].concat();
    apply(&mut replica, Remote::Next(namespace_write(1, 6, fields)));
    let write = sketch(2, 9, SketchKind::Delete).write(&replica);
    assert_eq!(apply(&mut replica, Remote::Next(write)), WON);
    assert_eq!(collect_garbage(&mut replica, 9).kept, 0);
    assert!(replica.view().namespaces().is_dropped(NAMESPACE));
}

#[test]
fn a_drop_and_a_creation_give_the_same_in_any_order() {
    let writes = |replica: &Replica| {
        [
            namespace_write(1, 5, creation("t")),
            namespace_write(2, 6, vec![Namespace::drop()]),
            put_of(0, 3, 4).write(replica),
            put_of(1, 4, 7).write(replica),
            namespace_write(5, 8, creation("t")),
        ]
    };
    for shift in 0..5 {
        let mut replica = replica(1);
        let mut writes: Vec<_> = writes(&replica).into_iter().collect();
        writes.rotate_left(shift);
        for write in writes {
            apply(&mut replica, Remote::Row(write));
        }
        assert_eq!(readable(&mut replica), [1], "{shift}");
        collect_garbage(&mut replica, 9);
        assert_eq!(rows(&mut replica).into_keys().collect::<Vec<_>>(), [1], "{shift}");
    }
}

#[test]
fn a_dropped_namespace_is_created_again_with_its_id_and_empty() {
    let mut replica = replica(1);
    let (account, title) = (Account::default(), Title::new("t").unwrap());
    let id = derive_id("", "t", 0);
    let create =
        || Operation::CreateNamespace { account: account.clone(), title: title.clone(), id: None };
    let delete = || Operation::Delete { namespace: id, key: Key::new("k").unwrap() };
    let drop = || Operation::DropNamespace { id };
    let results = replica.commit(1, vec![create(), delete(), drop(), delete(), drop()]).results;
    assert!(results[..3].iter().all(Result::is_ok), "{results:?}");
    assert_eq!(results[3], Err(WriteError::UnknownNamespace(id)));
    assert_eq!(results[4], Err(WriteError::UnknownNamespace(id)));
    let results = replica.commit(1, vec![create(), delete()]).results;
    let Ok(Outcome::Namespace(again)) = &results[0] else { panic!("{results:?}") };
    let Ok(Outcome::Written(written)) = &results[1] else { panic!("{results:?}") };
    assert_eq!(again.id, id);
    assert!(again.created > again.dropped_at.unwrap());
    assert!(written.version > again.dropped_at.unwrap());
}

#[test]
fn a_drop_is_later_than_every_entry_that_its_store_holds() {
    let mut replica = replica(1);
    let far_ahead = Hlc::at_millis(1 << 40);
    let write = Sketch { hlc: far_ahead, ..put_of(0, 1, 0) }.write(&replica);
    apply(&mut replica, Remote::Next(write));
    apply(&mut replica, Remote::Next(namespace_write(2, 7, creation("t"))));
    let results = replica.commit(1, vec![Operation::DropNamespace { id: NAMESPACE }]).results;
    let Ok(Outcome::Namespace(dropped)) = &results[0] else { panic!("{results:?}") };
    assert!(dropped.dropped_at.unwrap().hlc > far_ahead, "{dropped:?}");
    assert!(!dropped.exists());
}

#[test]
fn a_removal_of_a_member_beats_later_writes_of_it() {
    let mut replica = replica(1);
    let id = MemberId([7; 16]);
    let made = replica.commit(1, vec![put_member(7, "fra")]).results.remove(0).unwrap();
    let Outcome::Member(member) = made else { panic!("{made:?}") };
    assert!(replica.view().members().is_current(id));
    let key = Member::key(id);
    let write = system_write(1, 1, &key, vec![Member::removal()]);
    assert_eq!(apply(&mut replica, Remote::Next(write)), WON);
    let renamed = Member { name: "ams".into(), removed: true, ..member };
    let write = system_write(2, u64::from(u32::MAX), &key, vec![renamed.info()]);
    assert_eq!(apply(&mut replica, Remote::Next(write)), WON);
    let members = Arc::clone(replica.view().members());
    assert_eq!(members.get(id), Some(&renamed));
    let again = replica.commit(9, vec![put_member(7, "fra")]).results.remove(0);
    assert!(matches!(again, Err(WriteError::Taken(_))), "{again:?}");
}

#[test]
fn a_member_with_the_name_of_another_is_rejected() {
    let mut replica = replica(1);
    let operations = vec![
        put_member(7, "fra"),
        put_member(8, "fra"),
        put_member(9, ""),
        Operation::RemoveMember { id: MemberId([3; 16]) },
        put_member(7, "ams"),
    ];
    let results = replica.commit(1, operations).results;
    assert!(matches!(results[1], Err(WriteError::Taken(_))), "{results:?}");
    assert!(matches!(results[2], Err(WriteError::Invalid(_))), "{results:?}");
    assert!(matches!(results[3], Err(WriteError::Invalid(_))), "{results:?}");
    assert_eq!(replica.view().members().get(MemberId([7; 16])).unwrap().name, "ams");
}
