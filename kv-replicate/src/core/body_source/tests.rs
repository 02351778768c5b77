//! The requests of a peer, without a core.

use kv_core::{Dot, NamespaceId};

use super::*;
use crate::core::testing::{Fixture, PEER, THIRD, US, dot, large_row_of};

fn get(fetch: u64, len: u32) -> GetBody {
    let (namespace, key) = (NamespaceId([3; 16]), kv_core::Key::new("key").unwrap());
    GetBody { fetch, namespace, dot: dot(1), offset: 0, len, key }
}

fn connected() -> (Fixture, BodySource) {
    let mut fixture = Fixture::new();
    fixture.connect(PEER);
    (fixture, BodySource::default())
}

/// Answers the read that is under way. Returns the write, and the view that it is read from.
fn answer(fixture: &mut Fixture, source: &mut BodySource, found: FoundBody) -> (Dot, u64) {
    let (id, dot, pin) = loop {
        match fixture.poll_work().expect("a read") {
            Work::ReadBody { id, dot, pin, .. } => break (id, dot, pin),
            Work::Unpin { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    let Some(Pending::Body { peer, piece }) = fixture.out().finished(id) else {
        panic!("no purpose")
    };
    source.read(&mut fixture.context(), peer, piece, found);
    (dot, pin)
}

fn chunk(bytes: &'static [u8]) -> FoundBody {
    FoundBody::Chunk { bytes: Bytes::from_static(bytes), is_last: false }
}

#[test]
fn bodies_take_turns_and_pieces_wait_in_bounds() {
    let (mut fixture, mut source) = connected();
    source.get(&mut fixture.context(), PEER, get(1, 6));
    source.get(&mut fixture.context(), PEER, get(2, 6));
    answer(&mut fixture, &mut source, chunk(b"abc"));
    answer(&mut fixture, &mut source, chunk(b"xyz"));
    assert!(fixture.poll_work().is_none(), "two pieces wait");
    let mut names = Vec::new();
    while let Some(Message::Piece { fetch, offset, .. }) = source.next(&mut fixture.context(), PEER)
    {
        names.push((fetch, offset));
    }
    assert_eq!(names, [(1, 0), (2, 0)]);
    answer(&mut fixture, &mut source, FoundBody::Gone);
    let gone = source.next(&mut fixture.context(), PEER);
    assert_eq!(gone, Some(Message::NoBody { fetch: 1, why: NoBody::Gone }));
    answer(&mut fixture, &mut source, FoundBody::Damaged);
    let damaged = source.next(&mut fixture.context(), PEER);
    assert_eq!(damaged, Some(Message::NoBody { fetch: 2, why: NoBody::Damaged }));
}

#[test]
fn the_pieces_of_a_write_that_replaced_the_requested_one_follow_its_row() {
    let (mut fixture, mut source) = connected();
    source.get(&mut fixture.context(), PEER, get(1, 6));
    let row = Box::new(large_row_of(PEER, 2));
    let (_, pin) = answer(&mut fixture, &mut source, FoundBody::Replaced(row.clone()));
    let read = answer(&mut fixture, &mut source, chunk(b"abc"));
    assert_eq!(read, (dot(2), pin), "from the view that named it");
    let sent: Vec<_> = std::iter::from_fn(|| source.next(&mut fixture.context(), PEER)).collect();
    let bytes = Bytes::from_static(b"abc");
    let piece = Message::Piece { fetch: 1, dot: dot(2), offset: 0, bytes };
    assert_eq!(sent, [Message::NoBody { fetch: 1, why: NoBody::Replaced(row) }, piece]);
}

#[test]
fn all_pieces_of_a_body_are_read_from_one_view_which_is_then_dropped() {
    let (mut fixture, mut source) = connected();
    source.get(&mut fixture.context(), PEER, get(1, 6));
    let (_, first) = answer(&mut fixture, &mut source, chunk(b"abc"));
    let last = FoundBody::Chunk { bytes: Bytes::from_static(b"de"), is_last: true };
    let (_, second) = answer(&mut fixture, &mut source, last);
    assert_eq!(first, second);
    assert!(matches!(fixture.poll_work(), Some(Work::Unpin { pin }) if pin == first));
    assert_eq!(source.timeout(), None);
}

#[test]
fn a_view_that_a_peer_does_not_read_to_the_end_is_dropped_after_a_while() {
    let (mut fixture, mut source) = connected();
    source.get(&mut fixture.context(), PEER, get(1, 3));
    let (_, pin) = answer(&mut fixture, &mut source, chunk(b"abc"));
    assert_eq!(source.timeout(), Some(IDLE));
    fixture.wait(IDLE);
    source.watch(&mut fixture.context());
    assert!(matches!(fixture.poll_work(), Some(Work::Unpin { pin: one }) if one == pin));
}

#[test]
fn the_view_of_a_body_is_kept_for_minutes_while_its_peer_reads_from_it() {
    let (mut fixture, mut source) = connected();
    source.get(&mut fixture.context(), PEER, get(1, 3000));
    let mut pins = std::collections::BTreeSet::new();
    for _ in 0..14 {
        pins.insert(answer(&mut fixture, &mut source, chunk(b"abc")).1);
        source.next(&mut fixture.context(), PEER);
        fixture.wait(IDLE / 3 * 2);
        source.watch(&mut fixture.context());
    }
    assert_eq!(pins.len(), 1);
    fixture.wait(PINNED_FOR);
    source.watch(&mut fixture.context());
    assert_eq!(source.timeout(), None, "but not for ever");
}

#[test]
fn the_view_of_a_body_that_waits_for_its_turn_is_kept() {
    let (mut fixture, mut source) = connected();
    source.get(&mut fixture.context(), PEER, get(1, 3000));
    let (_, pin) = answer(&mut fixture, &mut source, chunk(b"abc"));
    source.get(&mut fixture.context(), PEER, get(2, 3000));
    answer(&mut fixture, &mut source, chunk(b"abc"));
    // The peer takes the pieces slowly.
    for _ in 0..3 {
        fixture.wait(IDLE / 3 * 2);
        source.watch(&mut fixture.context());
        source.next(&mut fixture.context(), PEER);
        answer(&mut fixture, &mut source, chunk(b"abc"));
    }
    let kept = source.peers[&PEER].pinned.get(&1).map(|pinned| pinned.pin);
    assert_eq!(kept, Some(pin));
}

#[test]
fn a_repeated_request_keeps_its_place() {
    let (mut fixture, mut source) = connected();
    for fetch in [1, 2, 3] {
        source.get(&mut fixture.context(), PEER, get(fetch, 6));
    }
    source.get(&mut fixture.context(), PEER, get(2, 6));
    let waiting: Vec<_> = source.peers[&PEER].waiting.iter().map(|waiting| waiting.fetch).collect();
    assert_eq!(waiting, [1, 2, 3]);
}

#[test]
fn two_fetches_of_one_write_have_a_view_each() {
    let (mut fixture, mut source) = connected();
    source.get(&mut fixture.context(), PEER, get(1, 6));
    source.get(&mut fixture.context(), PEER, get(2, 3));
    let (_, first) = answer(&mut fixture, &mut source, chunk(b"abc"));
    let last = FoundBody::Chunk { bytes: Bytes::from_static(b"abc"), is_last: true };
    let (_, second) = answer(&mut fixture, &mut source, last);
    assert_ne!(first, second);
    assert_eq!(source.peers[&PEER].pinned.keys().collect::<Vec<_>>(), [&1]);
}

#[test]
fn the_views_of_all_bodies_leave_room_for_those_of_sessions() {
    let (mut fixture, mut source) = connected();
    for peer in [US, THIRD] {
        let requests = source.peers.entry(peer).or_default();
        for fetch in 0..MAX_PINNED as u64 / 2 {
            let (since, used) = (Duration::ZERO, Duration::from_millis(fetch));
            requests.pinned.insert(fetch, Pinned { pin: 1000 + fetch, since, used });
        }
    }
    source.get(&mut fixture.context(), PEER, get(1, 6));
    let pinned = source.peers.values().map(|requests| requests.pinned.len());
    assert_eq!(pinned.sum::<usize>(), MAX_PINNED);
    assert!(matches!(fixture.poll_work(), Some(Work::Unpin { pin: 1000 })));
}

#[test]
fn a_body_that_cannot_be_read_now_is_not_reported_as_gone() {
    let (mut fixture, mut source) = connected();
    source.get(&mut fixture.context(), PEER, get(1, 6));
    answer(&mut fixture, &mut source, FoundBody::Failed);
    assert_eq!(source.next(&mut fixture.context(), PEER), None);
    assert_eq!(source.timeout(), None);
}
