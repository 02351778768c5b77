//! The writer's state machine: when it answers, publishes, syncs and rolls back.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use kv_core::{
    Account, Attributes, BodyId, Change, ChunkSource, ClusterClock, Dot, Durability, Hlc,
    JoinedRow, Key, Lane, MemberId, Mode, NamespaceId, Operation, Options, OriginId, OriginInfo,
    Outcome, ReadError, Replication, Title, TurnOutcome, Version, WriteError,
    commit::{Committer, Creation, GcStep, NewContent, Remote, RemoteWrite},
    derive_id,
    engine::{
        Engine,
        disk::{self, OpenDisk, StorageBackend},
        redb::{RedbEngine, RedbSnapshot},
    },
    view::{FoundState, View},
    writer::{Now, Output, Step, WriterConfig, WriterCore},
};

/// What the disk refuses.
#[derive(Debug, Default)]
struct Faults {
    reads: AtomicBool,
    writes: AtomicBool,
    syncs: AtomicBool,
}

impl Faults {
    fn check(fault: &AtomicBool) -> io::Result<()> {
        if fault.load(Ordering::SeqCst) { Err(io::Error::other("a fault")) } else { Ok(()) }
    }
}

#[derive(Debug)]
struct FailingDisk(Arc<dyn StorageBackend>, Arc<Faults>);

impl StorageBackend for FailingDisk {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        Faults::check(&self.1.reads)?;
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Faults::check(&self.1.syncs)?;
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Faults::check(&self.1.writes)?;
        self.0.write(offset, data)
    }
}

/// A replicator's calls, in their order.
#[derive(Debug, PartialEq)]
enum Call {
    Began,
    /// The numbers of the writes behind the opening row of their origin.
    Published(Vec<u64>),
    Synced,
    RolledBack,
}

/// Commits one operation of its inbox a turn.
#[derive(Debug, Default)]
struct Inbox {
    operations: Vec<Operation>,
    calls: Vec<Call>,
    /// Turns that it had.
    turns: usize,
}

impl Replication<RedbEngine> for Inbox {
    fn begin(&mut self, _: &mut Committer<RedbEngine>) {
        self.calls.push(Call::Began);
    }

    fn work(&mut self, committer: &mut Committer<RedbEngine>, now_ms: u64) -> TurnOutcome {
        self.turns += 1;
        let Some(operation) = self.operations.pop() else { return TurnOutcome::default() };
        committer.commit(now_ms, vec![operation]);
        TurnOutcome { committed: true, concurrent: 0, more: !self.operations.is_empty() }
    }

    fn published(&mut self, _: &View<RedbSnapshot>, writes: Vec<Change>) {
        let numbers = writes.iter().map(|change| change.found.dot.seq - 1).collect();
        self.calls.push(Call::Published(numbers));
    }

    fn synced(&mut self, _: &mut Committer<RedbEngine>) {
        self.calls.push(Call::Synced);
    }

    fn rolled_back(&mut self, _: &mut Committer<RedbEngine>) {
        self.calls.push(Call::RolledBack);
    }

    fn stable(&mut self) -> Hlc {
        Hlc::ZERO
    }
}

/// What came out, without what does not matter here.
#[derive(Debug, PartialEq)]
enum Seen {
    /// Whether it is durable, and the number of the store's own writes that it shows, without opening rows.
    Publish(bool, u64),
    Answers(Vec<(u32, Result<(), WriteError>)>),
    Synced(bool),
    Collected(Result<GcStep, WriteError>),
    Replicating(Result<(), WriteError>),
    Closed(Result<(), WriteError>),
}

struct Fixture {
    writer: WriterCore<RedbEngine, u32, Inbox>,
    faults: Arc<Faults>,
    own: OriginId,
    now: Now,
}

const NAMESPACE: &str = "n";

fn namespace() -> NamespaceId {
    derive_id("", NAMESPACE, 0)
}

fn delete(key: &str) -> Operation {
    Operation::Delete { namespace: namespace(), key: Key::new(key).unwrap() }
}

fn put(key: &str, expires_at: Option<u64>, upload: kv_core::Upload) -> Operation {
    let mut upload = upload;
    assert!(upload.push(b"value").unwrap().is_empty());
    let attributes = kv_core::Attributes { metadata: None, expires_at };
    let key = Key::new(key).unwrap();
    Operation::Put { namespace: namespace(), key, body: upload.finish().1, attributes }
}

const PEER: OriginId = OriginId([99; 16]);

/// The opening row of the peer's origin.
fn opening() -> Operation {
    let (member, lane, partner) = (MemberId([98; 16]), Lane::Small, OriginId([97; 16]));
    let opened = Hlc(1_700_000_000_000 << 16);
    let info = OriginInfo { id: PEER, member, lane, partner, closes: [].into(), opened };
    let version = Version { hlc: opened, origin: PEER };
    let row = JoinedRow::written(version, 1, [info.field()]).unwrap();
    Operation::Remote(Remote::Next(RemoteWrite {
        dot: Dot { origin: PEER, seq: 1 },
        hlc: opened,
        prev: None::<Version>,
        namespace: NamespaceId::SYSTEM,
        key: Key::new(OriginInfo::key(PEER)).unwrap(),
        change: NewContent::Joined(Arc::new(row)),
    }))
}

/// A peer's write behind its opening row, which every store applies.
fn remote(number: u64) -> Operation {
    Operation::Remote(Remote::Next(RemoteWrite {
        dot: Dot { origin: PEER, seq: number + 1 },
        hlc: Hlc(1_700_000_000_000 << 16 | number),
        prev: None::<Version>,
        namespace: NamespaceId([3; 16]),
        key: Key::new("peer").unwrap(),
        change: NewContent::Delete,
    }))
}

impl Fixture {
    fn new(config: WriterConfig) -> Fixture {
        let faults = Arc::new(Faults::default());
        let memory = disk::memory();
        let open: OpenDisk = {
            let faults = Arc::clone(&faults);
            Box::new(move || Ok(Arc::new(FailingDisk(memory()?, Arc::clone(&faults)))))
        };
        let engine = Arc::new(RedbEngine::open(open, 0).unwrap());
        let mut ids = 1u8..;
        let random_id = move || Ok([ids.next().unwrap(); 16]);
        let committer = Committer::open(engine, Creation::default(), random_id).unwrap();
        let now = Now { mono: Duration::from_secs(1), wall_ms: 1_700_000_000_000 };
        let writer = WriterCore::new(committer, config, now.mono);
        let mut fixture = Fixture { writer, faults, own: OriginId([0; 16]), now };
        let (account, title) = (Account::default(), Title::new(NAMESPACE).unwrap());
        fixture.writer.request(0, Operation::CreateNamespace { account, title, id: None });
        fixture.writer.request(0, opening());
        fixture.run_due();
        let [own, _] = fixture.writer.committer().origins().unwrap();
        Fixture { own, ..fixture }
    }

    fn durable() -> Fixture {
        Fixture::new(WriterConfig::default())
    }

    fn wait(&mut self, ms: u64) {
        self.now.mono += Duration::from_millis(ms);
        self.now.wall_ms += ms;
    }

    fn due(&self) -> Option<Step> {
        self.writer.next_step(self.now.mono)
    }

    fn run(&mut self, step: Step) -> Vec<Seen> {
        self.writer.run(self.now, step);
        let mut seen = Vec::new();
        while let Some(output) = self.writer.poll_output() {
            seen.extend(match output {
                Output::Publish { view, is_durable } => {
                    let own = view.registry().of_member(view.member());
                    let writes = own.map(|info| view.vector().get(info.id) - 1).sum();
                    Some(Seen::Publish(is_durable, writes))
                }
                Output::Answers(answers) => {
                    let answers =
                        answers.into_iter().map(|(token, result)| (token, result.map(drop)));
                    Some(Seen::Answers(answers.collect()))
                }
                Output::Synced(result) => Some(Seen::Synced(result.is_ok())),
                Output::Collected(result) => Some(Seen::Collected(result)),
                Output::Replicating(result) => Some(Seen::Replicating(result)),
                Output::Closed(result) => Some(Seen::Closed(result)),
                Output::Committed { .. } | Output::Concurrent(_) | Output::Recovered(_) => None,
            });
        }
        seen
    }

    /// Runs all steps that are due, as the store's thread does: the steps, and what came out.
    fn run_due(&mut self) -> (Vec<Step>, Vec<Seen>) {
        let (mut steps, mut seen) = (Vec::new(), Vec::new());
        while let Some(step) = self.due() {
            steps.push(step);
            seen.extend(self.run(step));
        }
        (steps, seen)
    }

    fn replicated(&mut self, operations: Vec<Operation>) {
        self.writer.replicate(Some(Inbox { operations, ..Inbox::default() }));
    }

    fn calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.writer.replicator_mut().unwrap().calls)
    }

    fn mode(&mut self) -> Mode {
        self.writer.committer().engine().status().mode
    }
}

fn made(tokens: impl IntoIterator<Item = u32>) -> Seen {
    Seen::Answers(tokens.into_iter().map(|token| (token, Ok(()))).collect())
}

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
    assert_eq!(answers[0], (1, Ok(())), "a piece of a body promises nothing");
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

/// A view as the source of chunks.
struct Chunks(View<RedbSnapshot>);

impl ChunkSource for Chunks {
    fn chunk(&self, body: BodyId, index: u32) -> Result<Option<Bytes>, ReadError> {
        self.0.chunk(body, index)
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

struct OldView(View<RedbSnapshot>);

impl ChunkSource for OldView {
    fn chunk(&self, body: BodyId, index: u32) -> Result<Option<Bytes>, ReadError> {
        self.0.chunk(body, index)
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
    let source: Arc<dyn ChunkSource> = Arc::new(OldView(old));
    fixture.writer.request(2, delete("a"));
    fixture.run_due();
    fixture.run(Step::CollectGarbage);
    fixture.writer.run(fixture.now, Step::Sync);
    let mut opens = || fixture.writer.committer().read_body(&found, Arc::clone(&source)).unwrap();
    assert!(opens().is_none(), "its other chunks are gone as soon as readers have the new view");
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
