//! The store's thread: drives a [`WriterCore`] with messages of a bounded queue and the real time.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{
    core::WriterCore,
    step::{Now, Output, Step, WriterConfig},
};
use crate::{
    cluster_clock::ClusterClock,
    commit::{Committer, Operation, Outcome},
    engine::Engine,
    error::WriteError,
    options::Options,
    places::Place,
    published::Published,
    replication::Replication,
};

/// Where the answer to an operation goes.
type Answer = oneshot::Sender<Result<Outcome, WriteError>>;

/// The destination of the result of another call.
type Ended = oneshot::Sender<Result<(), WriteError>>;

/// An operation and where its answer goes.
pub(crate) struct Request {
    /// The operation.
    pub(crate) operation: Operation,
    /// Where its answer goes.
    pub(crate) answer: Answer,
    /// Its place in the queue, free as soon as the writer takes the request.
    pub(crate) place: Place,
}

/// A message to the writer thread.
pub(crate) enum Message<E: Engine> {
    /// An operation of a caller.
    Request(Box<Request>),
    /// The replicator has work: `is_woken` is set.
    Work,
    /// From here on this replicator replicates the store, or none does.
    Replicate(Option<Box<dyn Replication<E>>>, Ended),
    /// A reader met a failure of the disk.
    Recover,
    /// Make everything durable, close the engine, answer, end.
    Close(Ended),
}

/// A commit whose sync has not ended.
struct Committed {
    /// The operations of the commit.
    operations: usize,
    /// The bytes of its bodies.
    bytes: usize,
    /// How long it took.
    took: Duration,
}

/// What the writer thread shares with readers and callers.
pub(crate) struct SharedWithWriter<S> {
    /// The view that readers take.
    pub(crate) published: Arc<Published<S>>,
    /// Set by [`Store::wake`](crate::Store::wake), which sends no second message while it is.
    pub(crate) is_woken: Arc<AtomicBool>,
    /// The cluster's clock.
    pub(crate) clock: Arc<ArcSwap<ClusterClock>>,
}

/// The writer thread: it drives a core with the messages of a queue and the real time.
pub(crate) struct Writer<E: Engine> {
    /// The state machine.
    core: WriterCore<E, Answer>,
    /// What readers and callers share.
    shared: SharedWithWriter<E::Snapshot>,
    /// The settings, with the observer and the clock.
    options: Options,
    /// Calls of [`Store::replicate`](crate::Store::replicate) without an answer, the oldest first.
    replicating: VecDeque<Ended>,
    /// The caller that waits for the end, once closing was requested.
    closing: Option<Ended>,
    /// The last commit, to be observed together with its sync.
    committed: Option<Committed>,
}

impl<E: Engine> Writer<E>
where
    E::Snapshot: Clone,
{
    pub(crate) fn new(
        committer: Committer<E>,
        shared: SharedWithWriter<E::Snapshot>,
        options: Options,
    ) -> Writer<E> {
        let now = options.environment.monotonic();
        Writer {
            core: WriterCore::new(committer, WriterConfig::from(&options), now),
            shared,
            options,
            replicating: VecDeque::new(),
            closing: None,
            committed: None,
        }
    }

    /// Runs until the store is closed, or every sender is gone.
    pub(crate) fn run(mut self, messages: &Receiver<Message<E>>) {
        while !self.core.is_closed() {
            self.see_wake();
            let now = self.mono();
            if self.core.next_step(now) != Some(Step::Sync) {
                self.gather(messages);
            }
            match self.core.next_step(now) {
                Some(step) => self.run_step(step),
                None => {
                    // A message may be answered without a step, and its caller must not wait for the next one.
                    self.deliver(Duration::ZERO);
                    self.wait(now, messages);
                }
            }
        }
        while let Ok(message) = messages.try_recv() {
            self.take(message);
        }
        self.deliver(Duration::ZERO);
    }

    /// Notes that the replicator has work. Whatever it gets from here on sends another message.
    fn see_wake(&mut self) {
        if self.shared.is_woken.swap(false, Ordering::SeqCst) {
            self.core.wake();
        }
    }

    /// The monotonic clock.
    fn mono(&self) -> Duration {
        self.options.environment.monotonic()
    }

    /// Takes what waits, up to the bounds of a batch.
    fn gather(&mut self, messages: &Receiver<Message<E>>) {
        while self.core.has_room()
            && let Ok(message) = messages.try_recv()
        {
            self.take(message);
        }
    }

    /// Waits for the next message, until a step is due.
    fn wait(&mut self, now: Duration, messages: &Receiver<Message<E>>) {
        let due = self.core.poll_timeout().unwrap_or_default();
        match messages.recv_timeout(due.saturating_sub(now)) {
            Ok(message) => self.take(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.core.close(),
        }
    }

    /// Hands one message to the core.
    fn take(&mut self, message: Message<E>) {
        match message {
            Message::Request(request) => {
                let Request { operation, answer, place } = *request;
                drop(place);
                self.core.request(answer, operation);
            }
            // The flag may have been set since this thread last looked at it; no other message will come.
            Message::Work => self.see_wake(),
            Message::Replicate(replication, answer) => {
                self.replicating.push_back(answer);
                self.core.replicate(replication);
            }
            Message::Recover => self.core.recover(),
            Message::Close(answer) => {
                self.closing = Some(answer);
                self.core.close();
            }
        }
    }

    /// Runs a step and carries out its outputs.
    fn run_step(&mut self, step: Step) {
        let environment = &self.options.environment;
        self.core.set_clock(**self.shared.clock.load());
        let start = environment.monotonic();
        self.core.run(Now { mono: start, wall_ms: environment.now_ms() }, step);
        let took = self.mono().saturating_sub(start);
        self.core.took(took);
        self.deliver(took);
    }

    /// Delivers the outputs of a step, and how long it took.
    fn deliver(&mut self, took: Duration) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Publish { view, is_durable } => {
                    self.shared.published.set(view);
                    if is_durable {
                        self.shared.published.set_durable();
                    }
                }
                Output::Answers(answers) => {
                    for (answer, result) in answers {
                        // The write stands even if its caller no longer waits.
                        let _nobody_waits = answer.send(result);
                    }
                }
                Output::Committed { operations, bytes, awaits_sync } => {
                    let committed = Committed { operations, bytes, took };
                    if awaits_sync {
                        self.committed = Some(committed);
                    } else {
                        self.observe(&committed, None);
                    }
                }
                Output::Synced(_) => {
                    if let Some(committed) = self.committed.take() {
                        self.observe(&committed, Some(took));
                    }
                }
                Output::Concurrent(writes) => self.options.observer.overwrote_concurrent(writes),
                Output::Collected(Ok(step)) if !step.is_idle() => {
                    self.options.observer.collected(step.rows() - step.reindexed);
                    self.options.observer.reindexed(step.reindexed);
                }
                Output::Collected(_) | Output::Recovered(_) => {}
                Output::Replicating(result) => {
                    if let Some(answer) = self.replicating.pop_front() {
                        let _nobody_waits = answer.send(result);
                    }
                }
                Output::Closed(result) => {
                    if let Some(answer) = self.closing.take() {
                        let _nobody_waits = answer.send(result);
                    }
                }
            }
        }
    }

    /// Reports a commit to the observer.
    fn observe(&self, committed: &Committed, sync: Option<Duration>) {
        let Committed { operations, bytes, took } = *committed;
        self.options.observer.committed(operations, bytes, took, sync);
    }
}
