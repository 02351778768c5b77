//! The transitions of one session, without a core.

use super::*;
use crate::core::testing::{PEER, dot, row_of, vector};
use crate::wire::End;

/// A session that lacks four writes, and has requested them.
fn requested() -> Session {
    let nothing = VersionVector::default();
    let mut session = Session::new((5, 22), nothing, vector(4), Duration::ZERO);
    request(&mut session);
    session
}

fn request(session: &mut Session) -> Option<Dot> {
    session.request(&VersionVector::default(), false, Duration::ZERO).after
}

/// The only page of the current batch.
fn page(session: &Session, rows: &[u64], end: End) -> Page {
    let next = match end {
        End::Batch(after) => Some(after),
        End::Page | End::Round => None,
    };
    Page {
        session: session.id,
        batch: session.current.number,
        stamp: 1,
        commit: 7,
        index: 0,
        head: Some(PageHead {
            vector: vector(4),
            collected: VersionVector::default(),
            floor: kv_core::Hlc::ZERO,
            next,
            index: 0,
        }),
        end,
        damaged: Vec::new(),
        rows: rows.iter().map(|seq| row_of(PEER, *seq)).collect(),
    }
}

fn take(session: &mut Session, rows: &[u64], end: End) {
    let page = page(session, rows, end);
    assert!(session.accept(&page));
}

#[test]
fn a_suspended_session_does_not_continue_behind_a_row_that_was_put_back_into_the_index() {
    let mut session = requested();
    take(&mut session, &[1], End::Batch(dot(1)));
    session.suspend();
    session.resume(8, vector(4));
    let mut page = page(&session, &[2], End::Round);
    assert!(!session.is_of_another_store(&page));
    page.head.as_mut().unwrap().index = 2;
    assert!(session.is_of_another_store(&page));
}

#[test]
fn the_pages_of_a_batch_are_taken_once_and_in_order() {
    let mut session = requested();
    let first = Page { end: End::Page, ..page(&session, &[1], End::Round) };
    let second = Page { index: 1, head: None, ..page(&session, &[2], End::Round) };
    let foreign = Page { stamp: 2, ..second.clone() };
    let steps = [
        (&second, false),
        (&first, true),
        (&first, false),
        (&foreign, false),
        (&second, true),
        (&second, false),
    ];
    for (at, (page, is_taken)) in steps.into_iter().enumerate() {
        assert_eq!(session.accept(page), is_taken, "{at}");
    }
}

/// A page that is followed by others of its batch, which begins the next one behind its last row.
fn first_page(session: &Session, rows: &[u64], next: u64) -> Page {
    let whole = page(session, rows, End::Batch(dot(next)));
    Page { end: End::Page, ..whole }
}

/// The last page of the first batch.
fn second_page(session: &Session, rows: &[u64], end: End) -> Page {
    Page { batch: 1, index: 1, head: None, ..page(session, rows, end) }
}

#[test]
fn the_next_batch_is_requested_when_the_first_page_shows_where_it_begins() {
    let mut session = requested();
    assert!(session.accept(&first_page(&session, &[1], 2)));
    assert_eq!(session.advance(), Step::Request);
    assert_eq!(request(&mut session), Some(dot(2)));
    take(&mut session, &[3, 4], End::Round);
    assert_eq!(session.advance(), Step::Wait, "the second page of the first batch is missing");
    let late = second_page(&session, &[2], End::Batch(dot(2)));
    assert!(session.expects(&late) && session.accept(&late) && !session.accept(&late));
    session.began(1, 1, 0);
    assert_eq!((session.advance(), session.timeout()), (Step::Wait, None));
    session.committed(1, Duration::ZERO);
    assert!(matches!(session.advance(), Step::Adopt(_)));
}

#[test]
fn a_lost_page_of_the_former_batch_is_requested_again_and_all_behind_it() {
    let mut session = requested();
    assert!(session.accept(&first_page(&session, &[1], 2)));
    session.advance();
    request(&mut session);
    take(&mut session, &[3, 4], End::Round);
    assert!(session.timeout().is_some());
    assert_eq!(session.retry(), Step::Request);
    assert_eq!(request(&mut session), Some(dot(1)));
    take(&mut session, &[2, 3, 4], End::Round);
    assert!(matches!(session.advance(), Step::Adopt(_)));
}

#[test]
fn a_body_of_the_former_batch_that_is_gone_repeats_that_batch() {
    let mut session = requested();
    assert!(session.accept(&first_page(&session, &[1], 2)));
    session.advance();
    request(&mut session);
    take(&mut session, &[3, 4], End::Round);
    assert!(session.accept(&second_page(&session, &[2], End::Batch(dot(2)))));
    session.began(1, 0, 1);
    session.body_gone(1);
    assert_eq!(session.advance(), Step::Request);
    assert_eq!(request(&mut session), None, "from where it began");
}

#[test]
fn the_next_batch_is_requested_while_the_last_is_being_committed() {
    let mut session = requested();
    take(&mut session, &[1, 2], End::Batch(dot(2)));
    session.began(session.current.number, 1, 0);
    assert_eq!(session.advance(), Step::Request);
    assert_eq!(request(&mut session), Some(dot(2)));
    take(&mut session, &[3, 4], End::Round);
    session.began(session.current.number, 1, 0);
    session.committed(2, Duration::ZERO);
    assert_eq!(session.advance(), Step::Wait, "the first is not committed");
    session.committed(1, Duration::ZERO);
    assert!(matches!(session.advance(), Step::Adopt(_)));
    assert_eq!((session.advance(), session.timeout()), (Step::Wait, None));
}

#[test]
fn a_batch_with_bodies_is_finished_before_the_next_is_requested() {
    let mut session = requested();
    take(&mut session, &[1, 2], End::Batch(dot(2)));
    session.began(session.current.number, 1, 1);
    assert_eq!((session.advance(), session.timeout()), (Step::Wait, None));
    session.committed(1, Duration::ZERO);
    session.fetched(dot(2));
    assert_eq!(session.advance(), Step::Wait);
    session.committed(1, Duration::ZERO);
    assert_eq!(session.advance(), Step::Request);
    assert!(session.has_taken(dot(2)) && !session.has_taken(dot(1)));
}

#[test]
fn a_batch_whose_body_is_gone_is_requested_again_a_few_times() {
    let mut session = requested();
    for step in [Step::Request, Step::Request, Step::Fail] {
        take(&mut session, &[1], End::Round);
        session.began(session.current.number, 0, 1);
        session.body_gone(session.current.number);
        assert_eq!(session.advance(), step);
        assert_eq!(request(&mut session), None, "from where the batch began");
    }
}

#[test]
fn a_batch_that_stands_still_is_requested_again_with_doubled_patience() {
    let mut session = requested();
    for (timeout, step) in [(1, Step::Request), (2, Step::Request), (4, Step::Fail)] {
        assert_eq!(session.timeout(), Some(Duration::from_secs(timeout)));
        assert_eq!(session.retry(), step);
    }
    session.passed_page(Duration::from_secs(9));
    assert_eq!(session.timeout(), Some(Duration::from_secs(9 + 8)));
}

#[test]
fn a_batch_of_which_nothing_arrived_is_requested_again_under_its_number() {
    let mut session = requested();
    let answer = page(&session, &[1, 2], End::Batch(dot(2)));
    let again = Page { stamp: 2, ..answer.clone() };
    session.retry();
    request(&mut session);
    assert!(session.expects(&answer) && session.accept(&answer), "the first answer was on its way");
    assert!(!session.accept(&again), "the second is of no use");
    assert_eq!(session.advance(), Step::Request);
    request(&mut session);
    assert!(!session.expects(&again));
    assert_eq!(session.current.number, 2);
}

#[test]
fn a_batch_of_which_some_arrived_is_requested_again_behind_it_under_another_number() {
    let mut session = requested();
    let first = Page { end: End::Page, ..page(&session, &[1], End::Round) };
    assert!(session.accept(&first));
    session.retry();
    assert_eq!(request(&mut session), Some(dot(1)));
    let late = Page { index: 1, head: None, ..page(&session, &[2], End::Round) };
    assert!(!session.expects(&Page { batch: 1, ..late }));
}

#[test]
fn a_suspended_session_continues_where_all_before_is_in_the_store() {
    let mut session = requested();
    take(&mut session, &[1, 2], End::Batch(dot(2)));
    session.began(session.current.number, 1, 0);
    session.advance();
    request(&mut session);
    session.suspend();
    session.resume(6, vector(4));
    assert_eq!(request(&mut session), None, "the first batch was not committed");
    take(&mut session, &[1, 2, 3, 4], End::Round);
    assert_eq!(session.advance(), Step::Request, "a resumed round is followed by another");
}

#[test]
fn a_row_that_is_passed_over_is_followed_by_another_round() {
    let mut session = requested();
    take(&mut session, &[1], End::Round);
    session.began(session.current.number, 0, 1);
    session.fetched(dot(9));
    session.passed_over(session.current.number, Some(dot(9)), Duration::ZERO);
    assert!(!session.has_taken(dot(9)), "it is not in the store");
    assert_eq!(session.advance(), Step::Request);
    assert_eq!(request(&mut session), None);
    take(&mut session, &[], End::Round);
    assert!(matches!(session.advance(), Step::Adopt(_)));
}

#[test]
fn repetitions_are_counted_from_the_last_batch_that_is_here() {
    let mut session = requested();
    for _ in 0..2 {
        take(&mut session, &[1], End::Batch(dot(2)));
        session.began(session.current.number, 0, 1);
        session.body_gone(session.current.number);
        assert_eq!(session.advance(), Step::Request);
        request(&mut session);
    }
    let former = session.current.number;
    assert!(session.accept(&first_page(&session, &[1], 2)));
    assert_eq!(session.advance(), Step::Request);
    request(&mut session);
    take(&mut session, &[3], End::Round);
    session.began(session.current.number, 0, 1);
    session.body_gone(session.current.number);
    let second = Page { batch: former, ..second_page(&session, &[2], End::Batch(dot(2))) };
    assert!(session.accept(&second));
    assert_eq!(session.advance(), Step::Request, "the first repetition of this batch");
}
