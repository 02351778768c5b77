//! The live streams of a peer, without a core.

use kv_core::limits::CHUNK_BYTES;

use super::*;
use crate::{
    Work,
    core::{
        actions::PieceName,
        testing::{Fixture, PEER, THIRD, large_row_of, origins, row_of},
    },
};

fn receive(
    fixture: &mut Fixture,
    receiver: &mut LiveReceiver,
    bodies: &mut BodyFetcher,
    rows: Vec<Row>,
) {
    let new = receiver.receive(&mut fixture.context(), PEER, rows);
    receiver.queue(&mut fixture.context(), bodies, PEER, new);
}

/// The sequence numbers of the writes in each commit that was requested.
fn commits(fixture: &mut Fixture) -> Vec<Vec<u64>> {
    std::iter::from_fn(|| fixture.poll_work())
        .filter_map(|work| match work {
            Work::Apply { rows, .. } => Some(rows.iter().map(|row| row.row.dot.seq).collect()),
            _ => None,
        })
        .collect()
}

fn connected() -> (Fixture, LiveReceiver, BodyFetcher) {
    let mut fixture = Fixture::new();
    fixture.connect(PEER);
    (fixture, LiveReceiver::default(), BodyFetcher::default())
}

#[test]
fn writes_are_applied_in_order_and_once() {
    let (mut fixture, mut receiver, mut bodies) = connected();
    for (seqs, applied) in [(1..3, vec![vec![1, 2]]), (1..4, vec![vec![3]]), (2..4, vec![])] {
        let rows = seqs.map(|seq| row_of(PEER, seq)).collect();
        receive(&mut fixture, &mut receiver, &mut bodies, rows);
        assert_eq!(commits(&mut fixture), applied);
    }
}

#[test]
fn after_a_gap_the_missing_writes_are_requested() {
    let (mut fixture, mut receiver, mut bodies) = connected();
    receive(&mut fixture, &mut receiver, &mut bodies, vec![row_of(PEER, 3)]);
    assert_eq!(commits(&mut fixture), Vec::<Vec<u64>>::new());
    let want = Want { origins: origins(PEER), numbers: [0, 0] };
    assert_eq!(fixture.sent(PEER), [Message::Want(want)]);
    receive(&mut fixture, &mut receiver, &mut bodies, vec![row_of(PEER, 4)]);
    assert_eq!(fixture.sent(PEER), [], "it was asked a moment ago");
}

#[test]
fn writes_behind_a_large_body_wait_for_it() {
    let (mut fixture, mut receiver, mut bodies) = connected();
    let rows = vec![row_of(PEER, 1), large_row_of(PEER, 2), row_of(PEER, 3)];
    receive(&mut fixture, &mut receiver, &mut bodies, rows);
    assert_eq!(commits(&mut fixture), [[1]]);
    deliver(&mut fixture, &mut receiver, &mut bodies, large_row_of(PEER, 2));
    assert_eq!(commits(&mut fixture), [[2, 3]]);
}

/// The first fetch that is under way brings this row.
fn deliver(fixture: &mut Fixture, receiver: &mut LiveReceiver, bodies: &mut BodyFetcher, row: Row) {
    let id = bodies.all()[0];
    bodies.discard(fixture.out(), id);
    let origin = origins(PEER)[0];
    let fetched = fetched(origin, row, id);
    receiver.fetched(&mut fixture.context(), bodies, origin, (id, fetched));
}

fn fetched(origin: OriginId, row: Row, id: u64) -> Fetched {
    let (purpose, fetch) = (Purpose::Live(origin), Some(id));
    Fetched { peer: PEER, purpose, row, fetch, is_successor: false }
}

/// A large write of one and the same key.
fn rewrite(seq: u64) -> Row {
    Row { key: large_row_of(PEER, 1).key, ..large_row_of(PEER, seq) }
}

/// How each write of the commits that were requested is applied.
fn applied(fixture: &mut Fixture) -> Vec<Vec<(u64, How)>> {
    let how = |row: &ToApply| (row.row.dot.seq, row.how);
    std::iter::from_fn(|| fixture.poll_work())
        .filter_map(|work| match work {
            Work::Apply { rows, .. } => Some(rows.iter().map(how).collect()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_later_write_is_applied_before_those_that_it_replaced_are_counted() {
    let (mut fixture, mut receiver, mut bodies) = connected();
    let rows = vec![rewrite(1), rewrite(2), row_of(PEER, 3)];
    receive(&mut fixture, &mut receiver, &mut bodies, rows);
    assert_eq!(bodies.all().len(), 1, "one fetch for a key");
    deliver(&mut fixture, &mut receiver, &mut bodies, rewrite(5));
    let skipped = [(1, How::Skip), (2, How::Skip), (3, How::Next)];
    assert_eq!(applied(&mut fixture), [&[(5, How::Row)][..], &skipped[..]]);
    let rows = vec![rewrite(4), rewrite(5), rewrite(6)];
    receive(&mut fixture, &mut receiver, &mut bodies, rows);
    assert_eq!(applied(&mut fixture), [[(4, How::Skip), (5, How::Skip)]]);
    assert_eq!(bodies.all().len(), 1, "the sixth is fetched");
}

#[test]
fn the_bodies_of_different_keys_are_fetched_together_and_applied_in_order() {
    let (mut fixture, mut receiver, mut bodies) = connected();
    let rows = vec![large_row_of(PEER, 1), large_row_of(PEER, 2)];
    receive(&mut fixture, &mut receiver, &mut bodies, rows);
    let [first, second] = bodies.all()[..] else { panic!("two fetches") };
    for (id, seq, expected) in [(second, 2, vec![]), (first, 1, vec![vec![1, 2]])] {
        let (row, origin) = (large_row_of(PEER, seq), origins(PEER)[0]);
        let fetched = fetched(origin, row, id);
        receiver.fetched(&mut fixture.context(), &mut bodies, origin, (id, fetched));
        assert_eq!(commits(&mut fixture), expected);
    }
}

#[test]
fn after_a_failed_commit_no_write_is_counted_for_one_that_may_not_be_there() {
    let (mut fixture, mut receiver, mut bodies) = connected();
    receive(&mut fixture, &mut receiver, &mut bodies, vec![rewrite(1)]);
    deliver(&mut fixture, &mut receiver, &mut bodies, rewrite(3));
    commits(&mut fixture);
    receiver.applied(&mut fixture.context(), &mut bodies, origins(PEER)[0], true);
    receive(&mut fixture, &mut receiver, &mut bodies, vec![rewrite(1)]);
    assert_eq!((applied(&mut fixture), bodies.all().len()), (vec![], 1));
}

#[test]
fn writes_of_origins_that_the_peer_has_not_announced_are_ignored() {
    let (mut fixture, mut receiver, mut bodies) = connected();
    receive(&mut fixture, &mut receiver, &mut bodies, vec![row_of(THIRD, 1)]);
    assert_eq!(commits(&mut fixture), Vec::<Vec<u64>>::new());
}

#[test]
fn a_whole_body_whose_write_is_forgotten_is_dropped_by_the_store() {
    let (mut fixture, mut receiver, mut bodies) = connected();
    let rows = vec![large_row_of(PEER, 1), large_row_of(PEER, 2)];
    receive(&mut fixture, &mut receiver, &mut bodies, rows);
    let [first, second] = bodies.all()[..] else { panic!("two fetches") };
    let origin = origins(PEER)[0];
    let dot = large_row_of(PEER, 2).dot;
    for (offset, len) in [(0, CHUNK_BYTES), (CHUNK_BYTES, 100_000 - CHUNK_BYTES)] {
        let name = PieceName { fetch: second, dot, offset: offset as u64 };
        let whole = bodies.piece(&mut fixture.context(), PEER, name, vec![0; len].into());
        if let Some(whole) = whole {
            receiver.fetched(&mut fixture.context(), &mut bodies, origin, (second, whole));
        }
    }
    receiver.forget(&mut fixture.context(), &mut bodies, origin);
    let mut dropped: Vec<_> = std::iter::from_fn(|| fixture.poll_work())
        .filter_map(|work| match work {
            Work::Discard { fetch } => Some(fetch),
            _ => None,
        })
        .collect();
    dropped.sort_unstable();
    let mut expected = [first, second];
    expected.sort_unstable();
    assert_eq!(dropped, expected);
}
