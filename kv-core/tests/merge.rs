//! The merge: the same writes give the same rows, whatever order they arrive in.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use kv_core::{
    Account, Attributes, Dot, Hlc, Key, Member, MemberId, Namespace, NamespaceId, Operation,
    OriginId, Outcome, Title, Version, VersionVector, WriteError,
    commit::{Applied, Committer, GcLimits, NewContent, Remote, RemoteWrite},
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
    let mut random = || {
        next += 1;
        Ok([next; 16])
    };
    Committer::open(Arc::new(engine), &mut random).unwrap()
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
        let mut last = [0; 3];
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
            live.view().vector().iter().filter(|dot| dot.origin.0[0] >= 100).collect::<VersionVector>(),
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
            prop_assert_eq!(caught_up.view().vector().get(told.dot.origin), 0);
        }
        let collected = VersionVector::default();
        let (floor, damaged) = (Hlc::ZERO, Vec::new());
        let adopt = Remote::Adopt { vector: vector.clone(), collected, floor, damaged };
        apply(&mut caught_up, adopt);
        prop_assert_eq!(rows(&mut caught_up), expected);
        prop_assert!(caught_up.view().vector().covers_all(&vector));
    }
}

fn sketch(seq: u64, hlc: u64, kind: SketchKind) -> Sketch {
    Sketch {
        dot: Dot { origin: OriginId([100; 16]), seq },
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
    assert_eq!(apply(&mut replica, Remote::Next(write)), Applied::Gap { missing: 1 });
    assert!(rows(&mut replica).is_empty());
}

#[test]
fn one_version_with_two_contents_is_a_conflict_and_changes_nothing() {
    let mut replica = replica(1);
    for (seq, expected) in [(1, Applied::Won { concurrent: false }), (2, Applied::Conflict)] {
        let write = sketch(seq, 9, SketchKind::Put(1)).write(&replica);
        assert_eq!(apply(&mut replica, Remote::Next(write)), expected);
    }
    assert_eq!(replica.view().vector().get(OriginId([100; 16])), 1);
}

#[test]
fn a_write_of_an_own_origin_that_this_store_did_not_make_is_rejected() {
    let mut replica = replica(1);
    let [own, _] = replica.origins();
    let mut forged = sketch(1, 9, SketchKind::Put(1));
    forged.dot.origin = own;
    let write = forged.write(&replica);
    assert_eq!(apply(&mut replica, Remote::Next(write)), Applied::NotMade);
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
    let limits = GcLimits { rows: 9, bodies: 9, stable: Hlc::ZERO, expired_ms: Some(100_000), collects_expired: true };
    assert_eq!(replica.collect_garbage(&limits).unwrap().expired, 1);
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
    assert_eq!(replica.collect_garbage(&limits).unwrap().expired, 1, "it expires again");
}

fn namespace_write(replica: &Replica, seq: u64, hlc: u64, namespace: &Namespace) -> RemoteWrite {
    system_write(replica, seq, hlc, &namespace.id.0, &namespace.encode())
}

fn system_write(replica: &Replica, seq: u64, hlc: u64, key: &[u8], value: &[u8]) -> RemoteWrite {
    let mut upload = replica.upload();
    assert!(upload.push(value).unwrap().is_empty());
    let (_, body) = upload.finish();
    RemoteWrite {
        namespace: NamespaceId::SYSTEM,
        key: Key::new(key).unwrap(),
        change: NewContent::Put { body, attributes: Attributes::default() },
        ..sketch(seq, hlc, SketchKind::Delete).write(replica)
    }
}

#[test]
fn a_drop_beats_a_later_rename_and_later_writes_store_nothing() {
    let mut replica = replica(1);
    let created = Version { hlc: Hlc(5), origin: OriginId([100; 16]) };
    let dropped = Namespace {
        id: NAMESPACE,
        account: Account::default(),
        title: Title::new("t").unwrap(),
        created,
        dropped: true,
    };
    let renamed = Namespace { title: Title::new("u").unwrap(), dropped: false, ..dropped.clone() };
    let write = sketch(1, 6, SketchKind::Put(1)).write(&replica);
    apply(&mut replica, Remote::Next(write));
    assert_eq!(rows(&mut replica).len(), 1, "kept while its namespace is not known");
    let write = namespace_write(&replica, 2, 7, &dropped);
    assert_eq!(apply(&mut replica, Remote::Next(write)), Applied::Won { concurrent: false });
    let write = namespace_write(&replica, 3, 8, &renamed);
    assert_eq!(apply(&mut replica, Remote::Next(write)), Applied::Lost);
    assert!(replica.view().namespaces().is_dropped(NAMESPACE));
    let write = sketch(4, 9, SketchKind::Put(1)).write(&replica);
    assert_eq!(apply(&mut replica, Remote::Next(write)), Applied::Dropped);
    assert_eq!(replica.view().vector().get(OriginId([100; 16])), 4);
}

fn put_member(id: u8, origin: u8, name: &str) -> Operation {
    let origins = [OriginId([origin; 16]), OriginId([origin + 1; 16])];
    let addresses = vec!["a.example:8421".to_owned()];
    Operation::PutMember { id: MemberId([id; 16]), origins, name: name.into(), addresses }
}

#[test]
fn a_removal_of_a_member_beats_later_writes_of_it() {
    let mut replica = replica(1);
    let id = MemberId([7; 16]);
    let made = replica.commit(1, vec![put_member(7, 20, "fra")]).results.remove(0).unwrap();
    let Outcome::Member(member) = made else { panic!("{made:?}") };
    assert!(replica.view().members().is_current(id));
    let key = Member::key(id);
    let removed = Member { removed: true, ..member.clone() };
    let write = system_write(&replica, 1, 1, &key, &removed.encode());
    assert_eq!(apply(&mut replica, Remote::Next(write)), Applied::Won { concurrent: true });
    let renamed = Member { name: "ams".into(), ..member };
    let write = system_write(&replica, 2, u64::from(u32::MAX), &key, &renamed.encode());
    assert_eq!(apply(&mut replica, Remote::Next(write)), Applied::Lost);
    let members = Arc::clone(replica.view().members());
    assert_eq!(members.get(id), Some(&removed));
    assert_eq!(members.closed_origins().collect::<Vec<_>>(), removed.origins);
    let again = replica.commit(9, vec![put_member(7, 20, "fra")]).results.remove(0);
    assert!(matches!(again, Err(WriteError::Taken(_))), "{again:?}");
}

#[test]
fn a_member_with_the_name_or_the_store_of_another_is_rejected() {
    let mut replica = replica(1);
    let operations = vec![
        put_member(7, 20, "fra"),
        put_member(8, 30, "fra"),
        put_member(7, 40, "fra"),
        put_member(9, 50, ""),
        Operation::RemoveMember { id: MemberId([3; 16]) },
        put_member(7, 20, "ams"),
    ];
    let results = replica.commit(1, operations).results;
    assert!(matches!(results[1], Err(WriteError::Taken(_))), "{results:?}");
    assert!(matches!(results[2], Err(WriteError::Taken(_))), "{results:?}");
    assert!(matches!(results[3], Err(WriteError::Invalid(_))), "{results:?}");
    assert!(matches!(results[4], Err(WriteError::Invalid(_))), "{results:?}");
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
    let created = Version { hlc: Hlc(5), origin: OriginId([100; 16]) };
    let system = Namespace {
        id: NamespaceId::SYSTEM,
        account: Account::default(),
        title: Title::new("t").unwrap(),
        created,
        dropped: true,
    };
    let named = Namespace { id: NAMESPACE, ..system.clone() }.encode();
    let untitled = [&named[..named.len() - 3], &[0, 0]].concat();
    let writes = [
        namespace_write(&replica, 1, 7, &system),
        system_write(&replica, 1, 7, &NAMESPACE.0, &untitled),
        RemoteWrite { hlc: Hlc(u64::MAX), ..sketch(1, 0, SketchKind::Delete).write(&replica) },
        RemoteWrite {
            dot: Dot { origin: OriginId([100; 16]), seq: 0 },
            ..sketch(1, 7, SketchKind::Delete).write(&replica)
        },
    ];
    let clock = replica.clock();
    for write in writes {
        let text = format!("{write:?}");
        let applied = apply(&mut replica, Remote::Row(write));
        assert!(matches!(applied, Applied::Refused(_)) || applied == Applied::Known, "{text}");
    }
    assert_eq!(replica.view().vector().get(OriginId([100; 16])), 0);
    assert_eq!(replica.clock(), clock);
}

#[test]
fn a_vector_that_counts_writes_that_this_store_did_not_make_is_not_adopted() {
    let mut replica = replica(1);
    let [own, _] = replica.origins();
    let vector: VersionVector =
        [Dot { origin: own, seq: 9 }, Dot { origin: OriginId([100; 16]), seq: 1 }]
            .into_iter()
            .collect();
    let nothing = VersionVector::default();
    for (vector, collected) in [(vector.clone(), nothing.clone()), (nothing, vector)] {
        let adopt = Remote::Adopt { vector, collected, floor: Hlc::ZERO, damaged: Vec::new() };
        assert_eq!(apply(&mut replica, adopt), Applied::NotMade);
    }
    assert_eq!(replica.view().vector(), &VersionVector::default());
}
