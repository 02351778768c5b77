//! A writer on a disk that refuses what a test wants, and a replicator that records its calls.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{disk::wrapped, peer};
use kv_core::{
    Account, Change, Dot, Hlc, Key, MemberId, Mode, NamespaceId, Operation, OriginId, Replication,
    Title, TurnOutcome, Version, WriteError,
    commit::{Committer, Creation, GcStep, NewContent, Remote, RemoteWrite},
    derive_id,
    engine::{
        Engine as _,
        disk::{DiskFile, memory},
        redb::{RedbEngine, RedbSnapshot},
    },
    view::View,
    writer::{Now, Output, Step, WriterConfig, WriterCore},
};

/// What the disk refuses.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) reads: AtomicBool,
    pub(crate) writes: AtomicBool,
    pub(crate) syncs: AtomicBool,
}

impl Faults {
    pub(crate) fn check(fault: &AtomicBool) -> io::Result<()> {
        if fault.load(Ordering::SeqCst) { Err(io::Error::other("a fault")) } else { Ok(()) }
    }
}

#[derive(Debug)]
pub(crate) struct FailingFile(Arc<dyn DiskFile>, Arc<Faults>);

impl DiskFile for FailingFile {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        Faults::check(&self.1.reads)?;
        self.0.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        Faults::check(&self.1.syncs)?;
        self.0.sync()
    }

    fn forget_cached(&self) {
        self.0.forget_cached();
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Faults::check(&self.1.writes)?;
        self.0.write_at(offset, data)
    }
}

/// A replicator's calls, in their order.
#[derive(Debug, PartialEq)]
pub(crate) enum Call {
    Began,
    /// The numbers of the writes behind the opening row of their origin.
    Published(Vec<u64>),
    Synced,
    RolledBack,
}

/// Commits one operation of its inbox a turn.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(crate) operations: Vec<Operation>,
    pub(crate) calls: Vec<Call>,
    /// Turns that it had.
    pub(crate) turns: usize,
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
pub(crate) enum Seen {
    /// Whether it is durable, and the number of the store's own writes that it shows, without opening rows.
    Publish(bool, u64),
    Answers(Vec<(u32, Result<(), WriteError>)>),
    Synced(bool),
    Collected(Result<GcStep, WriteError>),
    Replicating(Result<(), WriteError>),
    Closed(Result<(), WriteError>),
}

pub(crate) struct Fixture {
    pub(crate) writer: WriterCore<RedbEngine, u32, Inbox>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) own: OriginId,
    pub(crate) now: Now,
}

pub(crate) const NAMESPACE: &str = "n";

pub(crate) fn namespace() -> NamespaceId {
    derive_id("", NAMESPACE, 0)
}

pub(crate) fn delete(key: &str) -> Operation {
    Operation::Delete { namespace: namespace(), key: Key::new(key).unwrap() }
}

pub(crate) fn put(key: &str, expires_at: Option<u64>, upload: kv_core::Upload) -> Operation {
    let mut upload = upload;
    assert!(upload.push(b"value").unwrap().is_empty());
    let attributes = kv_core::Attributes { metadata: None, expires_at };
    let key = Key::new(key).unwrap();
    Operation::Put { namespace: namespace(), key, body: upload.finish().1, attributes }
}

pub(crate) const PEER: OriginId = OriginId([99; 16]);

/// The opening row of the peer's origin.
pub(crate) fn opening() -> Operation {
    let opened = Hlc(1_700_000_000_000 << 16);
    let info = peer::origin([PEER, OriginId([97; 16])], MemberId([98; 16]), opened);
    Operation::Remote(Remote::Next(peer::opening(&info)))
}

/// A peer's write behind its opening row, which every store applies.
pub(crate) fn remote(number: u64) -> Operation {
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
    pub(crate) fn new(config: WriterConfig) -> Fixture {
        let faults = Arc::new(Faults::default());
        let directory = {
            let faults = Arc::clone(&faults);
            wrapped(memory(), move |file| Arc::new(FailingFile(file, Arc::clone(&faults))))
        };
        let engine = Arc::new(RedbEngine::open(directory, 0).unwrap());
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

    pub(crate) fn durable() -> Fixture {
        Fixture::new(WriterConfig::default())
    }

    pub(crate) fn wait(&mut self, ms: u64) {
        self.now.mono += Duration::from_millis(ms);
        self.now.wall_ms += ms;
    }

    pub(crate) fn due(&self) -> Option<Step> {
        self.writer.next_step(self.now.mono)
    }

    pub(crate) fn run(&mut self, step: Step) -> Vec<Seen> {
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
    pub(crate) fn run_due(&mut self) -> (Vec<Step>, Vec<Seen>) {
        let (mut steps, mut seen) = (Vec::new(), Vec::new());
        while let Some(step) = self.due() {
            steps.push(step);
            seen.extend(self.run(step));
        }
        (steps, seen)
    }

    pub(crate) fn replicated(&mut self, operations: Vec<Operation>) {
        self.writer.replicate(Some(Inbox { operations, ..Inbox::default() }));
    }

    pub(crate) fn calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.writer.replicator_mut().unwrap().calls)
    }

    pub(crate) fn mode(&mut self) -> Mode {
        self.writer.committer().engine().status().mode
    }
}

pub(crate) fn made(tokens: impl IntoIterator<Item = u32>) -> Seen {
    Seen::Answers(tokens.into_iter().map(|token| (token, Ok(()))).collect())
}
