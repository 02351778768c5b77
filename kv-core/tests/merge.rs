//! The merge: the same writes give the same rows, whatever order they arrive in.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use kv_core::{
    Account, Attributes, Dot, FieldNumber, FieldValue, Hlc, JoinedRow, Key, Lane, ListQuery,
    Member, MemberId, Namespace, NamespaceId, Operation, OriginId, OriginInfo, Outcome, ReadError,
    Title, Version, VersionVector, WriteError,
    commit::{
        Applied, Committer, Creation, GcLimits, GcStep, NewContent, Remote, RemoteWrite,
        SkippedWrite,
    },
    derive_id,
    engine::{disk, redb::RedbEngine},
    view::FoundState,
};
use proptest::prelude::*;

const NAMESPACE: NamespaceId = NamespaceId([9; 16]);

type Replica = Committer<RedbEngine>;

fn replica(id: u8) -> Replica {
    let engine = RedbEngine::open(disk::memory(), 1 << 20).unwrap();
    let mut next = id;
    let random = move || {
        next += 1;
        Ok([next; 16])
    };
    let mut replica = Committer::open(Arc::new(engine), Creation::default(), random).unwrap();
    for origin in [100, 101, 102] {
        let write = opening(&origin_of(PEER, origin, &[]));
        assert_eq!(apply(&mut replica, Remote::Row(write)), Applied::Won { concurrent: false });
    }
    replica
}

/// The location whose origins the sketches use.
const PEER: MemberId = MemberId([90; 16]);

fn origin_of(member: MemberId, origin: u8, closes: &[u8]) -> OriginInfo {
    let closes = closes.iter().map(|id| OriginId([*id; 16])).collect();
    let (id, partner) = (OriginId([origin; 16]), OriginId([origin ^ 1; 16]));
    OriginInfo { id, member, lane: Lane::Small, partner, closes, opened: Hlc(1) }
}

/// The first write of an origin.
fn opening(info: &OriginInfo) -> RemoteWrite {
    let dot = Dot { origin: info.id, seq: 1 };
    joined_write(dot, info.opened, &OriginInfo::key(info.id), vec![info.field()])
}

/// A write as a test describes it. Its body is made by the replica that applies it.
#[derive(Clone, Debug)]
struct Sketch {
    dot: Dot,
    hlc: Hlc,
    prev: Option<Version>,
    key: u8,
    kind: SketchKind,
}

#[derive(Clone, Debug)]
enum SketchKind {
    Put(usize),
    Delete,
    Expired,
}

impl Sketch {
    fn version(&self) -> Version {
        Version { hlc: self.hlc, origin: self.dot.origin }
    }

    fn write(&self, replica: &Replica) -> RemoteWrite {
        let change = match self.kind {
            SketchKind::Put(len) => {
                let mut upload = replica.upload();
                assert!(upload.push(&vec![self.key; len]).unwrap().is_empty());
                let (_, body) = upload.finish();
                NewContent::Put { body, attributes: Attributes::default() }
            }
            SketchKind::Delete => NewContent::Delete,
            SketchKind::Expired => NewContent::Expired { expires_at: 5 },
        };
        RemoteWrite {
            dot: self.dot,
            hlc: self.hlc,
            prev: self.prev,
            namespace: NAMESPACE,
            key: Key::new([self.key]).unwrap(),
            change,
        }
    }
}

fn apply(replica: &mut Replica, remote: Remote) -> Applied {
    let committed = replica.commit(1, vec![Operation::Remote(remote)]);
    match committed.results.into_iter().next().unwrap().unwrap() {
        Outcome::Applied(applied) => applied,
        other => panic!("{other:?}"),
    }
}

fn writes() -> impl Strategy<Value = Vec<Sketch>> {
    let kind = prop_oneof![
        4 => (0usize..200).prop_map(SketchKind::Put),
        1 => Just(SketchKind::Put(5000)),
        2 => Just(SketchKind::Delete),
        1 => Just(SketchKind::Expired),
    ];
    proptest::collection::vec((0u8..3, 0u64..4, 0u8..3, kind), 1..25).prop_map(|made| {
        let mut last = [1; 3];
        made.into_iter()
            .map(|(origin, step, key, kind)| {
                let seq = &mut last[usize::from(origin)];
                *seq += 1;
                // Times are in no order, but no origin gives one twice.
                let hlc = Hlc(1 + step * 32 + *seq);
                let dot = Dot { origin: OriginId([100 + origin; 16]), seq: *seq };
                Sketch { dot, hlc, prev: None, key, kind }
            })
            .collect()
    })
}

/// Returns the write that each row must hold: the one with the largest version.
fn winners(writes: &[Sketch]) -> BTreeMap<u8, Dot> {
    let mut winners: BTreeMap<u8, &Sketch> = BTreeMap::new();
    for write in writes {
        let winner = winners.entry(write.key).or_insert(write);
        if write.version() > winner.version() {
            *winner = write;
        }
    }
    winners.into_iter().map(|(key, write)| (key, write.dot)).collect()
}

fn rows(replica: &mut Replica) -> BTreeMap<u8, Dot> {
    let view = replica.view();
    (0..3).filter_map(|key| Some((key, view.row(NAMESPACE, &[key]).unwrap()?.dot))).collect()
}

/// Returns the same writes, with the origins interleaved by `choices` and each origin in order.
fn interleaved(writes: &[Sketch], choices: &[usize]) -> Vec<Sketch> {
    let mut queues: BTreeMap<OriginId, Vec<Sketch>> = BTreeMap::new();
    for write in writes.iter().rev() {
        queues.entry(write.dot.origin).or_default().push(write.clone());
    }
    let mut mixed = Vec::new();
    for choice in choices.iter().cycle() {
        queues.retain(|_, queue| !queue.is_empty());
        if queues.is_empty() {
            break;
        }
        let at = choice % queues.len();
        mixed.extend(queues.values_mut().nth(at).unwrap().pop());
    }
    mixed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_order_and_repetition_gives_the_same_rows(
        writes in writes(),
        choices in proptest::collection::vec(0usize..3, 1..40),
        shuffled in Just(()).prop_perturb(|(), mut rng| rng.next_u64()),
    ) {
        let expected = winners(&writes);
        let vector: VersionVector = writes.iter().map(|write| write.dot).collect();

        let mut live = replica(1);
        for write in interleaved(&writes, &choices) {
            let write = write.write(&live);
            apply(&mut live, Remote::Next(write));
        }
        prop_assert_eq!(rows(&mut live), expected.clone());
        prop_assert_eq!(
            live.view().vector().iter().filter(|dot| dot.seq > 1).collect::<VersionVector>(),
            vector.clone()
        );

        // Applying all of it again changes nothing.
        for told in &writes {
            let write = told.write(&live);
            prop_assert_eq!(apply(&mut live, Remote::Next(write)), Applied::Known);
        }
        prop_assert_eq!(rows(&mut live), expected.clone());

        // The rows of a session come in any order, and the vector at the end.
        let mut caught_up = replica(2);
        let mut session = writes.clone();
        session.sort_by_key(|write| write.dot.seq.wrapping_mul(shuffled) ^ u64::from(write.key));
        for told in &session {
            let write = told.write(&caught_up);
            apply(&mut caught_up, Remote::Row(write));
            prop_assert_eq!(caught_up.view().vector().get(told.dot.origin), 1);
        }
        let collected = VersionVector::default();
        let (floor, damaged) = (Hlc::ZERO, Vec::new());
        let adopt = Remote::Adopt { vector: vector.clone(), collected, floor, damaged };
        apply(&mut caught_up, adopt);
        prop_assert_eq!(rows(&mut caught_up), expected);
        prop_assert!(caught_up.view().vector().covers_all(&vector));
    }
}

/// A write behind the opening row of its origin: the first has the number 1.
fn sketch(number: u64, hlc: u64, kind: SketchKind) -> Sketch {
    Sketch {
        dot: Dot { origin: OriginId([100; 16]), seq: number + 1 },
        hlc: Hlc(hlc),
        prev: None,
        key: 1,
        kind,
    }
}

#[test]
fn a_write_after_a_gap_is_rejected_with_the_first_missing_number() {
    let mut replica = replica(1);
    let write = sketch(3, 9, SketchKind::Put(1)).write(&replica);
    assert_eq!(apply(&mut replica, Remote::Next(write)), Applied::Gap { missing: 2 });
    assert!(rows(&mut replica).is_empty());
}

#[test]
fn one_version_with_two_contents_is_a_conflict_and_changes_nothing() {
    let mut replica = replica(1);
    for (seq, expected) in [(1, Applied::Won { concurrent: false }), (2, Applied::Conflict)] {
        let write = sketch(seq, 9, SketchKind::Put(1)).write(&replica);
        assert_eq!(apply(&mut replica, Remote::Next(write)), expected);
    }
    assert_eq!(replica.view().vector().get(OriginId([100; 16])), 2);
}

#[test]
fn writes_without_knowledge_of_each_other_are_counted_as_concurrent() {
    let mut replica = replica(1);
    let first = sketch(1, 10, SketchKind::Put(1));
    let write = first.write(&replica);
    assert_eq!(apply(&mut replica, Remote::Next(write)), Applied::Won { concurrent: false });
    let mut knowing = sketch(2, 20, SketchKind::Put(2));
    knowing.prev = Some(first.version());
    let write = knowing.write(&replica);
    assert_eq!(apply(&mut replica, Remote::Next(write)), Applied::Won { concurrent: false });
    let mut unknowing = sketch(3, 30, SketchKind::Delete);
    unknowing.prev = Some(first.version());
    let write = unknowing.write(&replica);
    assert_eq!(apply(&mut replica, Remote::Next(write)), Applied::Won { concurrent: true });
    let write = sketch(4, 40, SketchKind::Put(1)).write(&replica);
    assert_eq!(apply(&mut replica, Remote::Next(write)), Applied::Won { concurrent: false });
}

fn state(replica: &mut Replica, key: &[u8]) -> FoundState {
    replica.view().row(NAMESPACE, key).unwrap().unwrap().state
}

#[test]
fn a_value_replaces_its_expired_tombstone_in_either_order_counted_or_not() {
    let value = sketch(1, 9, SketchKind::Put(5000));
    let freed = sketch(1, 9, SketchKind::Expired);
    let won = Applied::Won { concurrent: false };
    for is_counted in [false, true] {
        let mut replica = replica(1);
        let write = freed.write(&replica);
        assert_eq!(apply(&mut replica, Remote::Row(write)), won);
        assert_eq!(state(&mut replica, &[1]), FoundState::ExpiredTombstone);
        if is_counted {
            let vector = [value.dot].into_iter().collect();
            let collected = VersionVector::default();
            apply(
                &mut replica,
                Remote::Adopt { vector, collected, floor: Hlc::ZERO, damaged: Vec::new() },
            );
        }
        let write = value.write(&replica);
        assert_eq!(apply(&mut replica, Remote::Row(write)), won);
        let FoundState::Large { body, .. } = state(&mut replica, &[1]) else { panic!() };
        assert_eq!(replica.view().chunk(body, 0).unwrap().unwrap(), vec![1; 5000]);
        for repeated in [&freed, &value] {
            let write = repeated.write(&replica);
            assert_eq!(apply(&mut replica, Remote::Row(write)), Applied::Known);
            assert!(matches!(state(&mut replica, &[1]), FoundState::Large { .. }));
        }
    }
}

#[test]
fn a_peers_row_repairs_an_own_write_that_was_freed_too_early() {
    let mut replica = replica(1);
    let (account, title) = (Account::default(), Title::new("t").unwrap());
    replica.commit(1, vec![Operation::CreateNamespace { account, title, id: Some(NAMESPACE) }]);
    let put = |replica: &Replica| {
        let mut upload = replica.upload();
        assert!(upload.push(b"value").unwrap().is_empty());
        let attributes = Attributes { metadata: None, expires_at: Some(100) };
        (upload.finish().1, attributes)
    };
    let key = Key::new("k").unwrap();
    let (body, attributes) = put(&replica);
    let operation = Operation::Put { namespace: NAMESPACE, key: key.clone(), body, attributes };
    replica.commit(1, vec![operation]);
    let before = replica.view().row(NAMESPACE, b"k").unwrap().unwrap();
    let limits = GcLimits {
        rows: 9,
        bodies: 9,
        stable: Hlc::ZERO,
        expired_ms: Some(100_000),
        collects_expired: true,
    };
    assert_eq!(replica.collect_garbage(1, &limits).unwrap().expired, 1);
    assert_eq!(state(&mut replica, b"k"), FoundState::ExpiredTombstone);
    let (body, attributes) = put(&replica);
    let write = RemoteWrite {
        dot: before.dot,
        hlc: before.version.hlc,
        prev: before.prev,
        namespace: NAMESPACE,
        key,
        change: NewContent::Put { body, attributes },
    };
    let next = RemoteWrite { change: NewContent::Delete, key: write.key.clone(), ..write };
    assert_eq!(apply(&mut replica, Remote::Next(next)), Applied::Known);
    assert_eq!(apply(&mut replica, Remote::Row(write)), Applied::Won { concurrent: false });
    assert_eq!(replica.view().row(NAMESPACE, b"k").unwrap().unwrap(), before);
    assert_eq!(replica.collect_garbage(1, &limits).unwrap().expired, 1, "it expires again");
}

/// A write of fields behind the opening row of its origin: the first has the number 1.
fn system_write(
    number: u64,
    hlc: u64,
    key: &[u8],
    fields: Vec<(FieldNumber, FieldValue)>,
) -> RemoteWrite {
    let dot = Dot { origin: OriginId([100; 16]), seq: number + 1 };
    joined_write(dot, Hlc(hlc), key, fields)
}

fn joined_write(
    dot: Dot,
    hlc: Hlc,
    key: &[u8],
    fields: Vec<(FieldNumber, FieldValue)>,
) -> RemoteWrite {
    let version = Version { hlc, origin: dot.origin };
    let row = JoinedRow::written(version, dot.seq, fields).unwrap();
    RemoteWrite {
        dot,
        hlc,
        prev: None,
        namespace: NamespaceId::SYSTEM,
        key: Key::new(key).unwrap(),
        change: NewContent::Joined(Arc::new(row)),
    }
}

fn creation(title: &str) -> Vec<(FieldNumber, FieldValue)> {
    let title = Title::new(title).unwrap();
    vec![Namespace::titled(&Account::default(), &title), Namespace::creation()]
}

fn namespace_write(seq: u64, hlc: u64, fields: Vec<(FieldNumber, FieldValue)>) -> RemoteWrite {
    system_write(seq, hlc, &NAMESPACE.0, fields)
}

const WON: Applied = Applied::Won { concurrent: false };

fn readable(replica: &mut Replica) -> Vec<u8> {
    let view = replica.view();
    (0..9).filter(|key| matches!(view.get(NAMESPACE, &[*key], 1), Ok(Some(_)))).collect()
}

fn put_of(key: u8, seq: u64, hlc: u64) -> Sketch {
    Sketch { key, ..sketch(seq, hlc, SketchKind::Put(1)) }
}

fn collect_garbage(replica: &mut Replica, rows: usize) -> GcStep {
    let limits =
        GcLimits { rows, bodies: 9, stable: Hlc::ZERO, expired_ms: None, collects_expired: true };
    replica.collect_garbage(1, &limits).unwrap()
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

fn put_member(id: u8, name: &str) -> Operation {
    let addresses = vec!["a.example:8421".to_owned()];
    Operation::PutMember { id: MemberId([id; 16]), name: name.into(), addresses }
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

#[test]
fn a_local_write_beats_a_remote_write_that_was_applied_before_it() {
    let mut replica = replica(1);
    let (account, title) = (Account::default(), Title::new("t").unwrap());
    let make = Operation::CreateNamespace { account, title, id: None };
    assert!(replica.commit(1, vec![make]).results[0].is_ok());
    let namespace = derive_id("", "t", 0);
    let far_ahead = Hlc::at_millis(1 << 40);
    let write = RemoteWrite {
        namespace,
        hlc: far_ahead,
        ..sketch(1, 0, SketchKind::Put(7)).write(&replica)
    };
    apply(&mut replica, Remote::Next(write));
    let mut upload = replica.upload();
    assert!(upload.push(b"mine").unwrap().is_empty());
    let (_, body) = upload.finish();
    let put = Operation::Put {
        namespace,
        key: Key::new([1]).unwrap(),
        body,
        attributes: Attributes::default(),
    };
    assert!(replica.commit(1, vec![put]).results[0].is_ok());
    let row = replica.view().row(namespace, &[1]).unwrap().unwrap();
    assert!(row.version.hlc > far_ahead);
    assert_eq!(row.state, FoundState::Inline(Bytes::from_static(b"mine")));
}

#[test]
fn a_write_that_no_store_can_make_is_rejected_and_changes_nothing() {
    let mut replica = replica(1);
    let deletion = sketch(1, 7, SketchKind::Delete).write(&replica);
    let value = sketch(1, 7, SketchKind::Put(9)).write(&replica);
    let writes = [
        RemoteWrite { namespace: NamespaceId::SYSTEM, ..deletion },
        RemoteWrite { namespace: NamespaceId::SYSTEM, ..value },
        RemoteWrite { namespace: NAMESPACE, ..namespace_write(1, 7, creation("t")) },
        RemoteWrite { hlc: Hlc(u64::MAX), ..sketch(1, 0, SketchKind::Delete).write(&replica) },
        RemoteWrite {
            dot: Dot { origin: OriginId([100; 16]), seq: 0 },
            ..sketch(1, 7, SketchKind::Delete).write(&replica)
        },
        RemoteWrite {
            prev: Some(Version { hlc: Hlc(3), origin: OriginId([0; 16]) }),
            ..sketch(1, 7, SketchKind::Delete).write(&replica)
        },
    ];
    let clock = replica.clock();
    for write in writes {
        let text = format!("{write:?}");
        let applied = apply(&mut replica, Remote::Row(write));
        assert!(matches!(applied, Applied::Refused(_)) || applied == Applied::Known, "{text}");
    }
    assert_eq!(replica.view().vector().get(OriginId([100; 16])), 1);
    assert_eq!(replica.clock(), clock);
}

#[test]
fn a_tombstone_is_collected_only_once_the_vector_counts_it() {
    let mut replica = replica(1);
    let deleted = sketch(2, 9, SketchKind::Delete);
    let write = deleted.write(&replica);
    assert_eq!(apply(&mut replica, Remote::Row(write)), WON);
    let limits = GcLimits {
        rows: 9,
        bodies: 9,
        stable: Hlc::at_millis(1),
        expired_ms: None,
        collects_expired: true,
    };
    let step = replica.collect_garbage(1, &GcLimits { rows: 1, ..limits }).unwrap();
    assert_eq!((step.collected, step.more), (0, false), "what stays is not looked at without end");
    let (vector, collected) = ([deleted.dot].into_iter().collect(), VersionVector::default());
    let adopt = Remote::Adopt { vector, collected, floor: Hlc::ZERO, damaged: Vec::new() };
    assert_eq!(apply(&mut replica, adopt), Applied::Adopted);
    assert_eq!(replica.collect_garbage(1, &limits).unwrap().collected, 1);
    assert!(replica.view().collected().covers(deleted.dot));
}

#[test]
fn a_write_is_counted_without_its_row_only_if_its_key_holds_it_or_a_later_one() {
    let mut replica = replica(1);
    let put = |number, hlc| sketch(number, hlc, SketchKind::Put(3));
    let skip = |number, hlc| {
        let Sketch { dot, hlc, .. } = put(number, hlc);
        Remote::Skip(SkippedWrite { dot, hlc, namespace: NAMESPACE, key: Key::new([1]).unwrap() })
    };
    assert_eq!(apply(&mut replica, skip(1, 10)), Applied::Gap { missing: 2 }, "no row");
    let later = put(3, 30).write(&replica);
    assert!(matches!(apply(&mut replica, Remote::Row(later)), Applied::Won { .. }));
    assert_eq!(apply(&mut replica, skip(2, 20)), Applied::Gap { missing: 2 }, "not the next");
    let steps = [
        (skip(1, 10), Applied::Lost),
        (skip(1, 10), Applied::Known),
        (skip(2, 20), Applied::Lost),
        (skip(3, 30), Applied::Lost),
        (skip(4, 40), Applied::Gap { missing: 5 }),
    ];
    for (skip, expected) in steps {
        let text = format!("{skip:?}");
        assert_eq!(apply(&mut replica, skip), expected, "{text}");
    }
    assert_eq!(replica.view().vector().get(OriginId([100; 16])), 4);
    assert_eq!(rows(&mut replica), BTreeMap::from([(1, put(3, 30).dot)]));
}

#[test]
fn the_first_write_of_an_origin_and_joined_rows_are_never_counted_without_their_rows() {
    let mut replica = replica(1);
    let skip = |origin, seq, namespace| {
        let dot = Dot { origin: OriginId([origin; 16]), seq };
        Remote::Skip(SkippedWrite { dot, hlc: Hlc(1), namespace, key: Key::new([1]).unwrap() })
    };
    for skip in [skip(99, 1, NAMESPACE), skip(100, 2, NamespaceId::SYSTEM)] {
        let text = format!("{skip:?}");
        assert!(matches!(apply(&mut replica, skip), Applied::Refused(_)), "{text}");
    }
    assert_eq!(replica.view().vector().get(OriginId([99; 16])), 0);
    assert_eq!(replica.view().vector().get(OriginId([100; 16])), 1);
}
