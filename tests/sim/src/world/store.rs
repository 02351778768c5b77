//! One location: its store's steps, its crashes and starts.

use kv_core::{
    Dot, Mode, NamespaceId, Outcome, VersionVector,
    engine::{Engine, redb::RedbEngine},
    writer::{Answer, Output, Step},
};
use kv_replicate::{Batch, Event as CoreEvent, How, Row, Work, inspect::Ask};
use waypost_disk_tests::{
    hold,
    violation::{Checked, Violation},
};

use super::{Happening, World, healing::MARGIN_MS};
use crate::{
    events::Event,
    store::{self, StoreOutput, time},
};

/// Most milliseconds that a disk takes for a sync.
const SYNC_MS: u64 = 8;

impl World {
    /// Does a core's work: at once, or after a while, in its order.
    pub(super) fn work(&mut self, node: usize) -> Checked {
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        while let Some(work) = running.core.poll_work() {
            running.queue.push_back(work);
        }
        if self.plan.store_ms > 0 {
            self.work_later(node);
            return Ok(());
        }
        while self.perform_next(node)? {
            let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
            while let Some(work) = running.core.poll_work() {
                running.queue.push_back(work);
            }
        }
        self.sync_later(node);
        Ok(())
    }

    fn work_later(&mut self, node: usize) {
        let after = self.rng.below(self.plan.store_ms + 1);
        let Some(running) = &mut self.nodes[node].running else { return };
        if !running.queue.is_empty() && !running.is_working {
            running.is_working = true;
            self.after(after, Happening::Work(node));
        }
    }

    /// The store has done the next of its work, and possibly more.
    pub(super) fn work_done(&mut self, node: usize) -> Checked {
        let some = self.rng.between(1, 4);
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        running.is_working = false;
        for _ in 0..some {
            if !self.perform_next(node)? {
                break;
            }
        }
        self.sync_later(node);
        self.pump(node)
    }

    /// Does the next work of a store; false if there is none, or the location is down.
    fn perform_next(&mut self, node: usize) -> Checked<bool> {
        let now = self.nodes[node].now(self.now);
        if self.nodes[node].is_busy {
            return Ok(false);
        }
        let Some(running) = &mut self.nodes[node].running else { return Ok(false) };
        let Some(work) = running.queue.pop_front() else { return Ok(false) };
        let mut skipped = 0;
        if let Work::Apply { id, rows, .. } = &work {
            if rows.iter().any(|row| row.fetch.is_some()) {
                running.large.insert(*id);
            }
            skipped = rows.iter().filter(|row| row.how == How::Skip).count();
        }
        if matches!(&work, Work::Inspect { ask: Ask::Rows(_), .. }) {
            self.verifying.looks += 1;
        }
        let mut answer = None;
        if work.is_read() {
            answer = store::replicator(&mut running.store).read(work);
        } else {
            store::replicator(&mut running.store).push(work);
            running.store.wake();
            running.follow_clock();
            running.store.run(time(now), Step::Turn);
        }
        (0..skipped).for_each(|_| self.count(Event::LiveSkipped));
        if let Some(CoreEvent::Read { result: Ok(batch), .. }) = &answer {
            self.note_served(node, batch);
        }
        if self.after_step(node)? {
            return Ok(false);
        }
        if let Some(event) = answer {
            self.take_event(node, event)?;
        }
        Ok(true)
    }

    /// Counts what is rare about a batch that is served.
    fn note_served(&mut self, node: usize, batch: &Batch) {
        let Some(running) = &mut self.nodes[node].running else { return };
        let newest = store::replicator(&mut running.store).durable();
        let is_old = newest.is_some_and(|newest| newest.commit() != batch.commit);
        let is_uncounted = |row: &Row| !batch.vector.covers(row.dot);
        let is_full = batch.next.is_some() && !batch.rows.is_empty();
        if is_old {
            self.count(Event::ReadFromPin);
        }
        if is_full && batch.rows.iter().all(is_uncounted) {
            self.count(Event::ServedUncounted);
        }
    }

    fn count_applied(&mut self, results: &[kv_core::commit::Applied], takes_body: bool) {
        use kv_core::commit::Applied;
        for applied in results {
            match applied {
                Applied::Won { concurrent: true } => self.count(Event::Concurrent),
                Applied::Lost => self.count(Event::Lost),
                Applied::Dropped => self.count(Event::DeadArrived),
                _ => {}
            }
        }
        if takes_body {
            self.count(Event::LargeTaken);
        }
    }

    /// Runs a step of a store and does what follows from it; true if the location is down then.
    pub(super) fn run_step(&mut self, node: usize, step: Step) -> Checked<bool> {
        let now = self.nodes[node].now(self.now);
        let Some(running) = &mut self.nodes[node].running else { return Ok(true) };
        running.follow_clock();
        running.store.run(time(now), step);
        self.after_step(node)
    }

    /// Checks whether the last step of a store met the end of its disk, and takes what came out of it; true if
    /// the location is down now.
    pub(super) fn after_step(&mut self, node: usize) -> Checked<bool> {
        let life = self.nodes[node].disk.life();
        let Some(running) = &mut self.nodes[node].running else { return Ok(true) };
        let mode = running.store.committer().engine().status().mode;
        if running.life != life || matches!(mode, Mode::ReadOnly(_) | Mode::Closed(_)) {
            self.crash(node)?;
            return Ok(true);
        }
        while let Some(output) =
            self.nodes[node].running.as_mut().and_then(|running| running.store.poll_output())
        {
            self.take_output(node, output)?;
        }
        while let Some(event) = self.nodes[node]
            .running
            .as_mut()
            .and_then(|running| store::replicator(&mut running.store).poll_event())
        {
            self.take_event(node, event)?;
        }
        Ok(false)
    }

    fn take_output(&mut self, node: usize, output: StoreOutput<RedbEngine>) -> Checked {
        match output {
            Output::Publish { view, is_durable } => {
                self.check_published(node, view.vector(), is_durable)?;
            }
            Output::Answers(answers) => self.check_answers(node, &answers)?,
            Output::Synced(Ok(())) => {
                let ahead_ms = self.true_ms() + 60_000;
                for row in std::mem::take(&mut self.nodes[node].open) {
                    if row.hlc.millis() > ahead_ms {
                        self.count(Event::WrittenAhead);
                    }
                    self.note(node, &row)?;
                }
            }
            Output::Synced(Err(error)) => self.trace(|| format!("{node}: sync: {error}")),
            Output::Collected(Ok(step)) => {
                (0..step.collected).for_each(|_| self.count(Event::Collected));
                (0..step.expired).for_each(|_| self.count(Event::Expired));
                (0..step.reindexed).for_each(|_| self.count(Event::IndexRepaired));
                if self.nodes[node].is_wrong {
                    self.count(Event::CollectedWrong);
                }
                (0..step.kept).for_each(|_| self.count(Event::NamespaceKept));
            }
            Output::Recovered(Err(error)) => self.unrecovered = Some(error.to_string()),
            Output::Committed { .. }
            | Output::Concurrent(_)
            | Output::Collected(Err(_))
            | Output::Recovered(Ok(()))
            | Output::Replicating(_)
            | Output::Closed(_) => {}
        }
        Ok(())
    }

    /// No view shows a local write that a crash may take, except while the disk fails: readers get what the
    /// engine can still read, which may be a commit with an unknown outcome.
    fn check_published(&mut self, node: usize, shown: &VersionVector, is_durable: bool) -> Checked {
        let own = self.nodes[node].origins();
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        let status = running.store.committer().engine().status();
        let is_failing = status.mode != Mode::Writer;
        running.shown.clone_from(shown);
        // A rebuild may count less of the origins of a superseded process.
        let is_superseded = running.store.committer().view().is_superseded();
        let durable = &store::state(&running.store).durable;
        for origin in own.filter(|_| !is_superseded).into_iter().flatten() {
            hold!(
                is_durable || is_failing || shown.get(origin) == durable.get(origin),
                "{node}: readers see a local write before its sync"
            );
        }
        hold!(
            !is_durable || status.durable == status.latest,
            "{node}: a view is called durable before the sync: {status:?}"
        );
        Ok(())
    }

    /// Checks that no answer that acknowledges a write comes before the sync that covers it.
    fn check_answers(&mut self, node: usize, answers: &[Answer<u64>]) -> Checked {
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        let durable = running.store.committer().engine().status().durable;
        for (token, result) in answers {
            let commit = running.unanswered.remove(token);
            let is_promise = !matches!(result, Err(_) | Ok(Outcome::Staged));
            hold!(
                !is_promise || commit.is_some_and(|commit| commit <= durable),
                "{node}: commit {commit:?} is acknowledged, and {durable} is durable"
            );
        }
        Ok(())
    }

    /// Gives a core an event of its store.
    fn take_event(&mut self, node: usize, event: CoreEvent) -> Checked {
        let now = self.nodes[node].now(self.now);
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        let status = running.store.committer().engine().status();
        match &event {
            CoreEvent::Synced(state) | CoreEvent::RolledBack(state) => {
                running.members = std::sync::Arc::clone(&state.members);
                let durable = state.durable.clone();
                let was_superseded =
                    std::mem::replace(&mut running.is_superseded, state.superseded);
                if state.superseded && !was_superseded {
                    self.report.events.count(Event::Superseded);
                }
                self.holds(node, durable);
            }
            CoreEvent::Wrote(rows) => {
                store::replicator(&mut running.store).room().release(rows);
                // The rows of the process's origins are not those of a client.
                for row in rows.iter().filter(|row| row.namespace == NamespaceId::SYSTEM) {
                    self.note(node, row)?;
                }
            }
            CoreEvent::Applied { id, results, visible } => {
                hold!(
                    running.shown.covers_all(visible),
                    "{node}: the core gets the answer of a commit that readers do not see"
                );
                let takes_body = running.large.remove(id);
                self.count_applied(results.as_deref().unwrap_or_default(), takes_body);
            }
            _ => {}
        }
        if matches!(event, CoreEvent::RolledBack(_)) {
            self.trace(|| format!("{node}: rolled back, {status:?}"));
            // Writes that were not acknowledged are gone, unless the engine does not know yet.
            if status.is_durable() {
                self.settle(node)?;
            }
        }
        if let Some(running) = &mut self.nodes[node].running {
            running.core.handle_event(now, event);
        }
        Ok(())
    }

    /// A sync runs when it is due, and takes a while.
    pub(super) fn sync_later(&mut self, node: usize) {
        let takes = self.rng.below(SYNC_MS + 1);
        let Some(running) = &mut self.nodes[node].running else { return };
        let Some(due) = running.store.sync_due() else { return };
        let due = u64::try_from(due.as_millis()).unwrap_or(u64::MAX);
        let at = due.max(self.now) + takes;
        if running.sync_at.is_none_or(|set| set > at) {
            running.sync_at = Some(at);
            let after = at - self.now;
            self.after(after, Happening::Sync(node));
        }
    }

    /// The disk has done a sync that was due.
    pub(super) fn sync_done(&mut self, node: usize) -> Checked {
        if self.nodes[node].is_stuck {
            self.after(20, Happening::Sync(node));
            return Ok(());
        }
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        if running.sync_at.is_none_or(|at| at > self.now) {
            // One before it did that, or it was set for another start.
            return Ok(());
        }
        running.sync_at = None;
        if running.store.sync_due().is_some() { self.sync(node) } else { Ok(()) }
    }

    /// Syncs a store now, unless its disk is stuck.
    pub(super) fn sync(&mut self, node: usize) -> Checked {
        if self.nodes[node].is_stuck {
            self.after(20, Happening::Sync(node));
            return Ok(());
        }
        if self.run_step(node, Step::Sync)? {
            return Ok(());
        }
        self.pump(node)?;
        self.sync_later(node);
        let status =
            self.nodes[node].running.as_mut().map(|it| it.store.committer().engine().status());
        let is_synced = status.is_some_and(|status| status.durable == status.latest);
        // It reads every key; what is wrong stays wrong for a while. A replay checks no more often: a check
        // also finds damage.
        if is_synced && self.rng.chance(15) { self.check(node) } else { Ok(()) }
    }

    /// Holds what a location has against what is true. Only right after a sync: what is not durable
    /// may go back.
    pub(super) fn check(&mut self, node: usize) -> Checked {
        // A location that believes a lie counts writes that it lacks. In the end it must have them.
        if self.mangled > 0 || self.has_liar {
            return Ok(());
        }
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        let view = running.store.committer().view();
        let now_ms = self.true_ms() + MARGIN_MS;
        let known = self.nodes[node].salvaged.clone();
        // It may have rows that were deleted elsewhere, until it is whole.
        let checked = if view.is_rebuilding() {
            Ok(())
        } else {
            let (floor, salvaged) = (&mut self.nodes[node].floor, &known);
            self.model.check_location(&view, (floor, salvaged), now_ms)
        };
        self.read_all(node);
        self.note_damage(node);
        checked
            .map_err(|wrong| Violation::Wrong(format!("at {}, location {node}: {wrong}", self.now)))
    }

    /// The writer sees to its engine and collects garbage, below the core's stable timestamp.
    pub(super) fn collect_garbage(&mut self, node: usize) -> Checked {
        self.after(500, Happening::Gc(node));
        if self.run_step(node, Step::Recover)? {
            return Ok(());
        }
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        let stable = running.core.stable();
        store::replicator(&mut running.store).set_stable(&running.members, stable);
        let before = running.store.unpublished().len();
        if self.run_step(node, Step::CollectGarbage)? {
            return Ok(());
        }
        if let Some(running) = &mut self.nodes[node].running {
            let kept = store::unpublished(&mut running.store, before);
            self.nodes[node].open.extend(kept);
        }
        self.forget_alone(node);
        self.sync_later(node);
        Ok(())
    }

    /// Notes what a location without others has forgotten.
    fn forget_alone(&mut self, node: usize) {
        let now_ms = self.true_ms() + MARGIN_MS;
        let Some(running) = &mut self.nodes[node].running else { return };
        let view = running.store.committer().view();
        if view.members().current().all(|member| member.id == view.member()) {
            self.model.forget_alone(&view, &mut self.nodes[node].floor, now_ms);
        }
    }

    /// A location goes down at once.
    pub(super) fn crash(&mut self, node: usize) -> Checked {
        let down = self.rng.between(50, 5_000);
        if self.nodes[node].running.take().is_none() {
            return Ok(());
        }
        self.trace(|| format!("{node}: down for {down} ms"));
        self.nodes[node].disk.kill();
        self.after(down, Happening::Start(node));
        // A copy that still runs dials the others.
        let twins = self.twins(node).into_iter().filter(|twin| *twin != node);
        for twin in twins.collect::<Vec<_>>() {
            for other in self.others(twin) {
                let after = self.rng.between(500, 5_000);
                self.dial_later(twin, other, after);
            }
        }
        for other in self.running() {
            // Some notice at once, others when it is there again.
            if self.rng.chance(50) {
                self.miss(other, node)?;
            }
        }
        Ok(())
    }

    pub(super) fn start(&mut self, node: usize) -> Checked {
        if self.nodes[node].running.is_some() || self.nodes[node].is_gone {
            return Ok(());
        }
        let started = self.nodes[node].start(self.now, &self.plan);
        let started = started.map_err(Violation::Wrong)?;
        hold!(started, "location {node} does not start");
        self.trace(|| format!("{node}: up"));
        self.settle(node)?;
        self.link(node)
    }

    /// A location durably made a write.
    fn note(&mut self, node: usize, row: &kv_replicate::Row) -> Checked {
        let found = &mut self.nodes[node];
        found.made.raise(row.dot.origin, row.dot.seq);
        self.model.belongs(row.dot.origin, found.member);
        self.model.note(row)
    }

    /// A location durably holds these writes.
    fn holds(&mut self, node: usize, durable: VersionVector) {
        self.follow_lowered(node, &durable);
        let found = &mut self.nodes[node];
        found.held = durable;
        if found.lost.as_ref().is_some_and(|lost| found.held.covers_all(lost)) {
            found.lost = None;
            self.count(Event::GotBack);
        }
    }

    /// A rebuild that has salvaged something may count less of some origins than before.
    fn follow_lowered(&mut self, node: usize, durable: &VersionVector) {
        let found = &mut self.nodes[node];
        if found.salvaged.is_empty() {
            return;
        }
        let is_lower = |dot: &kv_core::Dot| durable.get(dot.origin) < dot.seq;
        let (made, held) = (found.made.iter().filter(is_lower), found.held.iter().filter(is_lower));
        for origin in made.chain(held).map(|dot| dot.origin).collect::<Vec<_>>() {
            found.made.lower(origin, durable.get(origin));
            found.lowered.insert(origin);
            self.model.lower(origin);
        }
    }

    /// A store was reopened: its vector shows which of the writes that were not acknowledged are there.
    fn settle(&mut self, node: usize) -> Checked {
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        let vector = store::state(&running.store).durable.clone();
        let is_forked = self.nodes[node].is_forked;
        for row in std::mem::take(&mut self.nodes[node].open) {
            if vector.covers(row.dot) {
                self.note(node, &row)?;
                self.count(Event::UnknownSurvived);
            } else if is_forked {
                // A copy may have it.
                self.model.belongs(row.dot.origin, self.nodes[node].member);
                self.model.doubt(&row)?;
            } else {
                self.count(Event::UnknownLost);
            }
        }
        self.follow_lowered(node, &vector);
        let before = std::mem::replace(&mut self.nodes[node].held, vector.clone());
        let made = self.nodes[node].made.clone();
        if std::mem::take(&mut self.nodes[node].is_restored) {
            let is_there = |dot: Dot| Dot { seq: dot.seq.min(vector.get(dot.origin)), ..dot };
            let left = made.iter().map(is_there).filter(|dot| dot.seq > 0).collect();
            self.nodes[node].made = left;
            let lowered = self.nodes[node].lowered.clone();
            self.doubt_lost(&before, &lowered);
            let own =
                made.iter().filter(|dot| !vector.covers(*dot) && !self.model.is_doubtful(*dot));
            let lost: VersionVector = own.collect();
            let is_any = lost.iter().next().is_some();
            self.nodes[node].lost = is_any.then_some(lost);
        } else {
            for dot in made.iter() {
                let has = vector.get(dot.origin);
                hold!(has >= dot.seq, "location {node} has {has} of its writes, and made {dot:?}");
            }
        }
        self.check(node)
    }
}
