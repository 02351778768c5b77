//! The writer thread: takes what waits, commits it in one batch, syncs once, answers all.
//!
//! Group commit as in DeWitt et al., "Implementation Techniques for Main Memory Database Systems"
//! (1984): while one sync runs the next batch gathers, so the batch grows with the load.

use std::{sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::{
    Hlc,
    commit::{Committer, SweepLimits},
    engine::{Engine, Role},
    error::WriteError,
    mutant::{Mutant, is_broken},
    operation::{Applied, Operation, Outcome},
    options::{Durability, Options},
    store::Published,
};

/// Most operations in one commit. More no longer lowers the cost of each, and the first waits
/// longer.
const MAX_BATCH: usize = 512;

/// Most body bytes in one commit: what a commit of many chunks holds in memory.
const MAX_BATCH_BYTES: usize = 2 << 20;

/// How much one step of the sweep does between commits: a few milliseconds of work.
const SWEEP_ROWS: usize = 500;
const SWEEP_BODIES: usize = 64;

/// How long writers have the disk to themselves between two steps of a sweep with more to do.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// An operation and where its answer goes.
pub(crate) struct Request {
    pub(crate) operation: Operation,
    pub(crate) answer: oneshot::Sender<Result<Outcome, WriteError>>,
}

/// What is sent to the writer thread.
pub(crate) enum Message {
    Request(Box<Request>),
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
    role: Role,
    /// How often the engine had been opened anew when readers got their view.
    reopened: u64,
    /// When the last sweep step was begun.
    swept_at: Duration,
    sweep_again: bool,
    /// When the oldest commit was made that is not synced yet.
    unsynced_since: Option<Duration>,
}

impl<E: Engine> Writer<E>
where
    E::Snapshot: Clone,
{
    pub(crate) fn new(
        committer: Committer<E>,
        published: Arc<Published<E::Snapshot>>,
        options: Options,
    ) -> Writer<E> {
        let now = options.environment.monotonic();
        Writer {
            committer,
            published,
            options,
            role: Role::Writer,
            reopened: 0,
            swept_at: now,
            // What waited to be freed when the store was closed goes first.
            sweep_again: true,
            unsynced_since: None,
        }
    }

    /// Runs until it is told to close, or all who could send are gone.
    pub(crate) fn run(mut self, messages: &Receiver<Message>) {
        loop {
            match messages.recv_timeout(self.patience()) {
                Ok(Message::Request(first)) => {
                    if let Some(close) = self.take_batch(first, messages) {
                        return self.close(close, messages);
                    }
                }
                Ok(Message::Close(answer)) => return self.close(answer, messages),
                Ok(Message::Recover) => self.recover(),
                Err(RecvTimeoutError::Timeout) => {}
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

    fn next_sweep(&self) -> Duration {
        let every = self.options.sweep_every;
        self.swept_at + if self.sweep_again { SWEEP_PAUSE.min(every) } else { every }
    }

    /// How long the thread may wait for the next message.
    fn patience(&self) -> Duration {
        let now = self.now();
        let until_sweep = self.next_sweep().saturating_sub(now);
        match (self.options.durability, self.unsynced_since) {
            (Durability::Relaxed { within }, Some(since)) => {
                until_sweep.min((since + within).saturating_sub(now))
            }
            _ => until_sweep,
        }
    }

    /// Commits `first` and what waits behind it; answers a message to close if it meets one.
    fn take_batch(
        &mut self,
        first: Box<Request>,
        messages: &Receiver<Message>,
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
                Err(_) => break,
            }
        }
        let (operations, answers): (Vec<_>, Answers) =
            batch.into_iter().map(|request| (request.operation, request.answer)).unzip();
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
        let must_sync = committed.needs_sync && self.options.durability == Durability::Durable;
        let mut results = committed.results;
        let mut synced_in = None;
        let answers = if is_broken(Mutant::AckBeforeSync) {
            answer_all(answers, std::mem::take(&mut results));
            Answers::new()
        } else {
            answers
        };
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
        self.committer.sync()?;
        self.publish();
        self.published.set_durable();
        Ok(())
    }

    fn publish(&mut self) {
        self.published.set(self.committer.view());
        self.committer.published();
    }

    /// What is due besides commits: a sync of relaxed writes, a sweep, a try to recover.
    fn between_commits(&mut self) {
        let now = self.now();
        if let (Durability::Relaxed { within }, Some(since)) =
            (self.options.durability, self.unsynced_since)
            && now >= since + within
            && let Err(error) = self.sync()
        {
            tracing::error!(%error, "acknowledged relaxed writes may be lost");
            self.after_failure();
        }
        if now >= self.next_sweep() {
            self.swept_at = now;
            self.sweep_again = false;
            self.recover();
            if self.committer.engine().status().role == Role::Writer {
                self.sweep();
            }
        }
    }

    fn sweep(&mut self) {
        let limits = SweepLimits {
            rows: SWEEP_ROWS,
            bodies: SWEEP_BODIES,
            // Alone, the low-watermark of all replicas is this store's own promise: whatever it
            // writes next is later than all that it wrote.
            watermark: Hlc(self.committer.clock().0.saturating_add(1)),
            max_skew_ms: u64::try_from(self.options.max_skew.as_millis()).unwrap_or(u64::MAX),
        };
        match self.committer.sweep(self.options.environment.now_ms(), &limits) {
            Ok(swept) => {
                self.sweep_again = swept.more;
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
            self.publish();
        }
        self.note_role();
    }

    /// Says once, in the log, that the store takes no writes any more, or takes them again.
    fn note_role(&mut self) {
        let role = self.committer.engine().status().role;
        if role == self.role {
            return;
        }
        match &role {
            Role::Writer => tracing::info!("the store takes writes again"),
            Role::Waiting(why) => tracing::error!(why, "no writes for now; reads go on"),
            Role::ReadOnly(why) => {
                tracing::error!(why, "no writes until the store is opened again; reads go on");
            }
            Role::Closed(why) => tracing::error!(why, "neither reads nor writes"),
        }
        self.role = role;
    }

    fn close(
        mut self,
        answer: oneshot::Sender<Result<(), WriteError>>,
        messages: &Receiver<Message>,
    ) {
        let synced = self.sync();
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
