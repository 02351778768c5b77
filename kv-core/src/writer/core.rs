//! The state machine.

use std::{mem, time::Duration};

use super::{
    batch::Batch,
    grace::SeenClock,
    health::Health,
    outputs::{Notice, Outputs, Queued},
    pace::GcPace,
    replicating::Replicating,
    step::{Answer, Now, Output, Step, WriterConfig},
    timer::{GcTimer, SyncTimer, Unsynced},
    trust::{Evidence, TrustedClock},
};
use crate::{
    cluster_clock::ClusterClock,
    commit::{Applied, Committer, GcLimits, GcStep, Operation, Outcome},
    engine::{Engine, Mode},
    error::WriteError,
    options::Durability,
    replication::Replication,
    types::{Change, Hlc},
};

/// Time until a failed sync is tried again.
const SYNC_AGAIN: Duration = Duration::from_secs(1);

/// Time in which what peers sent is made durable, if no local write does it before: a sync for each of their
/// messages would cost more than everything else.
const SYNC_WITHIN: Duration = Duration::from_millis(30);

/// Most values that were freed too early and are reported at a time.
const MAX_FREED_EARLY: usize = 256;

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
    /// When the next step of garbage collection is due.
    gc: GcTimer,
    /// How much it does.
    pace: GcPace,
    /// The last step of garbage collection, until it is known how long it took.
    collected: Option<GcStep>,
    /// The cluster's clock, as replication last found it out.
    clock: ClusterClock,
    /// What the clock has shown to this process.
    seen: SeenClock,
    /// How far a confirmed clock is trusted.
    trusted: TrustedClock,
    /// Cluster time at the last step, in milliseconds since the Unix epoch, if it was confirmed, and as far as it is trusted.
    confirmed_ms: Option<u64>,
    /// When the closed timestamp of an idle store may rise again, and values that were freed too early are
    /// looked for.
    closing: Duration,
    /// Where the last look for such values ended.
    freed_early: Vec<u8>,
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
            gc: GcTimer::new(now, config.gc_interval),
            pace: GcPace::default(),
            collected: None,
            clock: ClusterClock::default(),
            seen: SeenClock::default(),
            trusted: TrustedClock::starting(now, written.millis()),
            confirmed_ms: None,
            closing: now + config.closing_interval,
            freed_early: Vec::new(),
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
        self.health.ask_to_recover();
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
        match self.gc {
            GcTimer::Ready => return Some(Step::CollectGarbage),
            timer if timer.yields() && self.has_commit_or_turn() => {}
            timer if timer.due(&self.pace) <= now => return Some(Step::Recover),
            GcTimer::More { .. } | GcTimer::Waiting(_) => {}
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
                let collects = self.gc.due(&self.pace);
                Some(self.sync_due().map_or(collects, |due| due.min(collects)))
            }
        }
    }

    /// Whether an operation or an answer waits.
    fn has_something_to_do(&self) -> bool {
        self.health.must_recover() || self.has_commit_or_turn()
    }

    fn has_commit_or_turn(&self) -> bool {
        !self.batch.is_empty() || self.replicating.has_work() || self.committer.has_met_damage()
    }

    /// When a sync is due; zero if somebody waits for it, none if nobody does.
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
        match self.collected.take() {
            Some(step) if step.bodies + step.chunks > 0 => self.pace.took_for_bodies(took),
            Some(step) => self.pace.took(took, step.rows()),
            None => {}
        }
    }

    /// Sets the clock that the next steps go by. Until the first call it is the own wall clock, which nobody
    /// confirms.
    pub fn set_clock(&mut self, clock: ClusterClock) {
        self.clock = clock;
    }

    /// Takes a reading of the clocks into account. Returns the time with cluster time in place of the own wall
    /// clock.
    fn see_time(&mut self, now: Now) -> Now {
        let clock = self.clock;
        let now = Now { mono: now.mono, wall_ms: clock.now_ms(now.mono, now.wall_ms) };
        self.seen.see(now, self.config.expiry_grace);
        let max_skew_ms = u64::try_from(self.config.max_clock_skew.as_millis()).unwrap_or(u64::MAX);
        let latest_ms = self.trusted.latest_ms(now, clock.is_confirmed, self.evidence());
        let upto = |ms: u64| latest_ms.map_or(ms, |latest| ms.min(latest));
        self.confirmed_ms =
            clock.is_confirmed.then(|| upto(now.wall_ms).saturating_sub(max_skew_ms));
        self.committer.set_time_bounds(max_skew_ms, clock.closing_ms(now.mono).map(upto));
        now
    }

    /// What this process knows of the time apart from its clock.
    fn evidence(&self) -> Evidence {
        let WriterConfig { expiry_grace: grace, max_clock_skew: max_skew, .. } = self.config;
        // A time that each reading of the grace had passed by the grace.
        let seen_ms = self
            .seen
            .expired_ms(grace)
            .map(|ms| ms.saturating_add(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX)));
        Evidence { seen_ms, grace, max_skew }
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
        self.confirmed_ms.max(self.seen.expired_ms(self.config.expiry_grace))
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

    /// Records the damage that readers have met. It is synced with the next commit, or soon.
    fn record_damage(&mut self, now: Now) {
        if self.committer.record_damage(now.wall_ms) {
            self.sync.expect(Unsynced::Collected, now.mono + SYNC_WITHIN);
            self.roll_back_if_reopened(now, true);
        }
    }

    /// Commits the batch. In durable mode the answers wait for the next sync.
    fn commit(&mut self, now: Now) {
        if self.batch.is_empty() {
            return;
        }
        self.turn = Side::Replicator;
        self.gc.worked();
        let Batch { operations, tokens, bytes } = self.batch.take();
        let count = operations.len();
        let committed = self.committer.commit(now.wall_ms, operations);
        let is_durable = self.config.durability == Durability::Durable;
        let must_sync = is_durable && committed.needs_sync;
        // The engine may have been reopened, whether the commit failed or not. What is not durable of this one
        // is published by its sync.
        let has_rolled_back = self.roll_back_if_reopened(now, !must_sync);
        if let Durability::Relaxed { within } = self.config.durability
            && committed.results.iter().any(Result::is_ok)
        {
            self.sync.expect(Unsynced::Acknowledged, now.mono + within);
        }
        if self.replicating.is_active() {
            self.writes.extend(committed.writes);
        }
        // If another commit waits for its sync, these answers may be due to what that one did.
        let awaits_sync = must_sync || !self.held.is_empty();
        let answers = tokens.into_iter().zip(committed.results);
        if awaits_sync {
            self.held.extend(answers);
        } else {
            if committed.needs_sync && !has_rolled_back {
                self.publish(false);
            }
            self.answer(answers.collect());
        }
        self.outputs.push(Output::Committed { operations: count, bytes, awaits_sync });
    }

    /// Closes what former processes of this location left open, and opens this one's origins for that. A
    /// replicated store does so in the first turn of its replicator, and whenever it learns of such origins.
    /// Returns whether something was committed, which needs a sync.
    fn settle_origins(&mut self, now: Now) -> bool {
        let Some(committed) = self.committer.settle_origins(now.wall_ms) else { return false };
        self.writes.extend(committed.writes);
        self.sync.expect(Unsynced::Replicated, now.mono);
        true
    }

    /// Syncs, publishes the new view, and releases the answers that waited.
    fn sync(&mut self, now: Now) {
        let expected = mem::take(&mut self.sync);
        let result = self.committer.sync();
        let mut answers = mem::take(&mut self.held);
        match &result {
            Ok(()) => {
                self.has_kept = false;
                self.publish(true);
                if self.replicating.is_active() {
                    self.outputs.notice(Notice::Synced);
                }
            }
            Err(error) => {
                // Refusals too: an operation may have been refused because of one that is lost now.
                answers.iter_mut().for_each(|(_, answer)| *answer = Err(error.clone()));
                self.sync_failed(now, &expected, error);
            }
        }
        self.answer(answers);
        self.finish_handover(&result);
        if matches!(self.phase, Phase::Closing) && self.batch.is_empty() {
            self.phase = Phase::Synced(result.clone());
        }
        self.outputs.push(Output::Synced(result));
    }

    /// Handles a failed sync: logs what may be lost, and rolls back if the engine was reopened.
    fn sync_failed(&mut self, now: Now, expected: &SyncTimer, error: &WriteError) {
        if expected.waits_for(Unsynced::Acknowledged) {
            tracing::error!(%error, "a sync failed: acknowledged relaxed writes may be lost");
        } else if expected.due().is_some() {
            tracing::warn!(%error, "a sync failed: replicated or collected rows are not durable yet");
        }
        if expected.waits_for(Unsynced::Replicated) && self.replicating.is_active() {
            // The replicator waits for a sync that succeeds.
            self.sync.expect(Unsynced::Replicated, now.mono + SYNC_AGAIN);
        }
        self.roll_back_if_reopened(now, true);
    }

    /// Ends a handover: the next replicator begins with a store that is durable, or not at all.
    fn finish_handover(&mut self, synced: &Result<(), WriteError>) {
        if !self.replicating.is_handover() {
            return;
        }
        if let (Replicating::Handover(Some(mut replicator)), Ok(())) =
            (self.replicating.take(), synced)
        {
            replicator.begin(&mut self.committer);
            self.replicating = Replicating::Active { replicator, has_work: true };
        }
        self.outputs.push(Output::Replicating(synced.clone()));
    }

    /// Gives readers the current view.
    fn publish(&mut self, is_durable: bool) {
        let view = self.committer.view();
        self.outputs.push(Output::Publish { view: view.clone(), is_durable });
        self.outputs.notice(Notice::Published);
        if self.replicating.is_active() {
            let writes = mem::take(&mut self.writes);
            self.outputs.notice(Notice::Replicated { view, writes });
        }
    }

    /// Releases answers to their callers.
    fn answer(&mut self, answers: Vec<Answer<T>>) {
        let concurrent = answers.iter().filter(|(_, result)| is_concurrent(result)).count();
        if concurrent > 0 {
            self.outputs.push(Output::Concurrent(concurrent));
        }
        if !answers.is_empty() {
            self.outputs.push(Output::Answers(answers));
        }
    }

    /// Gives the replicator one turn.
    fn take_turn(&mut self, now: Now) {
        self.turn = Side::Callers;
        let Some(replicator) = self.replicating.active() else { return };
        let done = replicator.work(&mut self.committer, now.wall_ms);
        self.replicating.set_work(done.more);
        if done.committed {
            self.sync.expect(Unsynced::Replicated, now.mono + SYNC_WITHIN);
        }
        // Work may have reported origins of former processes. If it failed, the store is rolled back before this
        // process writes again: the view of before must not show what is not synced.
        let mut has_rolled_back = self.roll_back_if_reopened(now, true);
        if !has_rolled_back && self.settle_origins(now) {
            self.replicating.set_work(true);
        }
        has_rolled_back |= self.roll_back_if_reopened(now, true);
        let has_unsynced_writes = self.has_kept || !self.held.is_empty() || !self.writes.is_empty();
        if !has_rolled_back && done.committed && !has_unsynced_writes {
            // While answers wait, a view of now would show local writes that are not durable.
            self.publish(false);
        }
        if done.concurrent > 0 {
            self.outputs.push(Output::Concurrent(done.concurrent));
        }
        self.gc.worked();
    }

    /// Does one bounded step of garbage collection.
    fn collect_garbage(&mut self, now: Now) {
        if self.committer.engine().status().mode != Mode::Writer {
            return self.gc.collected(now.mono, self.config.gc_interval, false);
        }
        self.close_time(now);
        let limits = GcLimits {
            rows: self.pace.rows(self.config.gc_rows),
            bodies: self.config.gc_bodies,
            stable: self.stable(),
            expired_ms: self.expired_ms(),
            collects_expired: self.confirmed_ms.is_some() || !self.is_in_cluster(),
        };
        let before = self.committer.engine().status().latest;
        let result = self.committer.collect_garbage(now.wall_ms, &limits);
        let is_committed = self.committer.engine().status().latest != before;
        let has_more = result.as_ref().is_ok_and(|step| step.more);
        self.gc.collected(now.mono, self.config.gc_interval, has_more);
        self.collected = result.as_ref().ok().copied();
        let kept = self.committer.take_kept();
        self.has_kept |= !kept.is_empty();
        if self.replicating.is_active() {
            self.writes.extend(kept);
        }
        match &result {
            // A step that found nothing may end a walk, and every commit raises the closed timestamp.
            Ok(_) if is_committed => {
                // The next commit's sync covers it, if there is one soon.
                self.sync.expect(Unsynced::Collected, now.mono + SYNC_WITHIN);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "garbage collection failed"),
        }
        self.roll_back_if_reopened(now, true);
        self.outputs.push(Output::Collected(result));
    }

    /// Raises the closed timestamp of an idle store, now and then, if tombstones wait for it.
    fn close_time(&mut self, now: Now) {
        if !self.replicating.is_active() || now.mono < self.closing {
            return;
        }
        self.closing = now.mono + self.config.closing_interval;
        match self.committer.close_time() {
            Ok(true) => self.sync.expect(Unsynced::Collected, now.mono),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the closed timestamp could not be raised"),
        }
        self.report_freed_early(now);
    }

    /// Tells the replicator, on a confirmed clock, which values a wrong clock has freed too early.
    fn report_freed_early(&mut self, now: Now) {
        let Some(replicator) = self.replicating.active().filter(|_| self.clock.is_confirmed) else {
            return;
        };
        match self.committer.freed_early(now.wall_ms, &mut self.freed_early, MAX_FREED_EARLY) {
            Ok(keys) if keys.is_empty() => {}
            Ok(keys) => {
                replicator.freed_early(keys);
                // It acts on the keys after a sync, which an idle store has no other reason for.
                self.sync.expect(Unsynced::Collected, now.mono);
            }
            Err(error) => tracing::warn!(%error, "the expired tombstones could not be read"),
        }
    }

    /// Whether peers may have what is here.
    fn is_in_cluster(&mut self) -> bool {
        self.replicating.is_active()
            || self.config.is_replicated
            || self.committer.view().members().iter().count() > 0
    }

    /// The time below which tombstones may be collected.
    fn stable(&mut self) -> Hlc {
        if let Some(replicator) = self.replicating.active() {
            return replicator.stable();
        }
        if self.is_in_cluster() {
            return Hlc::ZERO;
        }
        // Nobody else has a row that a tombstone could still have to beat, whatever its time.
        Hlc(u64::MAX)
    }

    /// Reopens the engine, and publishes what it still has.
    fn recover_now(&mut self, now: Now) {
        self.health.recovered();
        self.gc.recovered(now.mono, &self.pace);
        let result = self.committer.maintain();
        if let Err(error) = &result {
            tracing::debug!(%error, "the engine cannot resume yet");
        }
        self.roll_back_if_reopened(now, true);
        self.outputs.push(Output::Recovered(result));
    }

    /// Rolls back if the engine was reopened: callers whose commits were not synced, the replicator, and, if
    /// `must_publish`, readers, whose view cannot be read any more. Returns whether it was.
    fn roll_back_if_reopened(&mut self, now: Now, must_publish: bool) -> bool {
        let status = self.committer.engine().status();
        self.health.note_mode(&status.mode);
        if !self.health.has_reopened(&status) {
            return false;
        }
        if self.sync.waits_for(Unsynced::Acknowledged) {
            tracing::error!("the disk failed: acknowledged relaxed writes may be lost");
        }
        self.sync = SyncTimer::default();
        self.has_kept = false;
        self.writes.clear();
        self.replicating.set_work(true);
        if let Some(replicator) = self.replicating.active() {
            replicator.rolled_back(&mut self.committer);
            let again = status.mode.may_write().then_some(now.mono + SYNC_AGAIN);
            self.sync.set(Unsynced::Replicated, again);
        }
        if must_publish {
            self.publish(status.is_durable());
        }
        let mut lost = mem::take(&mut self.held);
        for (_, answer) in &mut lost {
            let reason = "the disk failed before the sync that covers the write";
            *answer = Err(WriteError::OutcomeUnknown(reason.into()));
        }
        self.answer(lost);
        true
    }

    /// Closes the engine.
    fn close_engine(&mut self) {
        let Phase::Synced(synced) = &self.phase else { return };
        let synced = synced.clone();
        self.phase = Phase::Closed;
        self.replicating = Replicating::Nobody;
        let closed = self.committer.engine().close();
        let closed = closed.map_err(|error| WriteError::Failed(error.to_string()));
        self.outputs.push(Output::Closed(synced.and(closed)));
    }
}

/// Whether a write replaced one that it did not know of.
fn is_concurrent(result: &Result<Outcome, WriteError>) -> bool {
    matches!(result, Ok(Outcome::Applied(Applied::Won { concurrent: true })))
}
