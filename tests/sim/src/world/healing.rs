//! The end of all faults. The locations must become equal, and drop their tombstones.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::{FoundState, VersionVector, engine::Engine, writer::Step};
use waypost_disk_tests::{
    hold,
    violation::{Checked, During, Violation},
};

use super::World;
use crate::node::Node;

/// How long the locations may take to become equal, plus the error of clocks that are ahead.
const PATIENCE_MS: u64 = 600_000;

/// How long they may then take to drop their tombstones.
const FORGET_MS: u64 = 120_000;

impl World {
    /// Ends all faults, and waits until the locations are equal and have dropped their tombstones.
    ///
    /// # Errors
    /// The violation.
    pub fn heal(&mut self) -> Checked {
        self.is_healed = true;
        self.network.heal();
        let mended_at = self.now;
        self.trace(|| "all faults have ended".into());
        for node in 0..self.nodes.len() {
            self.nodes[node].skew_ms = 0;
            self.nodes[node].has_stepped = true;
            self.nodes[node].is_slow = false;
            self.nodes[node].disk.disarm();
            self.nodes[node].disk.make_room();
            self.start(node)?;
        }
        // Writes of a location that not all know as a member may be lost with it.
        let mut steady = self.steady();
        steady.retain(|node| self.is_known_to_all(*node));
        for node in steady {
            self.model.secure(&self.nodes[node].vector());
        }
        for from in self.running() {
            for to in self.others(from) {
                self.meet(from, to)?;
            }
        }
        let end = self.now + PATIENCE_MS + 2 * self.plan.skew_ms;
        self.become_equal(mended_at, end)?;
        self.report.healed_in_ms = self.now - mended_at;
        self.forget_lost()?;
        self.check_all()?;
        let end = self.now + FORGET_MS;
        while let Some(left) = self.left_over()? {
            hold!(self.now < end, "a tombstone is not dropped: {left}");
            self.run_for(500)?;
        }
        self.verify_two()?;
        self.check_all()
    }

    fn become_equal(&mut self, mended_at: u64, end: u64) -> Checked {
        loop {
            self.settle_members(mended_at + 2 * self.plan.skew_ms)?;
            if self.is_equal() {
                return Ok(());
            }
            hold!(self.now < end, "not equal: {}", self.differences());
            self.run_for(250)?;
        }
    }

    pub(super) fn run_for(&mut self, ms: u64) -> Checked {
        let end = self.now + ms;
        while self.due.peek().is_some_and(|due| due.at <= end) {
            self.step()?;
        }
        self.now = end;
        for node in self.running() {
            self.unrecovered = None;
            self.run_step(node, Step::Recover)?;
            hold!(self.unrecovered.is_none(), "a mended disk: {:?}", self.unrecovered);
        }
        Ok(())
    }

    /// Whether all locations hold all acknowledged writes durably, and the same writes of departed
    /// ones.
    pub(super) fn is_equal(&self) -> bool {
        let wanted = self.wanted();
        let is_equal = |node: &Node| {
            let is_closed = node.running.as_ref().is_some_and(|running| running.core.is_settled());
            node.open.is_empty() && is_closed && node.is_joined() && node.vector() == wanted
        };
        let mut stay = self.nodes.iter().filter(|node| !node.is_gone);
        stay.all(is_equal) && self.know_each_other()
    }

    /// The writes that all locations must count: all acknowledged ones, and those of departed
    /// locations that any remaining one has.
    fn wanted(&self) -> VersionVector {
        let mut wanted = self.model.vector();
        for node in self.nodes.iter().filter(|node| node.running.is_some()) {
            wanted.merge(&node.vector());
        }
        wanted
    }

    /// Forgets the acknowledged writes of departed locations that reached no remaining one.
    fn forget_lost(&mut self) -> Checked {
        let mut rows = BTreeSet::new();
        for node in &mut self.nodes {
            let Some(running) = &mut node.running else { continue };
            let view = running.store.committer().view();
            for name in self.model.names() {
                rows.extend(
                    view.row(name.0, &name.1).during("reading a row")?.map(|found| found.dot),
                );
            }
        }
        self.model.forget_lost(&rows);
        Ok(())
    }

    fn differences(&self) -> String {
        let wanted = self.wanted();
        let mut text = String::new();
        for (at, node) in self.nodes.iter().enumerate().filter(|(_, node)| !node.is_gone) {
            if !node.is_joined() {
                text.push_str(&format!(" location {at} has not joined;"));
            }
            let is_settled = node.running.as_ref().is_some_and(|it| it.core.is_settled());
            if !is_settled || !node.open.is_empty() || node.is_superseded() {
                let (open, is_late) = (node.open.len(), node.is_superseded());
                text.push_str(&format!(
                    " location {at}: settled {is_settled}, {open} open, superseded {is_late};"
                ));
            }
            let vector = node.vector();
            for dot in wanted.iter().filter(|dot| vector.get(dot.origin) != dot.seq) {
                let has = vector.get(dot.origin);
                text.push_str(&format!(
                    " location {at} has {has} of {} of {};",
                    dot.seq, dot.origin
                ));
            }
        }
        text
    }

    fn check_all(&mut self) -> Checked {
        self.check_same()?;
        let now_ms = self.true_ms();
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let Some(running) = &mut node.running else { continue };
            let status = running.store.committer().engine().status();
            let view = running.store.committer().view();
            let checked = self.model.check_converged(&view, now_ms, self.plan.skew_ms + 1000);
            checked.map_err(|wrong| {
                Violation::Wrong(format!(
                    "at {}, location {at}: {wrong} ({:?})",
                    self.now, status.mode
                ))
            })?;
        }
        Ok(())
    }

    /// Checks that all locations have the same rows.
    fn check_same(&mut self) -> Checked {
        let mut shown = BTreeMap::new();
        let late_ms = self.true_ms() + self.plan.skew_ms + 1000;
        let names: Vec<_> = self.model.names().cloned().collect();
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let Some(running) = &mut node.running else { continue };
            let view = running.store.committer().view();
            for name in &names {
                let found = view.row(name.0, &name.1).during("reading a row")?;
                let is_shown = |found: &kv_core::Found| {
                    let is_over = found.expires_at.is_some_and(|at| at * 1000 <= late_ms);
                    !is_over
                        && !matches!(
                            found.state,
                            FoundState::Tombstone | FoundState::ExpiredTombstone
                        )
                };
                let version = found.filter(is_shown).map(|found| found.version);
                let (first, other) = shown.entry(name.clone()).or_insert((at, version));
                let is_dropped = view.namespaces().is_dropped(name.0);
                hold!(
                    *other == version || is_dropped,
                    "{name:?} is {other:?} at {first} and {version:?} at {at}"
                );
            }
        }
        Ok(())
    }

    /// A tombstone or expired tombstone that some location still has, if there is one.
    fn left_over(&mut self) -> Checked<Option<String>> {
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let Some(running) = &mut node.running else { continue };
            let view = running.store.committer().view();
            for name in self.model.names() {
                let found = view.row(name.0, &name.1).during("reading a row")?;
                if let Some(found) = found
                    && matches!(found.state, FoundState::Tombstone | FoundState::ExpiredTombstone)
                    // One that no vector counts stays: writes before it may be on a disk that comes back.
                    && view.vector().covers(found.dot)
                {
                    let mark = running.core.stable();
                    return Ok(Some(format!(
                        "{name:?} at {at}: {found:?}, stable timestamp {mark:?}"
                    )));
                }
            }
        }
        Ok(None)
    }
}
