//! The writer thread: takes what waits, commits it in one batch, syncs once, answers all.
//!
//! Group commit as in DeWitt et al., "Implementation Techniques for Main Memory Database Systems"
//! (1984): while one sync runs the next batch gathers, so the batch grows with the load.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::{
    commit::{Applied, Committer, GcLimits, Operation, Outcome},
    engine::{Engine, Mode},
    error::WriteError,
    options::{Durability, Options},
    places::Place,
    published::Published,
    replication::Replication,
    types::Change,
};

mod replicate;

/// Most operations in one commit. More no longer lowers the cost of each, and the first waits
/// longer.
const MAX_BATCH: usize = 512;

/// Most body bytes in one commit: what a commit of many chunks holds in memory.
const MAX_BATCH_BYTES: usize = 2 << 20;

/// How much one step of the sweep does between commits: a few milliseconds of work.
const GC_ROWS: usize = 500;
const GC_BODIES: usize = 64;

/// How long writers have the disk to themselves between two steps of a sweep with more to do.
const GC_PAUSE: Duration = Duration::from_millis(20);

/// How soon a sync is tried again that failed.
const SYNC_AGAIN: Duration = Duration::from_secs(1);

/// An operation and where its answer goes.
pub(crate) struct Request {
    pub(crate) operation: Operation,
    pub(crate) answer: oneshot::Sender<Result<Outcome, WriteError>>,
    /// Its place in the queue, free as soon as the writer takes the request.
    pub(crate) place: Place,
}

impl Request {
    /// Takes the request out of the queue.
    fn take(self: Box<Request>) -> (Operation, oneshot::Sender<Result<Outcome, WriteError>>) {
        let Request { operation, answer, place } = *self;
        drop(place);
        (operation, answer)
    }
}

/// What is sent to the writer thread.
pub(crate) enum Message<E: Engine> {
    Request(Box<Request>),
    /// There is work for who replicates the store.
    Work,
    /// From here on this one replicates the store, or nobody.
    Replicate(Option<Box<dyn Replication<E>>>, oneshot::Sender<Result<(), WriteError>>),
    /// A reader met a failure of the disk: see to it now.
    Recover,
    /// Make all durable, close the engine, answer, end.
    Close(oneshot::Sender<Result<(), WriteError>>),
}

type Answers = Vec<oneshot::Sender<Result<Outcome, WriteError>>>;

pub(crate) struct Writer<E: Engine> {
    committer: Committer<E>,
    published: Arc<Published<E::Snapshot>>,
    options: Options,
    /// The engine's role as it was last logged.
    mode: Mode,
    /// How often the engine had been opened anew when readers got their view.
    reopened: u64,
    /// When the last sweep step was begun.
    gc_at: Duration,
    gc_again: bool,
    /// When the oldest commit was made that is not synced yet.
    unsynced_since: Option<Duration>,
    /// Local writes that readers have no view of yet; kept only for who replicates.
    writes: Vec<Change>,
    replication: Option<Box<dyn Replication<E>>>,
    /// Messages to see to work are not sent while one is there.
    is_woken: Arc<AtomicBool>,
    work_again: bool,
    /// When what peers sent is to be synced.
    sync_by: Option<Duration>,
}

impl<E: Engine> Writer<E>
where
    E::Snapshot: Clone,
{
    pub(crate) fn new(
        committer: Committer<E>,
        published: Arc<Published<E::Snapshot>>,
        options: Options,
        is_woken: Arc<AtomicBool>,
    ) -> Writer<E> {
        let now = options.environment.monotonic();
        Writer {
            committer,
            published,
            options,
            mode: Mode::Writer,
            reopened: 0,
            gc_at: now,
            // What waited to be freed when the store was closed goes first.
            gc_again: true,
            unsynced_since: None,
            writes: Vec::new(),
            replication: None,
            is_woken,
            work_again: false,
            sync_by: None,
        }
    }

    /// Runs until it is told to close, or all who could send are gone.
    pub(crate) fn run(mut self, messages: &Receiver<Message<E>>) {
        loop {
            match messages.recv_timeout(self.patience()) {
                Ok(Message::Request(first)) => {
                    if let Some(close) = self.take_batch(first, messages) {
                        return self.close(close, messages);
                    }
                }
                Ok(Message::Close(answer)) => return self.close(answer, messages),
                Ok(Message::Recover) => self.recover(),
                Ok(Message::Replicate(replication, answer)) => self.replicate(replication, answer),
                Ok(Message::Work) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let (answer, _nobody) = oneshot::channel();
                    return self.close(answer, messages);
                }
            }
            self.between_commits();
        }
    }

    fn now(&self) -> Duration {
        self.options.environment.monotonic()
    }

    fn next_gc(&self) -> Duration {
        let every = self.options.gc_interval;
        self.gc_at + if self.gc_again { GC_PAUSE.min(every) } else { every }
    }

    /// How long the thread may wait for the next message.
    fn patience(&self) -> Duration {
        let now = self.now();
        if self.work_again {
            return Duration::ZERO;
        }
        let next = self.next_sync().map_or(self.next_gc(), |sync| sync.min(self.next_gc()));
        next.saturating_sub(now)
    }

    /// When a sync is due that no caller waits for.
    fn next_sync(&self) -> Option<Duration> {
        let relaxed = match self.options.durability {
            Durability::Relaxed { within } => self.unsynced_since.map(|since| since + within),
            Durability::Durable => None,
        };
        [relaxed, self.sync_by].into_iter().flatten().min()
    }

    /// Commits `first` and what waits behind it; answers a message to close if it meets one.
    fn take_batch(
        &mut self,
        first: Box<Request>,
        messages: &Receiver<Message<E>>,
    ) -> Option<oneshot::Sender<Result<(), WriteError>>> {
        let mut bytes = first.operation.body_bytes();
        let mut batch = vec![first];
        let mut close = None;
        while batch.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES {
            match messages.try_recv() {
                Ok(Message::Request(request)) => {
                    bytes += request.operation.body_bytes();
                    batch.push(request);
                }
                Ok(Message::Close(answer)) => {
                    close = Some(answer);
                    break;
                }
                Ok(Message::Recover) => self.recover(),
                Ok(Message::Replicate(replication, answer)) => self.replicate(replication, answer),
                Ok(Message::Work) => {}
                Err(_) => break,
            }
        }
        let (operations, answers): (Vec<_>, Answers) = batch.into_iter().map(Request::take).unzip();
        self.commit(operations, answers, bytes);
        close
    }

    fn commit(&mut self, operations: Vec<Operation>, answers: Answers, bytes: usize) {
        let count = operations.len();
        let start = self.now();
        let committed = self.committer.commit(self.options.environment.now_ms(), operations);
        let committed_at = self.now();
        if committed.results.iter().any(Result::is_ok) {
            self.unsynced_since.get_or_insert(committed_at);
        }
        if self.replication.is_some() {
            self.writes.extend(committed.writes);
        }
        let must_sync = committed.needs_sync && self.options.durability == Durability::Durable;
        let mut results = committed.results;
        let mut synced_in = None;
        if must_sync {
            if let Err(error) = self.sync() {
                // Refusals too: what an operation was refused for may be what is lost now.
                results.fill(Err(error));
            }
            synced_in = Some(self.now().saturating_sub(committed_at));
        } else if committed.needs_sync {
            self.publish();
        }
        if results.iter().any(Result::is_err) {
            self.after_failure();
        }
        let concurrent = results.iter().filter(|result| is_concurrent(result)).count();
        if concurrent > 0 {
            self.options.observer.overwrote_concurrent(concurrent);
        }
        answer_all(answers, results);
        let took = committed_at.saturating_sub(start);
        self.options.observer.committed(count, bytes, took, synced_in);
    }

    fn sync(&mut self) -> Result<(), WriteError> {
        self.unsynced_since = None;
        let was_due = self.sync_by.take();
        if let Err(error) = self.committer.sync() {
            // Who replicates waits for one that succeeds.
            self.sync_by = was_due.map(|_| self.now() + SYNC_AGAIN);
            return Err(error);
        }
        self.publish();
        self.published.set_durable();
        if let Some(replication) = &mut self.replication {
            replication.synced(&mut self.committer);
        }
        Ok(())
    }

    fn publish(&mut self) {
        let view = self.committer.view();
        self.published.set(view.clone());
        self.committer.published();
        if let Some(replication) = &mut self.replication {
            replication.published(&view, std::mem::take(&mut self.writes));
        }
    }

    /// What is due besides commits: what peers sent, a sync of it or of relaxed writes, a sweep, a try to
    /// recover.
    fn between_commits(&mut self) {
        self.work();
        let now = self.now();
        if self.next_sync().is_some_and(|due| now >= due) {
            let is_acknowledged = self.unsynced_since.is_some();
            if let Err(error) = self.sync() {
                if is_acknowledged && self.options.durability != Durability::Durable {
                    tracing::error!(%error, "acknowledged relaxed writes may be lost");
                } else {
                    tracing::warn!(%error, "what peers sent is not durable yet");
                }
                self.after_failure();
            }
        }
        if now >= self.next_gc() {
            self.gc_at = now;
            self.gc_again = false;
            self.recover();
            if self.committer.engine().status().mode == Mode::Writer {
                self.collect_garbage();
            }
        }
    }

    fn collect_garbage(&mut self) {
        let limits = GcLimits {
            rows: GC_ROWS,
            bodies: GC_BODIES,
            stable: self.stable(),
            max_skew_ms: u64::try_from(self.options.max_skew.as_millis()).unwrap_or(u64::MAX),
        };
        match self.committer.collect_garbage(self.options.environment.now_ms(), &limits) {
            Ok(swept) => {
                self.gc_again = swept.more;
                let rows = swept.rows();
                if rows > 0 {
                    if let Err(error) = self.sync() {
                        tracing::warn!(%error, "a sweep was not made durable");
                        self.after_failure();
                    }
                    self.options.observer.swept(rows);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the sweep failed");
                self.after_failure();
            }
        }
    }

    /// Gets the engine going again if the disk has failed.
    fn recover(&mut self) {
        if let Err(error) = self.committer.maintain() {
            tracing::debug!(%error, "the engine does not go on yet");
        }
        self.after_failure();
    }

    /// If the engine was opened anew, readers must leave the view that can't be read any more.
    fn after_failure(&mut self) {
        let reopened = self.committer.engine().status().reopened;
        if reopened != self.reopened {
            self.reopened = reopened;
            if self.options.durability != Durability::Durable && self.unsynced_since.is_some() {
                tracing::error!("acknowledged relaxed writes may be lost");
            }
            self.unsynced_since = None;
            self.writes.clear();
            if let Some(replication) = &mut self.replication {
                replication.rolled_back(&mut self.committer);
                self.sync_by = Some(self.now() + SYNC_AGAIN);
            }
            self.publish();
            if matches!(self.committer.engine().status().mode, Mode::Writer | Mode::Waiting(_)) {
                // What survived the failure survives a crash.
                self.published.set_durable();
            } else {
                self.sync_by = None;
            }
        }
        self.note_mode();
    }

    /// Says once, in the log, that the store takes no writes any more, or takes them again.
    fn note_mode(&mut self) {
        let mode = self.committer.engine().status().mode;
        if mode == self.mode {
            return;
        }
        match &mode {
            Mode::Writer => tracing::info!("the store takes writes again"),
            Mode::Waiting(why) => tracing::error!(why, "no writes for now; reads go on"),
            Mode::ReadOnly(why) => {
                tracing::error!(why, "no writes until the store is opened again; reads go on");
            }
            Mode::Closed(why) => tracing::error!(why, "neither reads nor writes"),
        }
        self.mode = mode;
    }

    fn close(
        mut self,
        answer: oneshot::Sender<Result<(), WriteError>>,
        messages: &Receiver<Message<E>>,
    ) {
        let synced = self.sync();
        self.replication = None;
        let closed = self.committer.engine().close();
        let closed = closed.map_err(|error| WriteError::Failed(error.to_string()));
        while let Ok(message) = messages.try_recv() {
            if let Message::Request(request) = message {
                let _nobody_waits = request.answer.send(Err(WriteError::Closed));
            }
        }
        let _nobody_waits = answer.send(synced.and(closed));
    }
}

fn is_concurrent(result: &Result<Outcome, WriteError>) -> bool {
    matches!(result, Ok(Outcome::Applied(Applied::Won { concurrent: true })))
}

/// A caller that no longer waits is no error: its write is made all the same.
fn answer_all(answers: Answers, results: Vec<Result<Outcome, WriteError>>) {
    for (answer, result) in answers.into_iter().zip(results) {
        let _nobody_waits = answer.send(result);
    }
}
