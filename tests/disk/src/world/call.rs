//! Calling the store, and holding what it answers against the model.

use std::sync::Arc;

use kv_core::{
    Mode, Outcome, WriteError,
    commit::Applied,
    commit::{GcLimits, GcStep},
    engine::{Engine, Status},
};

use super::{
    Request, World,
    tell::{Doing, brief, brief_result},
};
use crate::{
    events::Event,
    hold,
    model::{Op, Refusal, State, Write},
    violation::{Checked, Violation},
};

impl World {
    pub(super) fn status(&mut self) -> Status {
        self.committer().engine().status()
    }

    /// Commits operations as one batch; whether each was made. The answers are the model's.
    pub(super) fn commit(&mut self, requests: Vec<Request>) -> Checked<Vec<Option<Outcome>>> {
        let now_ms = self.clock_ms;
        let before = self.state();
        let mut next = (*before).clone();
        let mut operations = Vec::new();
        let mut expect = |request: Request| {
            let not_made = request.operation.map(|operation| operations.push(operation)).err();
            (request.op, request.doubtful, not_made)
        };
        let expected: Vec<_> = requests.into_iter().map(&mut expect).collect();
        let count = operations.len();
        self.report.operations += expected.len() as u64;
        let was_held = self.open().writer.is_holding();
        let committed = self.open().writer.commit(now_ms, operations)?;
        self.note_faults(Doing::Commit);
        if before.own.is_none() {
            // The ids are the store's choice. That it opens them, and with what rows, is the model's.
            next.fresh = self.committer().origins();
        }
        hold!(committed.results.len() == count, "not one answer for each operation");
        let mut results = committed.results.into_iter();
        let mut outcomes = Vec::new();
        let (mut staged, mut promised) = (false, false);
        for (op, doubtful, not_made) in &expected {
            let made = || results.next().expect("one answer for each operation");
            let result = not_made.clone().unwrap_or_else(made);
            self.trace(|| format!("  {} -> {}", brief(op), brief_result(&result)));
            let mut attempt = next.clone();
            match (result, attempt.apply(now_ms, op)) {
                (Ok(outcome), Ok(answer)) => {
                    hold!(
                        is_same(&outcome, &answer),
                        "{}: answered {outcome:?}, expected {answer:?}",
                        brief(op)
                    );
                    next = attempt;
                    staged |= outcome == Outcome::Staged;
                    promised |= not_made.is_none() && outcome != Outcome::Staged;
                    self.count_outcome(op, &outcome);
                    outcomes.push(Some(outcome));
                }
                (Err(error), answer) => {
                    self.check_refusal(op, &error, answer.err(), *doubtful)?;
                    outcomes.push(None);
                }
                (Ok(outcome), Err(refusal)) => {
                    let what = brief(op);
                    return Err(Violation::Wrong(format!(
                        "{what}: answered {outcome:?}, expected {refusal:?}"
                    )));
                }
            }
        }
        // A row that came and was dropped in one commit leaves its rows there all the same.
        let removed = Some(Outcome::Applied(Applied::Removed));
        let is_changed = staged || outcomes.contains(&removed) || !next.is_same(&before);
        let is_due = is_changed && promised;
        if is_changed {
            next.commit(now_ms);
        }
        hold!(
            committed.is_held == is_due || (committed.is_held && was_held),
            "answers are held: {}; changed: {is_changed}, promised: {promised}",
            committed.is_held
        );
        let writes = std::mem::take(&mut next.made);
        if before.own.is_none() && next.own.is_some() {
            self.count(Event::OriginsOpened);
        }
        self.landed(is_changed, next, writes)?;
        self.publish();
        Ok(outcomes)
    }

    /// A commit was made, or failed: the engine must report the same.
    fn landed(&mut self, is_changed: bool, next: State, writes: Vec<Write>) -> Checked {
        let status = self.status();
        let history = self.history.as_mut().expect("a store was opened");
        if is_changed {
            // A failure may have been met and recovered from before the commit, but not after it.
            let found = status.latest;
            hold!(
                self.is_dead() || found == self.now() + 1,
                "commit {} was made; the engine says {found}",
                self.now() + 1
            );
            let history = self.history.as_mut().expect("a store was opened");
            check_rising(history.state(), &next)?;
            history.push(next, writes);
            return Ok(());
        }
        if self.is_troubled {
            return self.resync();
        }
        hold!(
            status.latest == history.now(),
            "commit {} is the last; the engine says {}",
            history.now(),
            status.latest
        );
        Ok(())
    }

    fn now(&self) -> u64 {
        self.history.as_ref().expect("a store was opened").now()
    }

    /// An error must be the one that the model knows, or come from the disk.
    fn check_refusal(
        &mut self,
        op: &Op,
        error: &WriteError,
        refusal: Option<Refusal>,
        doubtful: bool,
    ) -> Checked {
        let known = match error {
            WriteError::UnknownNamespace(_) => Some(Refusal::Unknown),
            WriteError::Invalid(_) => Some(Refusal::Invalid),
            WriteError::Taken(_) => Some(Refusal::Taken),
            _ => None,
        };
        let Some(known) = known else {
            let is_stale_upload = doubtful && matches!(error, WriteError::Failed(_));
            hold!(self.is_troubled || is_stale_upload, "{}: no fault, and yet {error}", brief(op));
            if is_stale_upload && !self.is_troubled {
                self.count(Event::StagedRefused);
            }
            return Ok(());
        };
        hold!(
            refusal == Some(known),
            "{}: refused as {known:?}, expected {refusal:?}: {error}",
            brief(op)
        );
        self.count(match known {
            Refusal::Unknown => Event::NamespaceUnknown,
            Refusal::Invalid => Event::Invalid,
            Refusal::Taken => Event::NamespaceTaken,
        });
        Ok(())
    }

    /// Makes all durable, and gives readers the view.
    pub(super) fn sync(&mut self) -> Checked<bool> {
        let before = self.disk.counts();
        let now_ms = self.clock_ms;
        let result = self.open().writer.sync(now_ms)?;
        self.note_faults(Doing::Sync);
        self.trace(|| format!("sync -> {result:?}"));
        match result {
            Ok(()) => {
                let history = self.history.as_ref().expect("a store was opened");
                let is_write = history.now() > history.floor();
                if is_write {
                    let syncs = self.disk.counts().syncs;
                    hold!(syncs > before.syncs, "acknowledged without a sync");
                    hold!(
                        !self.disk.is_header_pending(),
                        "acknowledged before a sync that covers the header"
                    );
                }
                self.settle()?;
                self.publish();
                self.is_troubled &= !is_write || self.disk.is_full();
                Ok(true)
            }
            Err(error) => {
                hold!(self.is_troubled, "no fault, and yet the sync answers {error}");
                let floor = self.history.as_ref().expect("a store was opened").floor();
                self.resync()?;
                if matches!(error, WriteError::OutcomeUnknown(_)) {
                    self.count(Event::OutcomeUnknown);
                } else if !self.is_dead() {
                    hold!(
                        self.now() <= floor,
                        "nothing was written, it is said: {error}; and yet it is there"
                    );
                    self.history.as_mut().expect("a store was opened").nothing_came()?;
                }
                self.publish();
                Ok(false)
            }
        }
    }

    /// Notes that the commits so far are durable, so that peers may have their writes.
    pub(super) fn settle(&mut self) -> Checked {
        let history = self.history.as_mut().expect("a store was opened");
        let writes = history.settle();
        writes.iter().try_for_each(|write| self.log.note(write))
    }

    /// Readers have the view that the writer published last, if it published one since this was last called.
    pub(super) fn publish(&mut self) {
        let Some(view) = self.open().writer.take_published() else { return };
        if self.is_dead() {
            return;
        }
        let now = self.now();
        // Where nothing can be read, this is the view from before, and of no use.
        let is_readable = self.is_readable();
        let reopened = self.status().reopened;
        let open = self.open();
        open.published.set(view);
        open.published_commit = is_readable.then_some(now);
        open.published_reopened = reopened;
        self.note_faults(Doing::Read);
    }

    /// One step of garbage collection, in its own commit.
    pub(super) fn collect_garbage(&mut self, limits: &GcLimits) -> Checked<Option<GcStep>> {
        let now_ms = self.clock_ms;
        let before = self.state();
        let mut next = (*before).clone();
        self.report.operations += 1;
        let result = self.open().writer.collect_garbage(now_ms, limits)?;
        let expired_ms = self.open().writer.expired_ms();
        if before.own.is_none() {
            next.fresh = self.committer().origins();
        }
        let expected = next.collect_garbage(now_ms, &GcLimits { expired_ms, ..*limits });
        self.note_faults(Doing::Gc);
        self.trace(|| format!("gc {limits:?} -> {result:?}"));
        match result {
            Ok(step) => {
                let found = (step.expired, step.collected, step.purged, step.kept);
                let expected =
                    (expected.expired, expected.collected, expected.purged, expected.kept);
                hold!(found == expected, "collected {step:?}, expected {expected:?}");
                hold!(step.bodies <= limits.bodies, "too many bodies: {step:?}");
                hold!(step.chunks <= 64, "too many chunks: {step:?}");
                hold!(step.damaged == 0, "nothing is damaged: {step:?}");
                self.report.events.add(Event::ExpiredTombstoneMade, step.expired as u64);
                self.report.events.add(Event::Collected, step.collected as u64);
                self.report.events.add(Event::BodyFreed, step.bodies as u64);
                if step.chunks > 0 && step.bodies == 0 {
                    self.count(Event::BodyFreedInSteps);
                }
                self.report.events.add(Event::NamespaceKept, step.kept as u64);
                let purged = before.purge.len() - next.purge.len();
                self.report.events.add(Event::NamespacePurged, purged as u64);
                if next.rows.values().any(|row| row.is_tombstone()) {
                    self.count(Event::TombstoneKept);
                }
                let is_changed = step.bodies + step.chunks > 0 || !next.is_same(&before);
                if is_changed {
                    next.commit(now_ms);
                }
                let writes = std::mem::take(&mut next.made);
                self.landed(is_changed, next, writes)?;
                Ok(Some(step))
            }
            Err(error) => {
                hold!(self.is_troubled, "no fault, and yet the sweep answers {error}");
                self.resync()?;
                self.publish();
                Ok(None)
            }
        }
    }

    /// Reopens the engine after a failure, as the writer thread does.
    pub(super) fn maintain(&mut self) -> Checked {
        let now_ms = self.clock_ms;
        let result = self.open().writer.recover(now_ms)?;
        self.note_faults(Doing::Maintain);
        self.trace(|| format!("maintain -> {result:?}"));
        self.resync()?;
        self.publish();
        Ok(())
    }

    /// Continues after a failure with the writes that the store reports to have.
    pub(super) fn resync(&mut self) -> Checked {
        if self.is_dead() {
            return Ok(());
        }
        let status = self.status();
        self.trace(|| format!("  found {status:?}"));
        let history = self.history.as_mut().expect("a store was opened");
        history.found(status.latest)?;
        for upload in &mut self.uploads {
            upload.doubtful = true;
        }
        self.session = None;
        let reopened = self.open().reopened;
        if status.reopened != reopened {
            // A number that was given and lost must never be given again.
            hold!(self.committer().origins().is_none(), "a failure does not end the origins");
            self.open().reopened = status.reopened;
            self.end_origins();
        }
        if status.mode == Mode::Writer {
            // The rows that are there are durable now: the engine has reopened the file and synced it.
            if status.durable == status.latest {
                self.settle()?;
            }
        }
        Ok(())
    }

    /// The process has no origins any more, or none yet.
    pub(super) fn end_origins(&mut self) {
        self.history.as_mut().expect("a store was opened").end_origins();
    }

    /// Whether readers of the published view may be refused: a fault came, and they have no view
    /// from after it yet.
    pub(super) fn readers_may_fail(&mut self) -> bool {
        self.is_troubled || self.status().reopened != self.open().published_reopened
    }

    /// Whether the process or the machine is gone.
    pub(super) fn is_dead(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.life != self.disk.life())
    }

    /// The view of readers, and the state that it shows.
    pub(super) fn published(&mut self) -> Option<(Arc<super::Published>, Arc<State>)> {
        let open = self.open.as_ref()?;
        let state = self.history.as_ref()?.at(open.published_commit?)?;
        Some((Arc::clone(&open.published), Arc::clone(state)))
    }
}

/// No key goes back to an older version.
fn check_rising(before: &State, after: &State) -> Checked {
    for (name, row) in &after.rows {
        let Some(old) = before.rows.get(name) else { continue };
        hold!(row.version >= old.version, "{name:?} went back from {old:?} to {row:?}");
    }
    Ok(())
}

/// Whether two outcomes are the same; the words of a refusal do not matter.
fn is_same(found: &Outcome, expected: &Outcome) -> bool {
    match (found, expected) {
        (Outcome::Applied(Applied::Refused(_)), Outcome::Applied(Applied::Refused(_))) => true,
        _ => found == expected,
    }
}
