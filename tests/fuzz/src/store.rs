//! A store without threads, on a disk in memory: the writer that ships, driven step by step.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kv_core::{
    Account, Attributes, Change, Hlc, Key, MemberId, NamespaceId, OpenError, Operation, Outcome,
    RandomError, Replication, Title, TurnOutcome, Upload, WriteError,
    commit::{Committer, Creation, GcLimits, GcStep},
    engine::{
        Engine as _,
        redb::{RedbEngine, RedbSnapshot},
    },
    view::View,
    writer::{Now, Output, Step, WriterConfig, WriterCore},
};

use crate::disk::Disk;

/// The location that every store belongs to.
pub const MEMBER: MemberId = MemberId([0xa0; 16]);

/// The stable timestamp that the next garbage collection goes by; commits nothing.
struct Stable(Hlc);

impl Replication<RedbEngine> for Stable {
    fn begin(&mut self, _: &mut Committer<RedbEngine>) {}

    fn work(&mut self, _: &mut Committer<RedbEngine>, _: u64) -> TurnOutcome {
        TurnOutcome::default()
    }

    fn published(&mut self, _: &View<RedbSnapshot>, _: Vec<Change>) {}

    fn synced(&mut self, _: &mut Committer<RedbEngine>) {}

    fn rolled_back(&mut self, _: &mut Committer<RedbEngine>) {}

    fn stable(&mut self) -> Hlc {
        self.0
    }
}

/// A store whose every step runs on the caller's thread.
pub struct Store {
    writer: WriterCore<RedbEngine, u64, Stable>,
    /// The results that callers must get after the next sync, if it succeeds.
    held: BTreeMap<u64, Result<Outcome, WriteError>>,
    last: u64,
}

impl Store {
    /// Takes over a committer that was just opened.
    #[must_use]
    pub fn new(committer: Committer<RedbEngine>) -> Store {
        let config = WriterConfig { expiry_grace: Duration::ZERO, ..WriterConfig::default() };
        let mut writer = WriterCore::new(committer, config, Duration::ZERO);
        writer.replicate(Some(Stable(Hlc::ZERO)));
        let mut store = Store { writer, held: BTreeMap::new(), last: 0 };
        store.run(0, Step::Sync);
        store
    }

    /// The committer, to read from.
    pub fn committer(&mut self) -> &mut Committer<RedbEngine> {
        self.writer.committer()
    }

    /// The store as of the last commit.
    pub fn view(&mut self) -> View<RedbSnapshot> {
        self.committer().view()
    }

    /// Takes a value to be put, piece by piece.
    pub fn upload(&mut self) -> Upload {
        self.committer().upload()
    }

    /// Commits one operation; its result, which its caller gets after the next sync.
    ///
    /// # Errors
    /// As for any write.
    ///
    /// # Panics
    /// If it has no result.
    pub fn make(&mut self, now_ms: u64, operation: Operation) -> Result<Outcome, WriteError> {
        self.last += 1;
        self.writer.request(self.last, operation);
        let mut ran = self.run(now_ms, Step::Commit);
        if let Some(result) = ran.answers.remove(&self.last) {
            return result;
        }
        let (token, result) = self.writer.held().last().expect("an answer, now or later");
        assert_eq!(*token, self.last, "the last operation is answered last");
        self.held.insert(*token, result.clone());
        result.clone()
    }

    /// Makes everything durable. If that succeeds, every caller gets the result that was held.
    ///
    /// # Errors
    /// As for any sync.
    ///
    /// # Panics
    /// If a caller gets another answer, or none.
    pub fn sync(&mut self) -> Result<(), WriteError> {
        let ran = self.run(0, Step::Sync);
        let result = ran.synced.expect("a sync has a result");
        let held = std::mem::take(&mut self.held);
        match &result {
            Ok(()) => assert_eq!(ran.answers, held),
            Err(_) => assert!(ran.answers.values().all(Result::is_err)),
        }
        result
    }

    /// One step of garbage collection; the writer decides what has expired.
    ///
    /// # Errors
    /// As for any.
    pub fn collect_garbage(
        &mut self,
        now_ms: u64,
        limits: &GcLimits,
    ) -> Result<GcStep, WriteError> {
        let config = self.writer.config();
        (config.gc_rows, config.gc_bodies) = (limits.rows, limits.bodies);
        if let Some(stable) = self.writer.replicator_mut() {
            stable.0 = limits.stable;
        }
        // A step without work shows the writer the time: it goes by the lesser of two readings.
        self.run(now_ms, Step::Commit);
        let ran = self.run(now_ms, Step::CollectGarbage);
        let refused = || Err(WriteError::ReadOnly("the disk failed".into()));
        ran.collected.unwrap_or_else(refused)
    }

    /// Closes the store in order.
    ///
    /// # Errors
    /// As for any.
    ///
    /// # Panics
    /// If closing has no result.
    pub fn close(mut self) -> Result<(), WriteError> {
        self.writer.close();
        self.run(0, Step::Sync);
        self.run(0, Step::Close).closed.expect("closing has a result")
    }

    fn run(&mut self, wall_ms: u64, step: Step) -> Ran {
        self.writer.run(Now { mono: Duration::ZERO, wall_ms }, step);
        let mut ran = Ran::default();
        while let Some(output) = self.writer.poll_output() {
            match output {
                Output::Answers(answers) => ran.answers.extend(answers),
                Output::Synced(result) => ran.synced = Some(result),
                Output::Collected(result) => ran.collected = Some(result),
                Output::Closed(result) => ran.closed = Some(result),
                _ => {}
            }
        }
        if step != Step::Sync {
            self.held.retain(|token, _| !ran.answers.contains_key(token));
        }
        ran
    }
}

/// The outputs of one step.
#[derive(Default)]
struct Ran {
    answers: BTreeMap<u64, Result<Outcome, WriteError>>,
    synced: Option<Result<(), WriteError>>,
    collected: Option<Result<GcStep, WriteError>>,
    closed: Option<Result<(), WriteError>>,
}

/// Opens the engine on a disk, or makes one there.
///
/// # Errors
/// As for any engine.
pub fn engine(disk: &Disk) -> Result<RedbEngine, OpenError> {
    RedbEngine::open(disk.open(), 4 << 20).map_err(OpenError::Engine)
}

/// Opens the store in an engine, or makes one there. The ids of a new store are the same each time, and those of the
/// origins that a process opens differ from those before it.
///
/// # Errors
/// As for any store.
pub fn committer(engine: RedbEngine) -> Result<Committer<RedbEngine>, OpenError> {
    let mut drawn = engine.status().latest << 8;
    let random_id = move || {
        drawn += 1;
        let mut id = [7; 16];
        id[..8].copy_from_slice(&drawn.to_be_bytes());
        Ok::<_, RandomError>(id)
    };
    let creation = Creation { member: Some(MEMBER), is_joining: false };
    Committer::open(Arc::new(engine), creation, random_id)
}

/// As [`committer`], with the writer around it.
///
/// # Errors
/// As for any store.
pub fn take_up(engine: RedbEngine) -> Result<Store, OpenError> {
    committer(engine).map(Store::new)
}

/// Opens the store on a disk, or makes one there.
///
/// # Errors
/// As for any store.
pub fn open(disk: &Disk) -> Result<Store, OpenError> {
    take_up(engine(disk)?)
}

/// Commits one operation; its result.
///
/// # Errors
/// As for any write.
pub fn make(store: &mut Store, now_ms: u64, operation: Operation) -> Result<Outcome, WriteError> {
    store.make(now_ms, operation)
}

/// Puts a value, with the pieces that come before it.
///
/// # Errors
/// As for any write.
pub fn put(
    store: &mut Store,
    now_ms: u64,
    namespace: NamespaceId,
    key: &[u8],
    value: &[u8],
    attributes: Attributes,
) -> Result<Outcome, WriteError> {
    let mut upload = store.upload();
    for operation in upload.push(value)? {
        make(store, now_ms, operation)?;
    }
    let (last, body) = upload.finish();
    if let Some(operation) = last {
        make(store, now_ms, operation)?;
    }
    let key = Key::new(key)?;
    make(store, now_ms, Operation::Put { namespace, key, body, attributes })
}

/// Makes a namespace of this title.
///
/// # Errors
/// As for any write.
pub fn create(store: &mut Store, now_ms: u64, title: &str) -> Result<NamespaceId, WriteError> {
    let operation = Operation::CreateNamespace {
        account: Account::default(),
        title: Title::new(title)?,
        id: None,
    };
    match make(store, now_ms, operation)? {
        Outcome::Namespace(namespace) => Ok(namespace.id),
        other => panic!("a namespace was made, and {other:?} answered"),
    }
}

/// One step of garbage collection, with the stable timestamp of a store that is alone.
///
/// # Errors
/// As for any.
pub fn collect_garbage(store: &mut Store, now_ms: u64, rows: usize) -> Result<GcStep, WriteError> {
    let stable = Hlc(store.committer().clock().0.saturating_add(1));
    store.collect_garbage(
        now_ms,
        &GcLimits { rows, bodies: 2, stable, expired_ms: None, collects_expired: true },
    )
}
