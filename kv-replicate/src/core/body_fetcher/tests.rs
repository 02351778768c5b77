//! Fetches, without a core.

use super::*;
use crate::core::testing::{Fixture, PEER, THIRD, large_row_of, vector};

const LEN: u64 = 3 * CHUNK_BYTES as u64;

fn row() -> Row {
    let content = Content::Large { len: LEN, digest: [1; 32] };
    Row { content, ..large_row_of(PEER, 1) }
}

fn begun() -> (Fixture, BodyFetcher, u64) {
    let mut fixture = Fixture::new();
    fixture.connect(PEER);
    let mut bodies = BodyFetcher::default();
    let id = begin(&mut fixture, &mut bodies, PEER, (row(), Purpose::Session(1, 1)));
    (fixture, bodies, id)
}

fn begin(
    fixture: &mut Fixture,
    bodies: &mut BodyFetcher,
    peer: MemberId,
    (row, purpose): (Row, Purpose),
) -> u64 {
    let id = bodies.begin(&mut fixture.context(), peer, row, purpose);
    bodies.request_queued(&mut fixture.context(), peer);
    id
}

/// The offset and the length of each request that was sent.
fn requests(fixture: &mut Fixture) -> Vec<(u64, u64)> {
    let sent = fixture.sent(PEER).into_iter();
    sent.filter_map(|message| match message {
        Message::GetBody(get) => Some((get.offset, u64::from(get.len))),
        _ => None,
    })
    .collect()
}

fn chunk() -> Bytes {
    Bytes::from(vec![0; CHUNK_BYTES])
}

/// A piece of the first write.
fn at(fetch: u64, offset: u64) -> PieceName {
    PieceName { fetch, dot: row().dot, offset }
}

#[test]
fn a_body_is_whole_after_its_pieces_in_order() {
    let (mut fixture, mut bodies, id) = begun();
    assert_eq!(requests(&mut fixture), [(0, LEN)]);
    let chunk_bytes = CHUNK_BYTES as u64;
    let pieces = [(0, false), (0, false), (2 * chunk_bytes, false), (chunk_bytes, false)];
    for (offset, is_whole) in pieces.into_iter().chain([(2 * chunk_bytes, true)]) {
        let whole = bodies.piece(&mut fixture.context(), PEER, at(id, offset), chunk());
        assert_eq!(whole.is_some(), is_whole, "{offset}");
    }
    assert_eq!(bodies.all(), []);
}

#[test]
fn a_piece_from_another_peer_is_ignored_and_one_of_a_wrong_length_closes_the_link() {
    let (mut fixture, mut bodies, id) = begun();
    assert!(bodies.piece(&mut fixture.context(), THIRD, at(id, 0), chunk()).is_none());
    let short = Bytes::from_static(b"short");
    assert!(bodies.piece(&mut fixture.context(), PEER, at(id, 0), short).is_none());
    assert!(fixture.is_closed(PEER));
}

#[test]
fn a_request_is_repeated_with_doubled_patience_and_then_given_up() {
    let (mut fixture, mut bodies, id) = begun();
    requests(&mut fixture);
    for seconds in [1, 2, 4, 8] {
        fixture.wait(Duration::from_secs(seconds));
        assert_eq!(bodies.late(fixture.local().mono()), [id]);
        assert!(!bodies.retry(&mut fixture.context(), id));
        assert_eq!(requests(&mut fixture), [(0, LEN)]);
    }
    fixture.wait(Duration::from_secs(16));
    assert!(bodies.retry(&mut fixture.context(), id), "the fifth request is not made");
}

/// A row with a body of this many bytes.
fn row_with(len: u64) -> Row {
    Row { content: Content::Large { len, digest: [1; 32] }, ..row() }
}

#[test]
fn as_many_bytes_are_requested_as_a_fast_link_holds() {
    let (mut fixture, mut bodies, _) = begun();
    requests(&mut fixture);
    for _ in 0..40 {
        let row = row_with(u64::from(MAX_ASKED_BYTES));
        begin(&mut fixture, &mut bodies, PEER, (row, Purpose::Session(1, 1)));
    }
    let bytes: u64 = requests(&mut fixture).iter().map(|(_, len)| len).sum();
    assert!((MAX_BYTES - 2 * u64::from(MAX_ASKED_BYTES)..=MAX_BYTES).contains(&bytes));
    fixture.connect(THIRD);
    begin(&mut fixture, &mut bodies, THIRD, (row(), Purpose::Session(2, 1)));
    assert_eq!(fixture.sent(THIRD).len(), 1, "each peer is asked for one");
}

#[test]
fn small_bodies_are_requested_together_and_live_ones_go_before_those_of_sessions() {
    let (mut fixture, mut bodies, _) = begun();
    let session = Purpose::Session(1, 1);
    let begun: Vec<_> = (0..200)
        .map(|_| begin(&mut fixture, &mut bodies, PEER, (row_with(70_000), session)))
        .collect();
    let sent = requests(&mut fixture).len();
    assert!((20..200).contains(&sent), "{sent} at once, as long as others can be sent too");
    let live = Purpose::Live(row().dot.origin);
    let live = begin(&mut fixture, &mut bodies, PEER, (row(), live));
    assert!(!bodies.fetches[&live].is_queued());
    assert!(bodies.fetches[begun.last().unwrap()].is_queued());
}

/// The later write that replaced the first one.
fn later(content: Content) -> Row {
    let row = large_row_of(PEER, 2);
    Row { content, key: super::tests::row().key, ..row }
}

#[test]
fn the_body_of_a_replaced_write_is_dropped_and_that_of_the_later_one_is_taken() {
    let (mut fixture, mut bodies, id) = begun();
    requests(&mut fixture);
    assert!(bodies.piece(&mut fixture.context(), PEER, at(id, 0), chunk()).is_none());
    let row = later(Content::Large { len: CHUNK_BYTES as u64, digest: [2; 32] });
    let replaced = bodies.replace(&mut fixture.context(), id, row.clone());
    assert!(matches!(replaced, Successor::Fetched), "{replaced:?}");
    assert_eq!(requests(&mut fixture), [], "it comes without a request");
    let late = bodies.piece(&mut fixture.context(), PEER, at(id, CHUNK_BYTES as u64), chunk());
    assert!(late.is_none(), "a piece of the former body");
    let first = PieceName { fetch: id, dot: row.dot, offset: 0 };
    let whole = bodies.piece(&mut fixture.context(), PEER, first, chunk()).unwrap();
    assert_eq!((whole.row, whole.fetch), (row, Some(id)));
}

#[test]
fn a_later_write_without_a_large_body_is_whole_at_once() {
    for content in [Content::Deleted, Content::Value(Bytes::from_static(b"short"))] {
        let (mut fixture, mut bodies, id) = begun();
        match bodies.replace(&mut fixture.context(), id, later(content.clone())) {
            Successor::Whole(fetched) => {
                assert_eq!((fetched.row.content, fetched.fetch), (content, None));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(bodies.all(), []);
    }
}

#[test]
fn the_body_of_a_later_write_that_is_found_by_name_is_fetched_although_the_vector_counts_it() {
    let large = Content::Large { len: CHUNK_BYTES as u64, digest: [2; 32] };
    for (purpose, is_whole) in
        [(Purpose::Found { round: 1, key: 0 }, false), (Purpose::Session(1, 1), true)]
    {
        let mut fixture = Fixture::new();
        fixture.connect(PEER);
        fixture.store(|state| state.visible = vector(2));
        let mut bodies = BodyFetcher::default();
        let id = begin(&mut fixture, &mut bodies, PEER, (row(), purpose));
        let replaced = bodies.replace(&mut fixture.context(), id, later(large.clone()));
        assert_eq!(matches!(replaced, Successor::Whole(_)), is_whole, "{replaced:?}");
    }
}

#[test]
fn a_row_of_another_key_or_one_that_is_not_later_replaces_nothing() {
    let (mut fixture, mut bodies, id) = begun();
    let other = Row { key: large_row_of(PEER, 7).key, ..later(Content::Deleted) };
    let earlier = Row { hlc: kv_core::Hlc(0), ..later(Content::Deleted) };
    let same = Row { content: Content::Deleted, ..row() };
    let replaced = bodies.replace(&mut fixture.context(), id, other);
    assert!(matches!(replaced, Successor::Invalid), "{replaced:?}");
    for row in [earlier, same] {
        let replaced = bodies.replace(&mut fixture.context(), id, row);
        assert!(matches!(replaced, Successor::Fetched), "{replaced:?}");
        assert_eq!(bodies.fetches[&id].row, super::tests::row());
    }
}

#[test]
fn a_fetch_is_not_late_while_its_peer_sends_other_bodies() {
    let (mut fixture, mut bodies, id) = begun();
    let long = row_with(60 * CHUNK_BYTES as u64);
    let other = begin(&mut fixture, &mut bodies, PEER, (long, Purpose::Session(1, 1)));
    for piece in 0..40 {
        fixture.wait(PATIENCE * 9 / 10);
        assert_eq!(bodies.late(fixture.local().mono()), [], "{piece}");
        let name = at(other, piece * CHUNK_BYTES as u64);
        assert!(bodies.piece(&mut fixture.context(), PEER, name, chunk()).is_none());
    }
    fixture.wait(PATIENCE);
    assert_eq!(bodies.late(fixture.local().mono()).len(), 2, "the peer has fallen silent");
    for _ in 0..=MAX_PASSED_OVER {
        bodies.piece(&mut fixture.context(), PEER, at(other, 0), chunk());
    }
    bodies.piece(&mut fixture.context(), PEER, at(other, 40 * CHUNK_BYTES as u64), chunk());
    assert_eq!(bodies.late(fixture.local().mono()), [id], "its request was lost");
}

#[test]
fn live_bodies_leave_each_peer_one_of_a_session() {
    let mut fixture = Fixture::new();
    fixture.connect(PEER);
    let mut bodies = BodyFetcher::default();
    let live = Purpose::Live(row().dot.origin);
    for _ in 0..6 {
        let row = row_with(u64::from(MAX_ASKED_BYTES));
        begin(&mut fixture, &mut bodies, PEER, (row, live));
    }
    let session = Purpose::Session(1, 1);
    let [first, second] = [0, 1].map(|_| begin(&mut fixture, &mut bodies, PEER, (row(), session)));
    assert!(!bodies.fetches[&first].is_queued() && bodies.fetches[&second].is_queued());
}

#[test]
fn a_fetch_whose_write_is_replaced_again_and_again_is_given_up() {
    let (mut fixture, mut bodies, id) = begun();
    for seq in 2..=u64::from(MAX_REPLACED) + 2 {
        let row = Row { key: row().key, ..large_row_of(PEER, seq) };
        let replaced = bodies.replace(&mut fixture.context(), id, row);
        let is_last = seq == u64::from(MAX_REPLACED) + 2;
        assert_eq!(matches!(replaced, Successor::Endless), is_last, "{seq}: {replaced:?}");
    }
}

#[test]
fn a_fetch_moves_to_the_batch_that_names_its_row_again() {
    let (_, mut bodies, id) = begun();
    assert_eq!(bodies.of_session(1).collect::<Vec<_>>(), [(row().dot, 1, id)]);
    bodies.move_to(id, (1, 2));
    assert_eq!(bodies.session_row(id).map(|(batch, _)| batch), Some((1, 2)));
    assert_eq!(bodies.of_session(2).count(), 0);
}
