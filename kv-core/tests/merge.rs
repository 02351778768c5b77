//! The merge: the same writes give the same rows, whatever order they arrive in.
#![expect(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod common;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::replica::{
    NAMESPACE, Replica, Sketch, SketchKind, WON, apply, creation, namespace_write, replica, rows,
    sketch,
};
use kv_core::{
    Account, Attributes, Dot, Hlc, Key, NamespaceId, Operation, OriginId, Title, Version,
    VersionVector,
    commit::{Applied, GcLimits, NewContent, Remote, RemoteWrite, SkippedWrite},
    derive_id,
    view::FoundState,
};
use proptest::prelude::*;

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
        for one in &writes {
            let write = one.write(&live);
            prop_assert_eq!(apply(&mut live, Remote::Next(write)), Applied::Known);
        }
        prop_assert_eq!(rows(&mut live), expected.clone());

        // The rows of a session come in any order, and the vector at the end.
        let mut caught_up = replica(2);
        let mut session = writes.clone();
        session.sort_by_key(|write| write.dot.seq.wrapping_mul(shuffled) ^ u64::from(write.key));
        for one in &session {
            let write = one.write(&caught_up);
            apply(&mut caught_up, Remote::Row(write));
            prop_assert_eq!(caught_up.view().vector().get(one.dot.origin), 1);
        }
        let collected = VersionVector::default();
        let (floor, damaged) = (Hlc::ZERO, Vec::new());
        let adopt = Remote::Adopt { vector: vector.clone(), collected, floor, damaged };
        apply(&mut caught_up, adopt);
        prop_assert_eq!(rows(&mut caught_up), expected);
        prop_assert!(caught_up.view().vector().covers_all(&vector));
    }
}

fn state(replica: &mut Replica, key: &[u8]) -> FoundState {
    replica.view().row(NAMESPACE, key).unwrap().unwrap().state
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
