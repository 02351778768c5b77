//! The times of writes and the closed timestamp, whatever the clocks show.
#![expect(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod common;

use std::sync::Arc;

use common::peer;
use kv_core::{
    Attributes, Dot, Hlc, InvalidWrite, Key, MemberId, NamespaceId, Operation, OriginId, Outcome,
    VersionVector, WriteError, Written,
    commit::{Applied, Committer, Creation, NewContent, Remote, RemoteWrite},
    derive_id,
    engine::{
        disk,
        redb::{RedbEngine, RedbSnapshot},
    },
    limits::{END_OF_TIME, MAX_AHEAD_MS},
};

const NOW: u64 = 1_700_000_000_000;

const YEAR: u64 = 365 * 24 * 60 * 60 * 1000;

const SKEW: u64 = 500;

const PEER: OriginId = OriginId([90; 16]);

/// The first write of the peer's origin.
fn opening() -> RemoteWrite {
    let info = peer::origin([PEER, OriginId([91; 16])], MemberId([80; 16]), Hlc(1));
    peer::opening(&info)
}

struct Location {
    committer: Committer<RedbEngine>,
    now_ms: u64,
}

impl Location {
    fn new() -> Location {
        let engine = RedbEngine::open(disk::memory(), 1 << 20).unwrap();
        let mut next = 0;
        let random = move || {
            next += 1;
            Ok([next; 16])
        };
        let committer = Committer::open(Arc::new(engine), Creation::default(), random).unwrap();
        let mut location = Location { committer, now_ms: NOW };
        let (account, title) = ("".try_into().unwrap(), "n".try_into().unwrap());
        location.run(Operation::CreateNamespace { account, title, id: None }).unwrap();
        location.run(Operation::Remote(Remote::Next(opening()))).unwrap();
        location
    }

    fn run(&mut self, operation: Operation) -> Result<Outcome, WriteError> {
        self.committer.commit(self.now_ms, vec![operation]).results.remove(0)
    }

    fn put(&mut self, key: &str, expires_at: Option<u64>) -> Result<Hlc, WriteError> {
        let mut upload = self.committer.upload();
        upload.push(b"value").unwrap();
        let body = upload.finish().1;
        let attributes = Attributes { metadata: None, expires_at };
        let (namespace, key) = (namespace(), Key::new(key).unwrap());
        match self.run(Operation::Put { namespace, key, body, attributes })? {
            Outcome::Written(Written { version, .. }) => Ok(version.hlc),
            other => panic!("{other:?}"),
        }
    }

    /// Receives a write behind the opening row of its origin: the first has the number 1.
    fn receive(&mut self, key: &str, seq: u64, hlc: Hlc) -> Applied {
        let write = RemoteWrite {
            dot: Dot { origin: PEER, seq: seq + 1 },
            hlc,
            prev: None,
            namespace: namespace(),
            key: Key::new(key).unwrap(),
            change: NewContent::Delete,
        };
        match self.run(Operation::Remote(Remote::Next(write))).unwrap() {
            Outcome::Applied(applied) => applied,
            other => panic!("{other:?}"),
        }
    }

    /// Takes a session that brings nothing, from a source that has collected tombstones up to this time.
    fn adopt(&mut self, floor: Hlc) -> Applied {
        let (vector, collected) = (VersionVector::default(), VersionVector::default());
        let adopt = Remote::Adopt { vector, collected, floor, damaged: Vec::new() };
        match self.run(Operation::Remote(adopt)).unwrap() {
            Outcome::Applied(applied) => applied,
            other => panic!("{other:?}"),
        }
    }

    fn close_upto(&mut self, ms: Option<u64>) {
        self.committer.set_time_bounds(SKEW, ms);
    }

    fn view(&mut self) -> kv_core::view::View<RedbSnapshot> {
        self.committer.view()
    }
}

fn namespace() -> NamespaceId {
    derive_id("", "n", 0)
}

#[test]
fn a_clock_that_was_years_ahead_dates_only_the_keys_that_it_wrote() {
    let mut location = Location::new();
    location.now_ms = NOW + 3 * YEAR;
    let ahead = location.put("a", None).unwrap();
    location.now_ms = NOW + 1;
    assert_eq!(location.put("b", None).unwrap(), Hlc::at_millis(NOW + 1));
    assert_eq!(location.put("a", None).unwrap(), Hlc(ahead.0 + 1), "an overwrite wins");
    assert_eq!(location.put("c", None).unwrap().millis(), NOW + 1);
}

#[test]
fn a_received_time_that_is_too_far_ahead_raises_no_other_key() {
    let mut location = Location::new();
    let far = Hlc::at_millis(NOW + YEAR);
    assert_eq!(location.receive("a", 1, far), Applied::Won { concurrent: false });
    assert_eq!(location.put("b", None).unwrap().millis(), NOW);
    assert_eq!(location.put("a", None).unwrap(), Hlc(far.0 + 1));
    let near = Hlc::at_millis(NOW + SKEW);
    location.receive("c", 2, near);
    assert_eq!(location.put("b", None).unwrap(), Hlc(near.0 + 1), "a near one does");
}

#[test]
fn a_write_under_a_slow_clock_beats_what_it_replaces() {
    let mut location = Location::new();
    let first = location.put("a", None).unwrap();
    location.now_ms = NOW - 10 * 60 * 1000;
    assert!(location.put("a", None).unwrap() > first);
}

#[test]
fn each_write_is_later_than_the_closed_timestamp() {
    let mut location = Location::new();
    location.close_upto(Some(NOW + 100));
    location.put("a", None).unwrap();
    assert_eq!(location.view().closed_timestamp(), Hlc::at_millis(NOW + 100));
    location.close_upto(None);
    location.now_ms = NOW - YEAR;
    assert!(location.put("b", None).unwrap() > Hlc::at_millis(NOW + 100));
    assert_eq!(location.view().closed_timestamp(), Hlc::at_millis(NOW + 100), "it stays");
}

#[test]
fn an_idle_store_closes_time_only_for_a_tombstone_that_waits() {
    let mut location = Location::new();
    let delete = Operation::Delete { namespace: namespace(), key: Key::new("a").unwrap() };
    location.close_upto(Some(NOW + 100));
    assert!(!location.committer.close_time().unwrap());
    location.close_upto(None);
    location.run(delete).unwrap();
    assert!(!location.committer.close_time().unwrap());
    location.close_upto(Some(NOW + 200));
    assert!(location.committer.close_time().unwrap());
    assert_eq!(location.view().closed_timestamp(), Hlc::at_millis(NOW + 200));
    location.close_upto(Some(NOW + 300));
    assert!(!location.committer.close_time().unwrap());
}

#[test]
fn a_session_brings_the_time_below_which_its_source_may_have_dropped_tombstones() {
    let mut location = Location::new();
    location.now_ms = NOW - MAX_AHEAD_MS;
    let floor = Hlc::at_millis(NOW);
    assert_eq!(location.adopt(floor), Applied::Adopted);
    assert!(location.put("a", None).unwrap() > floor);
}

#[test]
fn a_source_that_names_a_time_far_ahead_dates_no_later_write() {
    let mut location = Location::new();
    location.close_upto(Some(NOW));
    location.put("a", None).unwrap();
    for floor in [NOW + MAX_AHEAD_MS + SKEW + 1, NOW + 3 * YEAR, END_OF_TIME * 1000, 1 << 47] {
        assert_eq!(location.adopt(Hlc::at_millis(floor)), Applied::FarAhead);
    }
    assert_eq!(location.adopt(Hlc(u64::MAX)), Applied::FarAhead);
    assert_eq!(location.put("b", None).unwrap().millis(), NOW);
    location.now_ms = NOW - 3 * YEAR;
    assert_eq!(location.adopt(Hlc::at_millis(NOW)), Applied::Adopted, "it was closed here");
}

#[test]
fn a_time_far_ahead_that_most_members_have_resolved_is_adopted() {
    let mut location = Location::new();
    let floor = Hlc::at_millis(NOW + 3 * YEAR);
    location.committer.set_resolved_by_most(Hlc(floor.0 - 1));
    assert_eq!(location.adopt(floor), Applied::FarAhead);
    location.committer.set_resolved_by_most(Hlc::at_millis(END_OF_TIME * 1000));
    assert_eq!(location.adopt(Hlc::at_millis(END_OF_TIME * 1000)), Applied::FarAhead, "no clock");
    assert_eq!(location.adopt(floor), Applied::Adopted);
    assert!(location.put("a", None).unwrap() > floor, "a forgotten deletion may be as late");
}

#[test]
fn clocks_that_all_show_the_year_2200_for_a_while_close_no_time() {
    let mut location = Location::new();
    let before = location.view().closed_timestamp();
    location.close_upto(Some(END_OF_TIME * 1000));
    location.put("a", None).unwrap();
    assert_eq!(location.view().closed_timestamp(), before);
    location.now_ms = END_OF_TIME * 1000 - SKEW;
    assert_eq!(location.put("a", None), Err(WriteError::EndOfTime));
    location.now_ms = NOW + 1;
    assert!(location.put("a", None).unwrap() < Hlc::at_millis(NOW + 1000));
}

#[test]
fn times_after_the_year_2199_are_refused() {
    let mut location = Location::new();
    let refused = location.put("a", Some(END_OF_TIME));
    assert_eq!(refused, Err(WriteError::Invalid(InvalidWrite::Expiry)));
    assert!(location.put("a", Some(END_OF_TIME - 1)).is_ok());
    let last = Hlc::at_millis(END_OF_TIME * 1000 - 1);
    assert!(matches!(location.receive("b", 1, Hlc(last.0 | 0xffff)), Applied::Won { .. }));
    assert_eq!(location.put("b", None), Err(WriteError::EndOfTime));
    let late = Hlc::at_millis(END_OF_TIME * 1000);
    assert!(matches!(location.receive("b", 2, late), Applied::Refused(_)));
    location.now_ms = END_OF_TIME * 1000;
    assert_eq!(location.put("c", None), Err(WriteError::EndOfTime));
}
