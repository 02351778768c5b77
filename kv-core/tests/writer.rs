//! The writer's state machine: when it answers, publishes, syncs and rolls back.
#![expect(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod common;

use std::{sync::atomic::Ordering, time::Duration};

use common::writer::{Call, Fixture, NAMESPACE, Seen, delete, made, namespace};
use kv_core::{
    Account, Durability, Mode, NamespaceId, Operation, Options, Outcome, Title, WriteError,
    writer::{Step, WriterConfig},
};

#[test]
fn an_answer_and_the_view_come_after_the_sync() {
    let mut fixture = Fixture::durable();
    assert_eq!(fixture.due(), None);
    fixture.writer.request(1, delete("a"));
    fixture.writer.request(2, delete("b"));
    assert_eq!(fixture.due(), Some(Step::Commit));
    assert_eq!(fixture.run(Step::Commit), [], "nothing is durable yet");
    let held: Vec<_> = fixture.writer.held().iter().map(|(token, _)| *token).collect();
    assert_eq!(held, [1, 2]);
    assert_eq!(fixture.due(), Some(Step::Sync));
    let expected = [Seen::Publish(true, 3), made([1, 2]), Seen::Synced(true)];
    assert_eq!(fixture.run(Step::Sync), expected);
    assert_eq!(fixture.due(), None);
}

#[test]
fn one_sync_covers_every_commit_before_it() {
    let mut fixture = Fixture::durable();
    for token in 1..4 {
        fixture.writer.request(token, delete("a"));
        assert_eq!(fixture.run(Step::Commit), []);
    }
    let expected = [Seen::Publish(true, 4), made([1, 2, 3]), Seen::Synced(true)];
    assert_eq!(fixture.run(Step::Sync), expected);
}

#[test]
fn a_refusal_waits_for_the_commits_that_it_may_be_due_to() {
    let mut fixture = Fixture::durable();
    let create = || {
        let (account, title) = (Account::default(), Title::new("other").unwrap());
        Operation::CreateNamespace { account, title, id: None }
    };
    fixture.writer.request(1, create());
    fixture.run(Step::Commit);
    fixture.writer.request(2, create());
    assert_eq!(fixture.run(Step::Commit), [], "the first is not durable yet");
    let seen = fixture.run(Step::Sync);
    let [_, Seen::Answers(answers), _] = &seen[..] else { panic!("{seen:?}") };
    assert!(matches!(answers[..], [(1, Ok(())), (2, Err(WriteError::Taken(_)))]), "{answers:?}");
}

#[test]
fn a_batch_that_changes_nothing_is_answered_without_a_sync() {
    let mut fixture = Fixture::durable();
    let mut upload = fixture.writer.committer().upload();
    let stage = upload.push(&vec![1; 70_000]).unwrap().remove(0);
    fixture.writer.request(1, stage);
    let (account, title) = (Account::default(), Title::new(NAMESPACE).unwrap());
    fixture.writer.request(2, Operation::CreateNamespace { account, title, id: None });
    let seen = fixture.run(Step::Commit);
    let [Seen::Answers(answers)] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(answers[0], (1, Ok(())), "a piece of a body acknowledges nothing");
    assert!(matches!(answers[1], (2, Err(WriteError::Taken(_)))), "{answers:?}");
    assert_eq!(fixture.due(), None);
}

#[test]
fn a_failed_sync_fails_every_answer_that_waited_and_readers_get_what_is_left() {
    let mut fixture = Fixture::durable();
    fixture.writer.request(1, delete("a"));
    fixture.run(Step::Commit);
    fixture.writer.request(2, Operation::DropNamespace { id: NamespaceId([7; 16]) });
    fixture.writer.request(3, delete("b"));
    fixture.run(Step::Commit);
    fixture.faults.syncs.store(true, Ordering::SeqCst);
    let seen = fixture.run(Step::Sync);
    let [Seen::Publish(false, _), Seen::Answers(answers), Seen::Synced(false)] = &seen[..] else {
        panic!("{seen:?}")
    };
    let tokens: Vec<_> = answers.iter().map(|(token, _)| *token).collect();
    assert_eq!(tokens, [1, 2, 3]);
    let is_unknown = |answer: &(u32, Result<(), WriteError>)| {
        matches!(answer, (_, Err(WriteError::OutcomeUnknown(_))))
    };
    assert!(answers.iter().all(is_unknown), "refusals too: {answers:?}");
    assert!(matches!(fixture.mode(), Mode::ReadOnly(_)));
    fixture.faults.syncs.store(false, Ordering::SeqCst);
    fixture.writer.request(4, delete("c"));
    let seen = fixture.run(Step::Commit);
    let [Seen::Answers(answers)] = &seen[..] else { panic!("{seen:?}") };
    assert!(matches!(answers[0].1, Err(WriteError::ReadOnly(_))), "{answers:?}");
}

#[test]
fn a_failed_commit_rolls_back_and_the_writer_resumes_when_the_disk_works() {
    let mut fixture = Fixture::durable();
    fixture.replicated(Vec::new());
    fixture.run_due();
    fixture.calls();
    fixture.writer.request(1, delete("a"));
    fixture.run(Step::Commit);
    fixture.faults.writes.store(true, Ordering::SeqCst);
    fixture.writer.request(2, delete("b"));
    // redb writes at a commit if its cache is full, else at the sync.
    let mut answers = Vec::new();
    for seen in [fixture.run(Step::Commit), fixture.run(Step::Sync)].into_iter().flatten() {
        match seen {
            Seen::Answers(some) => answers.extend(some),
            Seen::Publish(_, own) => assert_eq!(own, 1, "readers see only what was synced"),
            other => assert!(matches!(other, Seen::Synced(_)), "{other:?}"),
        }
    }
    assert!(answers.iter().all(|(_, result)| result.is_err()), "{answers:?}");
    assert_eq!(answers[0].0, 1, "the answer that waited first fails too");
    let calls = fixture.calls();
    let expected = [Call::RolledBack, Call::Published(vec![])];
    assert_eq!(calls[..2], expected, "it never gets the write");
    fixture.faults.writes.store(false, Ordering::SeqCst);
    fixture.writer.recover();
    assert_eq!(fixture.due(), Some(Step::Recover));
    fixture.run(Step::Recover);
    assert_eq!(fixture.mode(), Mode::Writer);
    fixture.writer.request(200, delete("c"));
    let (_, seen) = fixture.run_due();
    assert!(seen.contains(&made([200])), "{seen:?}");
    let origins = fixture.writer.committer().origins();
    assert!(origins.is_some_and(|own| own[0] != fixture.own), "a lost number is never reused");
}

#[test]
fn a_commit_that_reopens_the_engine_is_answered_by_its_sync() {
    let mut fixture = Fixture::durable();
    fixture.faults.reads.store(true, Ordering::SeqCst);
    let view = fixture.writer.committer().view();
    assert!(view.row(namespace(), b"a").is_err(), "without a cache it reads from the disk");
    fixture.faults.reads.store(false, Ordering::SeqCst);
    fixture.writer.recover();
    fixture.writer.request(1, delete("a"));
    let seen = fixture.run(Step::Commit);
    if matches!(seen[..], [Seen::Publish(..), Seen::Answers(_)]) {
        // The prefetch met the failure: the commit is refused, and readers leave the dead view.
        fixture.writer.request(1, delete("a"));
        assert_eq!(fixture.run(Step::Commit), []);
    } else {
        assert_eq!(seen, [], "the sync publishes the commit");
    }
    fixture.run(Step::Recover);
    let seen = fixture.run(Step::Sync);
    assert!(seen.contains(&made([1])), "{seen:?}");
    assert!(matches!(seen[0], Seen::Publish(true, 2)), "{seen:?}");
}

#[test]
fn relaxed_writes_are_answered_at_once_and_synced_in_time() {
    let within = Duration::from_millis(50);
    let durability = Durability::Relaxed { within };
    let mut fixture = Fixture::new(WriterConfig { durability, ..WriterConfig::default() });
    fixture.wait(50);
    fixture.run_due();
    fixture.writer.request(1, delete("a"));
    assert_eq!(fixture.run(Step::Commit), [Seen::Publish(false, 2), made([1])]);
    fixture.wait(30);
    fixture.writer.request(2, delete("b"));
    assert_eq!(fixture.run(Step::Commit), [Seen::Publish(false, 3), made([2])]);
    fixture.wait(19);
    assert_eq!(fixture.due(), None);
    assert_eq!(fixture.writer.poll_timeout(), Some(fixture.now.mono + Duration::from_millis(1)));
    fixture.wait(1);
    assert_eq!(fixture.due(), Some(Step::Sync), "50 ms after the first");
    assert_eq!(fixture.run(Step::Sync), [Seen::Publish(true, 3), Seen::Synced(true)]);
    assert_eq!(fixture.writer.sync_due(), None);
}

#[test]
fn readers_that_keep_meeting_failures_do_not_keep_callers_waiting() {
    let mut fixture = Fixture::durable();
    fixture.writer.request(1, delete("a"));
    let mut steps = Vec::new();
    for _ in 0..4 {
        fixture.writer.recover();
        let step = fixture.due().unwrap();
        fixture.run(step);
        steps.push(step);
    }
    assert_eq!(steps, [Step::Recover, Step::Commit, Step::Recover, Step::Sync]);
    fixture.writer.recover();
    assert_eq!(fixture.run_due().0, [Step::Recover]);
    fixture.writer.recover();
    assert_eq!(fixture.run_due().0, [Step::Recover], "nothing else waits");
}

#[test]
fn closing_commits_and_syncs_what_was_accepted_and_refuses_what_comes_later() {
    let mut fixture = Fixture::durable();
    fixture.writer.request(1, delete("a"));
    fixture.writer.close();
    assert!(!fixture.writer.has_room());
    fixture.writer.request(2, delete("b"));
    let (steps, seen) = fixture.run_due();
    assert_eq!(steps, [Step::Commit, Step::Sync, Step::Close]);
    let refused = Seen::Answers(vec![(2, Err(WriteError::Closed))]);
    let expected =
        [refused, Seen::Publish(true, 2), made([1]), Seen::Synced(true), Seen::Closed(Ok(()))];
    assert_eq!(seen, expected);
    assert!(fixture.writer.is_closed());
    assert_eq!((fixture.due(), fixture.writer.poll_timeout()), (None, None));
    fixture.replicated(Vec::new());
    assert_eq!(fixture.run(Step::Close), [Seen::Replicating(Err(WriteError::Closed))]);
}

#[test]
fn the_error_of_the_last_sync_is_the_error_of_closing() {
    let mut fixture = Fixture::durable();
    fixture.writer.request(1, delete("a"));
    fixture.run(Step::Commit);
    fixture.faults.syncs.store(true, Ordering::SeqCst);
    fixture.writer.close();
    let (_, seen) = fixture.run_due();
    let Some(Seen::Closed(Err(WriteError::OutcomeUnknown(_)))) = seen.last() else {
        panic!("{seen:?}")
    };
}

#[test]
fn the_status_of_an_open_store_is_never_closed_however_many_ask() {
    let directory = tempfile::tempdir().unwrap();
    let store = Options::new().open(directory.path()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50_000 {
                    assert_eq!(store.status().mode, Mode::Writer);
                }
            });
        }
    });
    store.close().unwrap();
    assert!(matches!(store.status().mode, Mode::Closed(_)));
}

#[test]
fn outcomes_are_held_as_they_were_made() {
    let mut fixture = Fixture::durable();
    fixture.writer.request(1, delete("a"));
    fixture.run(Step::Commit);
    let [(1, Ok(Outcome::Written(written)))] = fixture.writer.held() else { panic!() };
    assert_eq!(written.version.origin, fixture.own);
}
