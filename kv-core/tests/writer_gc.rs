//! The writer's state machine: when it collects garbage, and what it may collect.
#![expect(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod common;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use common::writer::{Fixture, Seen, delete, namespace, put, remote};
use kv_core::{
    Attributes, BodyId, ChunkSource, ClusterClock, Key, NamespaceId, Operation, ReadError,
    commit::{GcStep, NewContent, Remote, RemoteWrite},
    engine::{Engine as _, redb::RedbSnapshot},
    view::{FoundState, View},
    writer::{Step, WriterConfig},
};

/// Runs steps as a thread whose disk is slow does, until this one has run. Returns how many it took.
fn steps_until(fixture: &mut Fixture, wanted: Step) -> usize {
    for count in 1..100 {
        let step = fixture.due().unwrap();
        fixture.run(step);
        fixture.wait(30);
        if step == wanted {
            return count;
        }
    }
    panic!("{wanted:?} never ran");
}

/// A view as the source of chunks.
struct Chunks(View<RedbSnapshot>);

impl ChunkSource for Chunks {
    fn chunk(&self, body: BodyId, index: u32) -> Result<Option<Bytes>, ReadError> {
        self.0.chunk(body, index)
    }
}

#[test]
fn garbage_is_collected_between_commits_with_a_pause_while_there_is_more() {
    let expiry_grace = Duration::ZERO;
    let config = WriterConfig { gc_rows: 1, expiry_grace, ..WriterConfig::default() };
    let mut fixture = Fixture::new(config);
    let expires_at = Some(fixture.now.wall_ms / 1000 + 1);
    for (token, key) in [(1, "a"), (2, "b")] {
        let upload = fixture.writer.committer().upload();
        fixture.writer.request(token, put(key, expires_at, upload));
    }
    fixture.run_due();
    fixture.wait(20);
    let (steps, _) = fixture.run_due();
    assert_eq!(steps, [Step::Recover, Step::CollectGarbage], "nothing has expired: no sync");
    fixture.wait(5_000);
    fixture.writer.request(3, delete("c"));
    let (steps, seen) = fixture.run_due();
    let gc = [Step::Recover, Step::CollectGarbage];
    assert_eq!(steps[..2], gc);
    assert_eq!(steps[2..], [Step::Commit, Step::Sync], "one sync for both");
    let [Seen::Collected(Ok(step)), ..] = &seen[..] else { panic!("{seen:?}") };
    assert!(step.expired == 1 && step.more, "{step:?}");
    fixture.wait(29);
    assert_eq!(fixture.due(), None, "beside commits it pauses for longer than without");
    fixture.wait(1);
    assert_eq!(fixture.run_due().0, gc);
    fixture.wait(9);
    assert_eq!(fixture.due(), None);
    fixture.wait(1);
    assert_eq!(fixture.run_due().0, gc, "after 10 ms: nothing was committed since");
    fixture.wait(20);
    assert_eq!(
        fixture.run_due().0[0],
        Step::Sync,
        "30 ms after the first one that no commit followed"
    );
}

#[test]
fn a_step_that_took_long_is_followed_by_a_smaller_one_after_a_longer_pause() {
    let config = WriterConfig { expiry_grace: Duration::ZERO, ..WriterConfig::default() };
    let mut fixture = Fixture::new(config);
    let expires_at = Some(fixture.now.wall_ms / 1000 + 1);
    for token in 0..2000 {
        let upload = fixture.writer.committer().upload();
        fixture.writer.request(token, put(&format!("{token}"), expires_at, upload));
    }
    fixture.run_due();
    fixture.wait(5_000);
    let rows = |fixture: &mut Fixture, pause: u64, took: u64| {
        fixture.wait(pause - 1);
        while fixture.due() == Some(Step::Sync) {
            fixture.run(Step::Sync);
        }
        assert_eq!(fixture.due(), None, "{pause} ms have not passed");
        fixture.wait(1);
        assert_eq!(fixture.due(), Some(Step::Recover));
        fixture.run(Step::Recover);
        let seen = fixture.run(Step::CollectGarbage);
        fixture.writer.took(Duration::from_millis(took));
        let [Seen::Collected(Ok(step)), ..] = &seen[..] else { panic!("{seen:?}") };
        step.expired
    };
    fixture.run(Step::Recover);
    fixture.run(Step::CollectGarbage);
    fixture.writer.took(Duration::from_millis(50));
    assert_eq!(rows(&mut fixture, 100, 50), 250, "half of the first step's");
    assert_eq!(rows(&mut fixture, 100, 2), 125);
    assert_eq!(rows(&mut fixture, 10, 5), 250);
}

#[test]
fn a_step_of_garbage_collection_that_only_ends_a_walk_is_synced() {
    let mut fixture = Fixture::new(WriterConfig::default());
    let id = namespace();
    let (account, title) = (kv_core::Account::default(), kv_core::Title::new("one").unwrap());
    fixture.writer.request(1, Operation::CreateNamespace { account, title, id: Some(id) });
    fixture.writer.request(2, Operation::DropNamespace { id });
    fixture.run(Step::Commit);
    fixture.run(Step::Sync);
    let before = fixture.writer.committer().engine().status();
    let seen = fixture.run(Step::CollectGarbage);
    assert!(matches!(&seen[..], [Seen::Collected(Ok(step))] if step.is_idle()), "{seen:?}");
    let status = fixture.writer.committer().engine().status();
    assert!(status.latest > before.latest, "nothing was committed");
    assert_eq!(fixture.writer.sync_due(), Some(fixture.now.mono + Duration::from_millis(30)));
}

#[test]
fn garbage_collection_on_a_slow_disk_lets_a_commit_and_a_turn_go_first() {
    let config =
        WriterConfig { gc_rows: 1, expiry_grace: Duration::ZERO, ..WriterConfig::default() };
    let mut fixture = Fixture::new(config);
    let expires_at = Some(fixture.now.wall_ms / 1000 + 1);
    for token in 0..200 {
        let upload = fixture.writer.committer().upload();
        fixture.writer.request(token, put(&format!("{token}"), expires_at, upload));
    }
    fixture.run_due();
    fixture.replicated(vec![]);
    fixture.run_due();
    fixture.wait(5_000);
    steps_until(&mut fixture, Step::CollectGarbage);
    for token in 0..10 {
        fixture.writer.request(token, delete("a"));
        fixture.writer.wake();
        let steps = steps_until(&mut fixture, Step::Commit);
        assert!(steps <= 6, "{steps} steps of 30 ms");
        fixture.writer.request(token, delete("a"));
        fixture.writer.wake();
        let steps = steps_until(&mut fixture, Step::Turn);
        assert!(steps <= 6, "{steps} steps of 30 ms");
    }
}

#[test]
fn no_reader_starts_on_a_collected_body_that_the_published_view_still_has() {
    let mut fixture = Fixture::durable();
    let mut upload = fixture.writer.committer().upload();
    let staged = upload.push(&vec![1; 200_000]).unwrap();
    let (last, body) = upload.finish();
    let (key, attributes) = (Key::new("a").unwrap(), kv_core::Attributes::default());
    let put = Operation::Put { namespace: namespace(), key, body, attributes };
    for operation in staged.into_iter().chain(last).chain([put]) {
        fixture.writer.request(1, operation);
    }
    fixture.run_due();
    let published = fixture.writer.committer().view();
    let found = published.row(namespace(), b"a").unwrap().unwrap();
    let source = Arc::new(Chunks(published));
    fixture.writer.request(2, delete("a"));
    fixture.run(Step::Commit);
    let seen = fixture.run(Step::CollectGarbage);
    assert!(matches!(seen[..], [Seen::Collected(Ok(GcStep { bodies: 1, .. }))]), "{seen:?}");
    let reader = fixture.writer.committer().read_body(&found, source).unwrap();
    assert!(reader.is_none(), "it would miss its chunks after the sync");
}

#[test]
fn an_expired_entry_is_freed_after_the_grace_and_its_tombstone_collected_after_it_too() {
    let expiry_grace = Duration::from_secs(60);
    let config = WriterConfig { expiry_grace, ..WriterConfig::default() };
    let mut fixture = Fixture::new(config);
    let expires_at = Some(fixture.now.wall_ms / 1000 + 30);
    let upload = fixture.writer.committer().upload();
    fixture.writer.request(1, put("a", expires_at, upload));
    fixture.run_due();
    let state = |fixture: &mut Fixture| {
        let row = fixture.writer.committer().view().row(namespace(), b"a").unwrap();
        row.map(|found| found.state)
    };
    fixture.wait(89_000);
    fixture.run_due();
    assert!(matches!(state(&mut fixture), Some(FoundState::Inline(_))));
    fixture.wait(1_000);
    fixture.run_due();
    assert_eq!(state(&mut fixture), Some(FoundState::ExpiredTombstone));
    fixture.wait(1_000);
    fixture.run_due();
    assert_eq!(state(&mut fixture), None, "nobody else has the entry");
}

#[test]
fn an_expired_tombstone_of_a_peer_stays_until_its_expiry_and_delays_no_deletion() {
    let config = WriterConfig { gc_rows: 1, ..WriterConfig::default() };
    let mut fixture = Fixture::new(config);
    let expired = |key: &'static str, seq, seconds| {
        let Operation::Remote(Remote::Next(write)) = remote(seq) else { unreachable!() };
        let expires_at = 1_700_000_000_u64 + seconds;
        let (key, change) = (Key::new(key).unwrap(), NewContent::Expired { expires_at });
        Operation::Remote(Remote::Next(RemoteWrite { key, change, ..write }))
    };
    fixture.writer.request(1, expired("day", 1, 24 * 3600));
    fixture.writer.request(2, expired("minute", 2, 60));
    fixture.writer.request(3, delete("deleted"));
    fixture.run_due();
    let left = |fixture: &mut Fixture| {
        let view = fixture.writer.committer().view();
        let has = |id, key: &str| view.row(id, key.as_bytes()).unwrap().is_some();
        let peers = NamespaceId([3; 16]);
        [has(peers, "day"), has(peers, "minute"), has(namespace(), "deleted")]
    };
    let hours = |fixture: &mut Fixture, hours: u64| {
        for _ in 0..hours * 60 {
            fixture.wait(60_000);
            fixture.run_due();
        }
    };
    fixture.wait(1_000);
    fixture.run_due();
    assert_eq!(left(&mut fixture), [true, true, false]);
    hours(&mut fixture, 2);
    assert_eq!(left(&mut fixture), [true, false, false]);
    hours(&mut fixture, 22);
    assert_eq!(left(&mut fixture), [true, false, false]);
    hours(&mut fixture, 2);
    assert_eq!(left(&mut fixture), [false; 3]);
}

#[test]
fn an_expired_entry_is_freed_at_once_on_a_confirmed_clock_and_on_no_other() {
    for is_confirmed in [true, false] {
        let mut fixture = Fixture::new(WriterConfig::default());
        let expires_at = Some(fixture.now.wall_ms / 1000 + 30);
        let upload = fixture.writer.committer().upload();
        fixture.writer.request(1, put("a", expires_at, upload));
        fixture.run_due();
        let zero_ms = i64::try_from(fixture.now.wall_ms).unwrap()
            - i64::try_from(fixture.now.mono.as_millis()).unwrap();
        let clock =
            ClusterClock { zero_ms: Some(zero_ms), is_confirmed, ..ClusterClock::default() };
        fixture.writer.set_clock(clock);
        fixture.wait(29_000);
        fixture.run_due();
        let has_value = |fixture: &mut Fixture| {
            let row = fixture.writer.committer().view().row(namespace(), b"a").unwrap();
            matches!(row.map(|found| found.state), Some(FoundState::Inline(_)))
        };
        assert!(has_value(&mut fixture));
        fixture.wait(5_000);
        fixture.run_due();
        assert_eq!(has_value(&mut fixture), !is_confirmed);
    }
}

#[test]
fn a_time_that_all_members_confirm_and_that_stepped_ahead_frees_nothing_and_closes_nothing() {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    let mut fixture = Fixture::new(WriterConfig::default());
    fixture.replicated(vec![]);
    let expires_at = Some(fixture.now.wall_ms / 1000 + 3600);
    let upload = fixture.writer.committer().upload();
    fixture.writer.request(1, put("a", expires_at, upload));
    let zero_ms = i64::try_from(fixture.now.wall_ms).unwrap()
        - i64::try_from(fixture.now.mono.as_millis()).unwrap();
    for (token, ahead_ms) in [(2, 0), (3, DAY_MS), (4, 0)] {
        let zero_ms = Some(zero_ms + ahead_ms);
        let clock = ClusterClock { zero_ms, is_confirmed: true, closing_zero_ms: zero_ms };
        fixture.writer.set_clock(clock);
        fixture.run_due();
        fixture.writer.request(token, delete("b"));
        fixture.wait(4_000);
        fixture.run_due();
        let row = fixture.writer.committer().view().row(namespace(), b"a").unwrap();
        assert!(matches!(row.map(|found| found.state), Some(FoundState::Inline(_))), "{ahead_ms}");
        let closed = fixture.writer.committer().closed_timestamp().millis();
        let is_near = closed.abs_diff(fixture.now.wall_ms) <= 1_000;
        assert!(is_near, "{ahead_ms}: closed {closed} at {}", fixture.now.wall_ms);
    }
}

#[test]
fn no_reader_opens_a_freed_body_until_readers_have_a_view_without_it() {
    let mut fixture = Fixture::durable();
    let mut upload = fixture.writer.committer().upload();
    let mut operations = upload.push(&[1; 200_000]).unwrap();
    let (last, body) = upload.finish();
    operations.extend(last);
    let (key, attributes) = (Key::new("a").unwrap(), Attributes::default());
    operations.push(Operation::Put { namespace: namespace(), key, body, attributes });
    operations.into_iter().for_each(|operation| fixture.writer.request(1, operation));
    fixture.run_due();
    let old = fixture.writer.committer().view();
    let found = old.row(namespace(), b"a").unwrap().unwrap();
    let source: Arc<dyn ChunkSource> = Arc::new(Chunks(old));
    fixture.writer.request(2, delete("a"));
    fixture.run_due();
    fixture.run(Step::CollectGarbage);
    fixture.writer.run(fixture.now, Step::Sync);
    let mut opens = || fixture.writer.committer().read_body(&found, Arc::clone(&source)).unwrap();
    assert!(opens().is_none(), "its other chunks are gone as soon as readers have the new view");
}
