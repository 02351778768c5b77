//! What happens at one location: its store's work, its syncs, its crashes and starts.

use kv_core::{Mode, commit::GcLimits, engine::Engine};
use kv_replicate::{Event as CoreEvent, Work, inspect::Ask};
use waypost_disk_tests::{
    hold,
    violation::{Checked, Violation},
};

use super::{Happening, World};
use crate::events::Event;

impl World {
    /// Takes what a core asks of its store: done at once, or after a while, in its order.
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
        self.sync_later(node, 30);
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

    /// The store has done the next of what it was asked, and perhaps more.
    pub(super) fn work_done(&mut self, node: usize) -> Checked {
        let some = self.rng.between(1, 4);
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        running.is_working = false;
        for _ in 0..some {
            if !self.perform_next(node)? {
                break;
            }
        }
        self.sync_later(node, 30);
        self.pump(node)
    }

    /// Does the next of what a store was asked; false if there is nothing, or the location is down.
    fn perform_next(&mut self, node: usize) -> Checked<bool> {
        let now = self.nodes[node].now(self.now);
        let has_stepped = self.nodes[node].has_stepped;
        if self.nodes[node].is_busy {
            return Ok(false);
        }
        let Some(running) = &mut self.nodes[node].running else { return Ok(false) };
        let Some(work) = running.queue.pop_front() else { return Ok(false) };
        let takes_body = matches!(&work, Work::Apply { rows, .. }
            if rows.iter().any(|row| row.fetch.is_some()));
        if let Work::Apply { rows, .. } = &work {
            let latest = rows.iter().map(|row| row.row.hlc.millis()).max().unwrap_or(0);
            let is_past = has_stepped || latest <= now.wall_ms + 500;
            hold!(is_past, "{node}: a write from the future is applied");
        }
        if matches!(&work, Work::Inspect { ask: Ask::Rows(_), .. }) {
            self.verifying.looks += 1;
        }
        let answer = running.storage.perform(now.wall_ms, work);
        if self.after_call(node)? {
            return Ok(false);
        }
        let Some(event) = answer else { return Ok(true) };
        if let CoreEvent::Applied { results: Some(results), .. } = &event {
            self.count_applied(results, takes_body);
        }
        if let Some(running) = &mut self.nodes[node].running {
            running.core.handle_event(now, event);
        }
        Ok(true)
    }

    fn count_applied(&mut self, results: &[kv_core::commit::Applied], takes_body: bool) {
        use kv_core::commit::Applied;
        for applied in results {
            match applied {
                Applied::Won { concurrent: true } => self.count(Event::Concurrent),
                Applied::Lost => self.count(Event::Lost),
                _ => {}
            }
        }
        if takes_body {
            self.count(Event::LargeTaken);
        }
    }

    /// Sees whether the last call to a store met a failure of its disk; true if the location is
    /// down now.
    pub(super) fn after_call(&mut self, node: usize) -> Checked<bool> {
        let life = self.nodes[node].disk.life();
        let Some(running) = &mut self.nodes[node].running else { return Ok(true) };
        let mode = running.storage.committer().engine().status().mode;
        if running.life != life || matches!(mode, Mode::ReadOnly(_) | Mode::Closed(_)) {
            self.crash(node)?;
            return Ok(true);
        }
        if let Some(event) = running.storage.failure() {
            self.trace(|| format!("{node}: went back"));
            let now = self.nodes[node].now(self.now);
            // What was not acknowledged is gone.
            self.settle(node)?;
            if let Some(running) = &mut self.nodes[node].running {
                running.core.handle_event(now, event);
            }
        }
        Ok(false)
    }

    pub(super) fn sync_later(&mut self, node: usize, within: u64) {
        let after = self.rng.below(within + 1);
        let Some(running) = &mut self.nodes[node].running else { return };
        if running.storage.is_dirty() && !running.will_sync {
            running.will_sync = true;
            self.after(after, Happening::Sync(node));
        }
    }

    pub(super) fn sync(&mut self, node: usize) -> Checked {
        if self.nodes[node].is_stuck {
            self.after(20, Happening::Sync(node));
            return Ok(());
        }
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        running.will_sync = false;
        let synced = running.storage.sync();
        match synced {
            Ok(events) => {
                if self.after_call(node)? {
                    return Ok(());
                }
                for row in std::mem::take(&mut self.nodes[node].open) {
                    if self.nodes[node].is_restored {
                        self.model.suspect(&row);
                    } else {
                        self.model.note(&row)?;
                    }
                }
                for event in events {
                    self.tell(node, event)?;
                }
                // It reads every key; what is wrong stays wrong for a while. A replay shows at once.
                if self.rng.chance(15) || self.tracing { self.check(node) } else { Ok(()) }
            }
            Err(error) => {
                self.trace(|| format!("{node}: sync: {error}"));
                if !self.after_call(node)? {
                    self.sync_later(node, 100);
                }
                Ok(())
            }
        }
    }

    /// Holds what a location has against what is true. Only right after a sync: what is not durable
    /// may go back.
    pub(super) fn check(&mut self, node: usize) -> Checked {
        if self.nodes[node].is_restored || self.mangled > 0 {
            return Ok(());
        }
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        let view = running.storage.committer().view();
        let checked = self.model.check_location(&view, &mut self.nodes[node].floor);
        checked
            .map_err(|wrong| Violation::Wrong(format!("at {}, location {node}: {wrong}", self.now)))
    }

    pub(super) fn collect_garbage(&mut self, node: usize) -> Checked {
        self.after(500, Happening::Gc(node));
        let now = self.nodes[node].now(self.now);
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        let stable = running.core.stable();
        let limits = GcLimits { rows: 50, bodies: 8, stable, max_skew_ms: 500 };
        let swept = running.storage.collect_garbage(now.wall_ms, &limits);
        if self.after_call(node)? {
            return Ok(());
        }
        if let Ok(swept) = swept {
            (0..swept.collected).for_each(|_| self.count(Event::Collected));
        }
        self.sync_later(node, 30);
        Ok(())
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

    /// A store was taken up again: of the writes that were not acknowledged, it says which are there.
    fn settle(&mut self, node: usize) -> Checked {
        if self.nodes[node].is_restored {
            // Whether they are there or not, they may come to others or be lost.
            for row in std::mem::take(&mut self.nodes[node].open) {
                self.model.suspect(&row);
            }
            return Ok(());
        }
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        let vector = running.storage.state().durable.clone();
        for row in std::mem::take(&mut self.nodes[node].open) {
            if vector.covers(row.dot) {
                self.model.note(&row)?;
                self.count(Event::UnknownSurvived);
            } else {
                self.count(Event::UnknownLost);
            }
        }
        let own = self.nodes[node].origins.unwrap_or([kv_core::OriginId([0; 16]); 2]);
        for origin in own {
            let (has, wanted) = (vector.get(origin), self.model.last(origin));
            hold!(
                has == wanted,
                "location {node} has {has} of its writes and acknowledged {wanted}"
            );
        }
        self.check(node)
    }
}
