//! The writer under test, and the rules that its outputs must follow.

use std::{collections::BTreeMap, time::Duration};

use kv_core::{
    Change, ClusterClock, Hlc, Mode, Outcome, Replication, TurnOutcome, WriteError,
    commit::{Committer, GcLimits, GcStep},
    engine::{
        CommitNo, Engine,
        redb::{RedbEngine, RedbSnapshot},
    },
    view::View,
    writer::{Now, Output, Step, WriterConfig, WriterCore},
};

use crate::{
    hold,
    violation::{Checked, Violation},
};

/// The result of an operation.
pub(super) type OpResult = Result<Outcome, WriteError>;

/// The stable timestamp of the peers; commits nothing.
#[derive(Debug)]
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

/// A batch: its results, which the model needs at once, and whether they are held until the sync.
pub(super) struct Batch {
    pub(super) results: Vec<OpResult>,
    pub(super) is_held: bool,
}

/// Drives a writer step by step and checks what comes out of it.
pub(super) struct Writer {
    core: WriterCore<RedbEngine, u64, Stable>,
    /// The results that callers must get after the next sync, if it succeeds.
    held: BTreeMap<u64, (OpResult, CommitNo)>,
    last_token: u64,
    /// The last view that was published and not taken by the world.
    published: Option<View<RedbSnapshot>>,
}

impl Writer {
    /// Takes over a committer that was just opened.
    pub(super) fn new(committer: Committer<RedbEngine>) -> Writer {
        // The world has no running time of its own, so that an expiry counts at once.
        let config = WriterConfig { expiry_grace: Duration::ZERO, ..WriterConfig::default() };
        let mut core = WriterCore::new(committer, config, Duration::ZERO);
        // There is nothing to sync: it begins at once.
        core.replicate(Some(Stable(Hlc::ZERO)));
        core.run(Now::default(), Step::Sync);
        while core.poll_output().is_some() {}
        Writer { core, held: BTreeMap::new(), last_token: 0, published: None }
    }

    pub(super) fn committer(&mut self) -> &mut Committer<RedbEngine> {
        self.core.committer()
    }

    /// The view that readers got since the last call.
    pub(super) fn take_published(&mut self) -> Option<View<RedbSnapshot>> {
        self.published.take()
    }

    /// Whether answers wait for a sync.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Commits operations as one batch. Whether answers that come at once may do so the world decides, which
    /// knows what changed.
    pub(super) fn commit(
        &mut self,
        now_ms: u64,
        operations: Vec<kv_core::Operation>,
    ) -> Checked<Batch> {
        let first = self.last_token + 1;
        for operation in operations {
            self.last_token += 1;
            self.core.request(self.last_token, operation);
        }
        let outputs = self.run(now_ms, Step::Commit)?;
        let mut results = BTreeMap::new();
        for (token, result) in outputs.answers {
            let is_new = token >= first;
            hold!(
                is_new || result.is_err(),
                "operation {token} is acknowledged without a sync: {result:?}"
            );
            self.held.remove(&token);
            if is_new {
                results.insert(token, result);
            }
        }
        let is_held = results.is_empty() && first <= self.last_token;
        if is_held {
            let commit = self.committer().engine().status().latest;
            for (token, result) in self.core.held().iter().filter(|(token, _)| *token >= first) {
                results.insert(*token, result.clone());
                self.held.insert(*token, (result.clone(), commit));
            }
        }
        Ok(Batch { results: results.into_values().collect(), is_held })
    }

    /// Makes everything durable. Every caller gets its answer, and if the sync succeeds it is the one that was
    /// held.
    pub(super) fn sync(&mut self, now_ms: u64) -> Checked<Result<(), WriteError>> {
        let outputs = self.run(now_ms, Step::Sync)?;
        let result = outputs.synced.ok_or_else(|| wrong("a sync has no result"))?;
        let durable = self.committer().engine().status().durable;
        for (token, answer) in outputs.answers {
            let Some((held, commit)) = self.held.remove(&token) else {
                return Err(wrong(&format!("operation {token} is answered twice: {answer:?}")));
            };
            match &result {
                Ok(()) => {
                    hold!(answer == held, "operation {token}: held {held:?}, answered {answer:?}");
                    hold!(
                        commit <= durable,
                        "commit {commit} is acknowledged, and {durable} is durable"
                    );
                }
                Err(error) => hold!(
                    answer.is_err(),
                    "operation {token}: the sync failed, {error}; answered {answer:?}"
                ),
            }
        }
        hold!(self.held.is_empty(), "not every caller is answered: {:?}", self.held);
        hold!(result.is_err() || self.published.is_some(), "readers do not get what was synced");
        Ok(result)
    }

    /// The expiry that the last step of garbage collection took for passed.
    pub(super) fn expired_ms(&self) -> Option<u64> {
        self.core.expired_ms()
    }

    /// One step of garbage collection; the writer decides what has expired.
    pub(super) fn collect_garbage(
        &mut self,
        now_ms: u64,
        limits: &GcLimits,
    ) -> Checked<Result<GcStep, WriteError>> {
        let config = self.core.config();
        (config.gc_rows, config.gc_bodies) = (limits.rows, limits.bodies);
        let replicator = self.core.replicator_mut();
        replicator.ok_or_else(|| wrong("the replicator is gone"))?.0 = limits.stable;
        let outputs = self.run(now_ms, Step::CollectGarbage)?;
        self.take_failed(outputs.answers)?;
        let Some(result) = outputs.collected else {
            let mode = self.committer().engine().status().mode;
            hold!(mode != Mode::Writer, "garbage collection has no result");
            return Ok(Err(WriteError::ReadOnly(format!("{mode:?}"))));
        };
        Ok(result)
    }

    /// Reopens the engine after a failure, if it can be; the error if it cannot.
    pub(super) fn recover(&mut self, now_ms: u64) -> Checked<Result<(), String>> {
        let outputs = self.run(now_ms, Step::Recover)?;
        self.take_failed(outputs.answers)?;
        outputs.recovered.ok_or_else(|| wrong("recovering has no result"))
    }

    /// Closes the store in order, after its last sync.
    pub(super) fn close(&mut self, now_ms: u64) -> Checked<Result<(), WriteError>> {
        self.core.close();
        let synced = self.sync(now_ms)?;
        let outputs = self.run(now_ms, Step::Close)?;
        let closed = outputs.closed.ok_or_else(|| wrong("closing has no result"))?;
        hold!(synced.is_ok() || closed.is_err(), "the last sync failed, and closing did not");
        Ok(closed)
    }

    /// Answers that come without a sync are failures.
    fn take_failed(&mut self, answers: Vec<(u64, OpResult)>) -> Checked {
        for (token, answer) in answers {
            hold!(answer.is_err(), "operation {token} is acknowledged without a sync: {answer:?}");
            self.held.remove(&token);
        }
        Ok(())
    }

    fn run(&mut self, now_ms: u64, step: Step) -> Checked<Outputs> {
        let reopened = self.committer().engine().status().reopened;
        // Every commit closes the time up to its own.
        let closing_zero_ms = Some(i64::try_from(now_ms).unwrap_or(i64::MAX));
        let clock = ClusterClock { closing_zero_ms, is_confirmed: true, zero_ms: None };
        self.core.set_clock(clock);
        self.core.run(Now { mono: Duration::ZERO, wall_ms: now_ms }, step);
        let status = self.committer().engine().status();
        let mut outputs = Outputs::default();
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Publish { view, is_durable } => {
                    hold!(
                        !is_durable || status.durable == status.latest,
                        "a view is called durable: {status:?}"
                    );
                    hold!(
                        is_durable || status.reopened != reopened,
                        "{step:?}: readers get what is not durable"
                    );
                    self.published = Some(view);
                }
                Output::Answers(answers) => {
                    hold!(
                        step != Step::Sync || outputs.synced.is_none(),
                        "answers come before the result of the sync"
                    );
                    outputs.answers.extend(answers);
                }
                Output::Synced(result) => outputs.synced = Some(result),
                Output::Collected(result) => outputs.collected = Some(result),
                Output::Recovered(result) => {
                    outputs.recovered = Some(result.map_err(|error| error.to_string()));
                }
                Output::Closed(result) => outputs.closed = Some(result),
                Output::Committed { .. } | Output::Concurrent(_) | Output::Replicating(_) => {}
            }
        }
        Ok(outputs)
    }
}

/// The outputs of one step.
#[derive(Default)]
struct Outputs {
    answers: Vec<(u64, OpResult)>,
    synced: Option<Result<(), WriteError>>,
    collected: Option<Result<GcStep, WriteError>>,
    recovered: Option<Result<(), String>>,
    closed: Option<Result<(), WriteError>>,
}

fn wrong(what: &str) -> Violation {
    Violation::Wrong(what.to_owned())
}
