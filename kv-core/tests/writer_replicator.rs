//! The writer's state machine: the turns of the replicator, its notices, and how it is replaced.
#![expect(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod common;

use std::sync::atomic::Ordering;

use common::writer::{Call, Fixture, Seen, delete, made, remote};
use kv_core::{
    Mode,
    writer::{Output, Step},
};

#[test]
fn turns_and_commits_alternate_and_their_rows_are_synced_in_time() {
    let mut fixture = Fixture::durable();
    fixture.replicated(vec![remote(3), remote(2), remote(1)]);
    assert_eq!(fixture.due(), Some(Step::Sync), "everything before is durable when it begins");
    let seen = fixture.run(Step::Sync);
    assert!(seen.contains(&Seen::Replicating(Ok(()))), "{seen:?}");
    assert_eq!(fixture.calls(), [Call::Began]);
    fixture.writer.request(1, delete("a"));
    fixture.writer.request(2, delete("b"));
    assert_eq!(fixture.due(), Some(Step::Turn), "a caller went last");
    assert_eq!(fixture.run(Step::Turn), [Seen::Publish(false, 1)], "visible before it is durable");
    assert_eq!(fixture.due(), Some(Step::Commit), "the replicator went last");
    fixture.run(Step::Commit);
    fixture.run(Step::Sync);
    let calls = [Call::Published(vec![]), Call::Published(vec![2, 3]), Call::Synced];
    assert_eq!(fixture.calls(), calls, "one sync for both");
    assert_eq!(fixture.due(), Some(Step::Turn));
    assert_eq!(fixture.run(Step::Turn), [Seen::Publish(false, 3)]);
    fixture.run_due();
    fixture.wait(29);
    fixture.calls();
    assert_eq!(fixture.due(), Some(Step::Recover), "only garbage collection is due");
    fixture.run_due();
    fixture.wait(1);
    let (steps, _) = fixture.run_due();
    assert_eq!(steps, [Step::Sync], "30 ms after the last turn");
    assert_eq!(fixture.calls(), [Call::Published(vec![]), Call::Synced]);
}

#[test]
fn a_turn_shows_no_local_write_that_waits_for_its_sync() {
    let mut fixture = Fixture::durable();
    fixture.replicated(vec![remote(1)]);
    fixture.run(Step::Sync);
    fixture.calls();
    fixture.writer.request(1, delete("a"));
    fixture.run(Step::Commit);
    assert_eq!(fixture.run(Step::Turn), [], "a view would show the local write");
    assert_eq!(fixture.calls(), []);
    let expected = [Seen::Publish(true, 2), made([1]), Seen::Synced(true)];
    assert_eq!(fixture.run(Step::Sync), expected);
    assert_eq!(fixture.calls(), [Call::Published(vec![2]), Call::Synced]);
}

#[test]
fn a_sync_that_failed_for_the_replicator_is_tried_again() {
    let mut fixture = Fixture::durable();
    fixture.replicated(vec![remote(1)]);
    fixture.run_due();
    fixture.run(Step::Sync);
    fixture.calls();
    fixture.writer.replicator_mut().unwrap().operations.push(remote(2));
    fixture.writer.wake();
    fixture.run(Step::Turn);
    fixture.faults.writes.store(true, Ordering::SeqCst);
    fixture.run(Step::Sync);
    assert!(fixture.calls().contains(&Call::RolledBack));
    fixture.faults.writes.store(false, Ordering::SeqCst);
    fixture.run(Step::Recover);
    assert_eq!(fixture.mode(), Mode::Writer);
    assert!(fixture.writer.sync_due().is_some());
    fixture.wait(1_000);
    assert_eq!(fixture.due(), Some(Step::Sync));
    fixture.run(Step::Sync);
    assert_eq!(fixture.calls().last(), Some(&Call::Synced));
}

#[test]
fn a_replicator_is_replaced_by_the_next_sync() {
    let mut fixture = Fixture::durable();
    fixture.replicated(vec![remote(1)]);
    fixture.run_due();
    fixture.writer.request(1, delete("a"));
    fixture.run(Step::Commit);
    fixture.replicated(vec![]);
    assert!(fixture.writer.replicator().is_none(), "the first is gone at once");
    fixture.replicated(vec![]);
    let seen = fixture.run(Step::Sync);
    let results: Vec<_> = seen.iter().filter(|seen| matches!(seen, Seen::Replicating(_))).collect();
    assert!(
        matches!(results[..], [Seen::Replicating(Err(_)), Seen::Replicating(Ok(()))]),
        "the second never began: {seen:?}"
    );
    assert_eq!(fixture.calls(), [Call::Began], "it is told nothing from before");
    fixture.writer.replicate(None);
    assert_eq!(fixture.run(Step::Turn), [Seen::Replicating(Ok(()))]);
    assert_eq!(fixture.due(), None);
}

#[test]
fn a_replicator_does_not_begin_if_the_sync_before_it_fails() {
    let mut fixture = Fixture::durable();
    fixture.writer.request(1, delete("a"));
    fixture.run(Step::Commit);
    fixture.faults.syncs.store(true, Ordering::SeqCst);
    fixture.replicated(vec![]);
    let seen = fixture.run(Step::Sync);
    assert!(matches!(seen[..], [.., Seen::Replicating(Err(_)), Seen::Synced(false)]), "{seen:?}");
    assert!(fixture.writer.replicator().is_none());
}

#[test]
fn the_replicator_gets_its_notices_once_readers_have_the_view() {
    let mut fixture = Fixture::durable();
    fixture.replicated(vec![]);
    fixture.run_due();
    fixture.writer.request(1, delete("a"));
    fixture.run(Step::Commit);
    fixture.calls();
    fixture.writer.run(fixture.now, Step::Sync);
    assert!(matches!(fixture.writer.poll_output(), Some(Output::Publish { .. })));
    assert_eq!(fixture.calls(), [], "the driver may not have published the view yet");
    assert!(matches!(fixture.writer.poll_output(), Some(Output::Answers(_))));
    assert_eq!(fixture.calls(), [Call::Published(vec![2]), Call::Synced]);
    // A driver that leaves outputs behind does not keep the notices from the replicator.
    fixture.writer.request(2, delete("a"));
    fixture.writer.run(fixture.now, Step::Commit);
    fixture.writer.run(fixture.now, Step::Sync);
    fixture.writer.run(fixture.now, Step::Recover);
    assert_eq!(fixture.calls(), [Call::Published(vec![3]), Call::Synced]);
}
