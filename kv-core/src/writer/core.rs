//! The state machine: what callers and the driver request, which step is due, and what a step leaves to do.

mod commit;
mod garbage;
mod recovery;

use std::time::Duration;

use super::{
    batch::Batch,
    clock::WriterClock,
    collector::Collector,
    health::Health,
    outputs::{Notice, Outputs, Queued},
    replicating::Replicating,
    step::{Answer, Now, Output, Step, WriterConfig},
    timer::{SyncTimer, Unsynced},
};
use crate::{
    cluster_clock::ClusterClock,
    commit::{Committer, Operation},
    engine::Engine,
    error::WriteError,
    replication::Replication,
    types::Change,
};

/// Time until a failed sync is tried again.
const SYNC_AGAIN: Duration = Duration::from_secs(1);

/// Time in which what peers sent is made durable, if no local write does it before: a sync for each of their
/// messages would cost more than everything else.
const SYNC_WITHIN: Duration = Duration::from_millis(30);

/// The writer of one store, without thread, channel and clock.
///
/// `T` is the driver's token for the caller of an operation; `R` is the replicator.
///
/// In durable mode it keeps two rules whatever the order in which a driver runs the steps: an answer that
/// acknowledges a write leaves after the sync that covers the write, and no published view shows a local write
/// before that sync.
pub struct WriterCore<E: Engine, T, R = Box<dyn Replication<E>>> {
    /// Makes commits, and owns the engine's state.
    committer: Committer<E>,
    /// The settings.
    config: WriterConfig,
    /// Whether the writer takes operations, closes, or is closed.
    phase: Phase,
    /// The operations of the next commit.
    batch: Batch<T>,
    /// Answers that wait for the next sync.
    held: Vec<Answer<T>>,
    /// Local writes that no published view shows; kept only for the replicator.
    writes: Vec<Change>,
    /// When a sync is due that no caller waits for.
    sync: SyncTimer,
    /// When the next step of garbage collection is due, and how much it does.
    gc: Collector,
    /// The time that steps go by.
    clock: WriterClock,
    /// Garbage collection has made a local write that is not synced: readers wait for it.
    has_kept: bool,
    /// The engine's mode, as the writer last saw it.
    health: Health,
    /// Whether a replicator takes part.
    replicating: Replicating<R>,
    /// Which side has the next turn.
    turn: Side,
    /// The outputs that the driver has not taken, in order.
    outputs: Outputs<E::Snapshot, T>,
}

/// How far closing is.
#[derive(Debug)]
enum Phase {
    /// It takes operations.
    Open,
    /// The operations that it has accepted must be committed and synced.
    Closing,
    /// The last sync ended so.
    Synced(Result<(), WriteError>),
    /// The engine is closed, and nothing more is due.
    Closed,
}

/// The side that goes first if callers and the replicator both wait: the one that did not go last.
#[derive(Debug)]
enum Side {
    /// The batch of callers.
    Callers,
    /// The work of the replicator.
    Replicator,
}

impl<E, T, R> WriterCore<E, T, R>
where
    E: Engine,
    E::Snapshot: Clone,
    R: Replication<E>,
{
    /// Takes over a committer that was just opened. Readers have its view.
    pub fn new(committer: Committer<E>, config: WriterConfig, now: Duration) -> Self {
        let written = committer.closed_timestamp().max(committer.clock());
        WriterCore {
            committer,
            phase: Phase::Open,
            batch: Batch::new(),
            held: Vec::new(),
            writes: Vec::new(),
            sync: SyncTimer::default(),
            gc: Collector::new(now, &config),
            clock: WriterClock::starting(now, written.millis()),
            has_kept: false,
            health: Health::new(),
            replicating: Replicating::Nobody,
            turn: Side::Callers,
            outputs: Outputs::new(),
            config,
        }
    }

    /// Adds an operation to the batch. After [`WriterCore::close`] it is refused.
    pub fn request(&mut self, token: T, operation: Operation) {
        match self.phase {
            Phase::Open => self.batch.push(token, operation),
            _ => self.answer(vec![(token, Err(WriteError::Closed))]),
        }
    }

    /// Whether the batch takes another operation. If not, the driver leaves operations in its queue.
    pub fn has_room(&self) -> bool {
        matches!(self.phase, Phase::Open) && self.batch.has_room()
    }

    /// The replicator has work.
    pub fn wake(&mut self) {
        self.replicating.set_work(true);
    }

    /// Replaces the replicator: the former one is dropped at once, the next begins with the next sync. Each
    /// call is answered by one [`Output::Replicating`], in their order.
    pub fn replicate(&mut self, next: Option<R>) {
        if self.replicating.take().is_handover() {
            let reason = "another replicator took the place before this one began";
            self.outputs.push(Output::Replicating(Err(WriteError::Failed(reason.into()))));
        }
        self.writes.clear();
        if !matches!(self.phase, Phase::Open) {
            self.outputs.push(Output::Replicating(Err(WriteError::Closed)));
        } else if next.is_some() || self.sync.waits_for(Unsynced::Replicated) {
            self.replicating = Replicating::Handover(next);
        } else {
            self.outputs.push(Output::Replicating(Ok(())));
        }
    }

    /// A reader met a failure of the disk: [`Step::Recover`] is due.
    pub fn recover(&mut self) {
        self.health.request_recovery();
    }

    /// Closes the store once everything accepted before is committed and synced.
    pub fn close(&mut self) {
        if matches!(self.phase, Phase::Open) {
            self.phase = Phase::Closing;
        }
    }

    /// Whether [`Output::Closed`] has come.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// The step that the store's thread runs now, if one is due.
    pub fn next_step(&self, now: Duration) -> Option<Step> {
        let step = self.next_without_readers(now);
        let goes_first = step.is_none() || !self.health.lets_others_go_first();
        if self.health.must_recover() && goes_first && !self.is_closed() {
            return Some(Step::Recover);
        }
        step
    }

    /// [`WriterCore::next_step`] as if no reader had met a failure.
    fn next_without_readers(&self, now: Duration) -> Option<Step> {
        match self.phase {
            Phase::Open => {}
            Phase::Closing if !self.batch.is_empty() => return Some(Step::Commit),
            Phase::Closing => return Some(Step::Sync),
            Phase::Synced(_) => return Some(Step::Close),
            Phase::Closed => return None,
        }
        if self.sync_due().is_some_and(|due| due <= now) {
            return Some(Step::Sync);
        }
        if let Some(step) = self.gc.next_step(now, self.has_commit_or_turn()) {
            return Some(step);
        }
        let has_commit = !self.batch.is_empty() || self.committer.has_met_damage();
        match (has_commit, self.replicating.has_work()) {
            (true, true) => Some(match self.turn {
                Side::Callers => Step::Commit,
                Side::Replicator => Step::Turn,
            }),
            (true, false) => Some(Step::Commit),
            (false, true) => Some(Step::Turn),
            (false, false) => None,
        }
    }

    /// When [`WriterCore::next_step`] has a step if nothing else happens; none once the store is closed.
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.phase {
            Phase::Closed => None,
            Phase::Closing | Phase::Synced(_) => Some(Duration::ZERO),
            Phase::Open if self.has_something_to_do() => Some(Duration::ZERO),
            Phase::Open => {
                let collects = self.gc.due();
                Some(self.sync_due().map_or(collects, |due| due.min(collects)))
            }
        }
    }

    /// Whether an operation or an answer waits.
    fn has_something_to_do(&self) -> bool {
        self.health.must_recover() || self.has_commit_or_turn()
    }

    /// Whether a commit or a turn of the replicator is due.
    fn has_commit_or_turn(&self) -> bool {
        !self.batch.is_empty() || self.replicating.has_work() || self.committer.has_met_damage()
    }

    /// When a sync is due: zero if a caller waits for it; none if no sync is needed.
    pub fn sync_due(&self) -> Option<Duration> {
        if !self.held.is_empty() || self.replicating.is_handover() {
            return Some(Duration::ZERO);
        }
        self.sync.due()
    }

    /// Runs a step. It may block on the engine.
    pub fn run(&mut self, now: Now, step: Step) {
        for notice in self.outputs.take_notices() {
            self.give_notice(notice);
        }
        self.health.note_step(step);
        let now = self.see_time(now);
        if matches!(step, Step::Commit | Step::Turn | Step::CollectGarbage) {
            self.record_damage(now);
        }
        match step {
            Step::Recover => self.recover_now(now),
            Step::Commit => self.commit(now),
            Step::Sync => self.sync(now),
            Step::Turn => self.take_turn(now),
            Step::CollectGarbage => self.collect_garbage(now),
            Step::Close => self.close_engine(),
        }
    }

    /// Tells how long the step that ran last took. Garbage collection goes by that; a driver that does not measure need
    /// not call it.
    pub fn took(&mut self, took: Duration) {
        self.gc.took(took);
    }

    /// Sets the clock that the next steps go by. Until the first call it is the own wall clock, not
    /// confirmed.
    pub fn set_clock(&mut self, clock: ClusterClock) {
        self.clock.set(clock);
    }

    /// Takes a reading of the clocks into account. Returns the time with cluster time in place of the own wall
    /// clock.
    fn see_time(&mut self, now: Now) -> Now {
        let max_skew_ms = u64::try_from(self.config.max_clock_skew.as_millis()).unwrap_or(u64::MAX);
        let (grace, max_skew) = (self.config.expiry_grace, self.config.max_clock_skew);
        let now = self.clock.read(now, grace, max_skew);
        self.committer.set_time_bounds(max_skew_ms, self.clock.closing_ms(now.mono));
        now
    }

    /// The next thing that the driver must do. It has done what the last call returned: the replicator gets
    /// its notices in between.
    pub fn poll_output(&mut self) -> Option<Output<E::Snapshot, T>> {
        loop {
            match self.outputs.pop()? {
                Queued::Output(output) => return Some(output),
                Queued::Notice(notice) => self.give_notice(notice),
            }
        }
    }

    fn give_notice(&mut self, notice: Notice<E::Snapshot>) {
        match notice {
            Notice::Published => self.committer.published(),
            Notice::Replicated { view, writes } => {
                if let Some(replicator) = self.replicating.active() {
                    replicator.published(&view, writes);
                }
            }
            Notice::Synced => {
                if let Some(replicator) = self.replicating.active() {
                    replicator.synced(&mut self.committer);
                }
            }
        }
    }

    /// Whether readers have met damage that is not recorded yet.
    pub fn has_met_damage(&self) -> bool {
        self.committer.has_met_damage()
    }

    /// The committer. A driver reads views from it and takes uploads; it must not commit or sync.
    pub fn committer(&mut self) -> &mut Committer<E> {
        &mut self.committer
    }

    /// The configuration. A change counts from the next step on.
    pub fn config(&mut self) -> &mut WriterConfig {
        &mut self.config
    }

    /// The latest expiry, in Unix milliseconds, that the last step's garbage collection could take for
    /// passed: on a confirmed clock, or for the expiry grace of this process; none before either.
    pub fn expired_ms(&self) -> Option<u64> {
        self.clock.expired_ms(self.config.expiry_grace)
    }

    /// The replicator, if one takes part.
    pub fn replicator(&self) -> Option<&R> {
        match &self.replicating {
            Replicating::Active { replicator, .. } => Some(replicator),
            Replicating::Nobody | Replicating::Handover(_) => None,
        }
    }

    /// The replicator, if one takes part, to give it work.
    pub fn replicator_mut(&mut self) -> Option<&mut R> {
        self.replicating.active()
    }

    /// Answers of commits that are not synced yet. A driver must not pass them on: the sync may fail.
    pub fn held(&self) -> &[Answer<T>] {
        &self.held
    }

    /// Local writes of commits that are not published yet, in the order of their numbers. Empty without a
    /// replicator.
    pub fn unpublished(&self) -> &[Change] {
        &self.writes
    }
}
