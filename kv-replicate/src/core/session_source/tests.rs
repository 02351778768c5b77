//! Sessions that are served, without a store.

use kv_core::VersionVector;

use super::*;
use crate::{
    Content,
    core::testing::{Fixture, PEER, row_of, vector},
};

fn pull(session: u64, batch: u32) -> Pull {
    let since = VersionVector::default();
    Pull { session, batch, is_new: false, after: None, known: None, bytes: 1 << 20, since }
}

fn read(rows: u64) -> Result<Batch, Unread> {
    let rows: Vec<_> = (1..=rows).map(|seq| row_of(PEER, seq)).collect();
    Ok(batch_of(rows))
}

/// A batch of these rows, the last of its round.
fn batch_of(rows: Vec<Row>) -> Batch {
    let (vector, collected) = (vector(9), VersionVector::default());
    let (damaged, floor) = (Vec::new(), Hlc::ZERO);
    Batch { rows, damaged, next: None, vector, collected, floor, index: 0, commit: 1 }
}

fn reads(fixture: &mut Fixture) -> usize {
    let works = std::iter::from_fn(|| fixture.poll_work());
    works.filter(|work| matches!(work, Work::Read { .. })).count()
}

/// The view that the next batch is read from, and the views that were dropped before.
fn pins(fixture: &mut Fixture) -> (Option<u64>, Vec<u64>) {
    let mut dropped = Vec::new();
    loop {
        match fixture.poll_work().expect("a read") {
            Work::Unpin { pin } => dropped.push(pin),
            Work::Read { pin, .. } => return (pin, dropped),
            other => panic!("{other:?}"),
        }
    }
}

fn connected() -> (Fixture, SessionSource) {
    let mut fixture = Fixture::new();
    fixture.connect(PEER);
    (fixture, SessionSource::default())
}

#[test]
fn a_request_that_is_repeated_after_its_answer_was_sent_is_read_again() {
    let (mut fixture, mut source) = connected();
    for _ in 0..2 {
        source.pull(&mut fixture.context(), PEER, pull(7, 1));
        assert_eq!(reads(&mut fixture), 1);
        source.read(&mut fixture.context(), PEER, (7, 1), read(2));
        assert!(source.next(&fixture.context(), PEER).is_some());
    }
}

#[test]
fn batches_are_shorter_while_many_peers_catch_up() {
    assert_eq!([0, 1, 4].map(most_bytes), [MAX_BATCH_BYTES; 3]);
    assert_eq!(8 * most_bytes(8), SERVED_BYTES);
    assert_eq!(most_bytes(300), SHARE_BYTES);
    let (mut fixture, mut source) = connected();
    source.pull(&mut fixture.context(), PEER, Pull { bytes: u32::MAX, ..pull(7, 1) });
    let read = std::iter::from_fn(|| fixture.poll_work());
    let bytes = read.filter_map(|work| match work {
        Work::Read { bytes, .. } => Some(bytes),
        _ => None,
    });
    assert_eq!(bytes.collect::<Vec<_>>(), [MAX_BATCH_BYTES]);
}

#[test]
fn a_request_that_arrives_twice_is_read_once() {
    let (mut fixture, mut source) = connected();
    for batch in [1, 1] {
        source.pull(&mut fixture.context(), PEER, pull(7, batch));
    }
    assert_eq!(reads(&mut fixture), 1);
    source.read(&mut fixture.context(), PEER, (7, 1), read(2));
    source.pull(&mut fixture.context(), PEER, pull(7, 1));
    assert_eq!(reads(&mut fixture), 0, "its answer waits for room on the link");
    assert!(
        matches!(source.next(&fixture.context(), PEER), Some(Message::Page(page)) if page.rows.len() == 2)
    );
    assert!(source.next(&fixture.context(), PEER).is_none());
}

#[test]
fn a_request_during_a_read_replaces_it() {
    let (mut fixture, mut source) = connected();
    for batch in [1, 2, 3] {
        source.pull(&mut fixture.context(), PEER, pull(7, batch));
    }
    assert_eq!(reads(&mut fixture), 1);
    source.read(&mut fixture.context(), PEER, (7, 1), read(1));
    assert!(
        source.next(&fixture.context(), PEER).is_none(),
        "nobody waits for the first batch any more"
    );
    assert_eq!(reads(&mut fixture), 1);
    source.read(&mut fixture.context(), PEER, (7, 3), read(1));
    assert!(source.next(&fixture.context(), PEER).is_some());
}

#[test]
fn the_pages_of_one_batch_wait_while_the_next_is_read() {
    let (mut fixture, mut source) = connected();
    let dot = |seq| row_of(PEER, seq).dot;
    let batch = |next| read(1).map(|batch| Batch { next: Some(dot(next)), ..batch });
    source.pull(&mut fixture.context(), PEER, pull(7, 1));
    source.read(&mut fixture.context(), PEER, (7, 1), batch(1));
    let next = |number, after| Pull { after: Some(dot(after)), ..pull(7, number) };
    source.pull(&mut fixture.context(), PEER, next(2, 1));
    source.read(&mut fixture.context(), PEER, (7, 2), batch(2));
    let sent = std::iter::from_fn(|| source.next(&fixture.context(), PEER));
    let batches: Vec<_> = sent
        .map(|message| match message {
            Message::Page(page) => page.batch,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(batches, [1, 2]);
}

#[test]
fn the_pages_of_two_batches_are_the_most_that_wait() {
    let (mut fixture, mut source) = connected();
    for number in 1..10 {
        let after = (number > 1).then(|| row_of(PEER, u64::from(number) - 1).dot);
        source.pull(&mut fixture.context(), PEER, Pull { after, ..pull(7, number) });
        let next = Some(row_of(PEER, number.into()).dot);
        let result = read(1).map(|batch| Batch { next, ..batch });
        source.read(&mut fixture.context(), PEER, (7, number), result);
        assert!(source.peers[&PEER].pages.len() <= 2);
    }
}

#[test]
fn what_can_not_be_read_is_refused_with_its_reason() {
    let (mut fixture, mut source) = connected();
    let cases =
        [(Unread::Failed, Reason::Busy), (Unread::Gone(vector(3)), Reason::Gone(vector(3)))];
    for (batch, (unread, reason)) in (1..).zip(cases) {
        source.pull(&mut fixture.context(), PEER, pull(7, batch));
        source.read(&mut fixture.context(), PEER, (7, batch), Err(unread));
        assert_eq!(fixture.sent(PEER), [Message::Refusal { session: 7, reason }]);
    }
}

#[test]
fn an_abandoned_session_ends_after_a_minute() {
    let (mut fixture, mut source) = connected();
    source.pull(&mut fixture.context(), PEER, pull(7, 1));
    fixture.wait(IDLE - Duration::from_millis(1));
    source.watch(&mut fixture.context());
    assert_eq!((source.count(), source.started().count()), (1, 1));
    fixture.wait(Duration::from_millis(1));
    source.watch(&mut fixture.context());
    assert_eq!(source.count(), 0);
}

#[test]
fn a_session_whose_pages_wait_for_a_slow_link_is_not_abandoned() {
    let (mut fixture, mut source) = connected();
    source.pull(&mut fixture.context(), PEER, pull(7, 1));
    let big = Content::Value(vec![1; BATCH_BYTES / 2 + 1].into());
    let rows = (1..=3).map(|seq| Row { content: big.clone(), ..row_of(PEER, seq) }).collect();
    source.read(&mut fixture.context(), PEER, (7, 1), Ok(batch_of(rows)));
    for left in [2, 1, 0] {
        fixture.wait(2 * IDLE);
        source.watch(&mut fixture.context());
        let sent = source.next(&fixture.context(), PEER);
        assert!(matches!(sent, Some(Message::Page(page)) if page.rows.len() == 1), "{left}");
        assert_eq!(source.peers[&PEER].pages.len(), left);
    }
    fixture.wait(IDLE - Duration::from_millis(1));
    source.watch(&mut fixture.context());
    assert_eq!(source.count(), 1, "the last page was sent a moment ago");
    fixture.wait(Duration::from_millis(1));
    source.watch(&mut fixture.context());
    assert_eq!(source.count(), 0, "nothing is being sent any more");
}

#[test]
fn a_session_is_not_abandoned_while_its_bodies_are_sent() {
    let (mut fixture, mut source) = connected();
    source.pull(&mut fixture.context(), PEER, pull(7, 1));
    source.read(&mut fixture.context(), PEER, (7, 1), read(1));
    assert!(source.next(&fixture.context(), PEER).is_some());
    for _ in 0..5 {
        fixture.wait(IDLE - Duration::from_millis(1));
        source.watch(&mut fixture.context());
        source.sent_piece(&fixture.context(), PEER);
    }
    assert_eq!(source.count(), 1);
}

#[test]
fn a_round_is_read_from_one_view_which_is_dropped_with_the_next_round() {
    let (mut fixture, mut source) = connected();
    source.pull(&mut fixture.context(), PEER, pull(7, 1));
    let (first, _) = pins(&mut fixture);
    assert!(first.is_some());
    source.read(&mut fixture.context(), PEER, (7, 1), read(2));
    let after = Some(row_of(PEER, 2).dot);
    source.pull(&mut fixture.context(), PEER, Pull { after, ..pull(7, 2) });
    assert_eq!(pins(&mut fixture), (first, vec![]));
    source.read(&mut fixture.context(), PEER, (7, 2), read(2));
    source.pull(&mut fixture.context(), PEER, pull(7, 3));
    let (second, dropped) = pins(&mut fixture);
    assert!(second.is_some() && second != first && dropped == Vec::from_iter(first));
    source.done(&mut fixture.context(), PEER, 7);
    assert!(matches!(fixture.poll_work(), Some(Work::Unpin { pin }) if Some(pin) == second));
}

#[test]
fn a_view_is_pinned_for_bounded_bytes_and_time() {
    let (mut fixture, mut source) = connected();
    let large = Content::Large { len: 40 << 20, digest: [1; 32] };
    let rows = [1, 2].map(|seq| Row { content: large.clone(), ..row_of(PEER, seq) }).to_vec();
    source.pull(&mut fixture.context(), PEER, pull(7, 1));
    source.read(&mut fixture.context(), PEER, (7, 1), Ok(batch_of(rows)));
    assert_eq!(source.pinned(), 0, "80 MiB");
    source.pull(&mut fixture.context(), PEER, pull(7, 2));
    assert_eq!(source.pinned(), 1);
    fixture.wait(PINNED_FOR);
    source.watch(&mut fixture.context());
    assert_eq!((source.pinned(), source.count()), (0, 1));
}

#[test]
fn the_view_of_a_peer_is_dropped_with_its_link() {
    let (mut fixture, mut source) = connected();
    source.pull(&mut fixture.context(), PEER, pull(7, 1));
    let (pin, _) = pins(&mut fixture);
    source.unpin(fixture.out(), PEER);
    source.disconnect(PEER, Keep::Nothing);
    assert!(matches!(fixture.poll_work(), Some(Work::Unpin { pin: one }) if Some(one) == pin));
}
