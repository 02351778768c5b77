//! The end of all faults. The locations must become equal, and drop their tombstones.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Bound, ControlFlow},
    time::Duration,
};

use kv_core::{
    FoundState, Table, VersionVector,
    engine::{Engine, Order, Snapshot, Visibility},
    writer::Step,
};
use waypost_disk_tests::{
    hold,
    violation::{Checked, During, Violation},
};

use super::World;
use crate::{node::Node, store};

/// How long the locations may take to become equal.
const PATIENCE_MS: u64 = 600_000;

/// The same while processes run on copies of a directory: they take turns with each other's links.
const PATIENCE_WITH_COPIES_MS: u64 = 3_000_000;

/// How long they may then take to drop their tombstones.
const FORGET_MS: u64 = 120_000;

/// The expiry grace in this time.
const SHORT_GRACE: Duration = Duration::from_secs(10);

/// How far the clocks that decide what has expired may be ahead of the true time: right clocks are.
pub(super) const MARGIN_MS: u64 = 1_000;
/// How long a view may stay pinned.
const PINNED_MS: u64 = 31_000;

/// How long after the last fault, and how often, an operator puts the entries again that no location can read.
const PUT_AGAIN_MS: u64 = 30_000;

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
            self.nodes[node].is_wrong = false;
            self.nodes[node].is_slow = false;
            self.nodes[node].disk.disarm();
            self.nodes[node].disk.make_room();
            self.start(node)?;
        }
        (0..self.nodes.len()).for_each(|node| self.read_all(node));
        // Writes of a location that not all know as a member, or that knows no other, may be lost with it: it must join
        // again.
        let mut steady = self.steady();
        steady.retain(|node| self.is_known_to_all(*node) && !self.knows_no_other(*node));
        for node in steady {
            let counts = self.nodes[node].vector();
            self.model.secure(&counts);
        }
        for from in self.running() {
            for to in self.others(from) {
                self.meet(from, to)?;
            }
        }
        let patience = if self.has_twins() { PATIENCE_WITH_COPIES_MS } else { PATIENCE_MS };
        let end = self.now + patience;
        self.become_equal(mended_at, end)?;
        self.report.healed_in_ms = self.now - mended_at;
        self.settle_namespaces(mended_at)?;
        self.forget_lost()?;
        self.check_all()?;
        self.shorten_grace();
        let end = self.now + FORGET_MS;
        while let Some(left) = self.left_over()? {
            hold!(self.now < end, "a tombstone is not dropped: {left}");
            self.run_for(500)?;
        }
        self.verify_two()?;
        self.check_pins()?;
        self.check_all()
    }

    /// Makes the expiry grace pass. A location that begins with a store which was last written long ago, or under a clock that
    /// was behind, closes no time before it has: nothing else happens in this hour.
    fn shorten_grace(&mut self) {
        for running in self.nodes.iter_mut().filter_map(|node| node.running.as_mut()) {
            running.store.config().expiry_grace = SHORT_GRACE;
        }
    }

    /// Checks that no location keeps a view for a peer for long.
    fn check_pins(&mut self) -> Checked {
        self.run_for(PINNED_MS)?;
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let Some(running) = &mut node.running else { continue };
            let pinned = store::replicator(&mut running.store).pinned();
            hold!(pinned == 0, "location {at} keeps {pinned} views");
        }
        Ok(())
    }

    fn become_equal(&mut self, mended_at: u64, end: u64) -> Checked {
        loop {
            self.settle_members(mended_at)?;
            if self.is_equal() {
                return Ok(());
            }
            hold!(self.now < end, "not equal: {}", self.differences());
            self.run_for(250)?;
            if (self.now - mended_at).is_multiple_of(PUT_AGAIN_MS) {
                self.put_destroyed()?;
            }
        }
    }

    /// Puts the entries again whose copies are all destroyed, as an operator does who reads the alarm.
    fn put_destroyed(&mut self) -> Checked {
        let Some(at) = self.steady().first().copied() else { return Ok(()) };
        let mut wanted: Option<BTreeSet<_>> = None;
        for running in self.nodes.iter().filter_map(|node| node.running.as_ref()) {
            let owed: BTreeSet<_> = store::state(&running.store).wanted.iter().cloned().collect();
            wanted = Some(match wanted {
                Some(before) => &before & &owed,
                None => owed,
            });
        }
        for place in wanted.unwrap_or_default() {
            let name = (place.namespace, place.key.to_vec());
            if self.model.is_destroyed(&name) {
                self.trace(|| format!("{at}: puts {name:?} again"));
                let operations = self.put_one(at, (place.namespace, place.key), 100)?;
                self.write(at, operations)?;
                self.sync(at)?;
            }
        }
        Ok(())
    }

    /// Waits until each location has looked for dead and for later entries in each dropped namespace, and until all have
    /// the creations that followed.
    fn settle_namespaces(&mut self, mended_at: u64) -> Checked {
        let end = self.now + PATIENCE_MS;
        while self.has_purges()? {
            hold!(self.now < end, "a dropped namespace is not purged");
            self.run_for(250)?;
        }
        self.become_equal(mended_at, end)
    }

    /// Whether some location has not walked over all of a dropped namespace.
    fn has_purges(&mut self) -> Checked<bool> {
        let mut has_purges = false;
        for node in &mut self.nodes {
            let Some(running) = &mut node.running else { continue };
            let snapshot = running.store.committer().engine().snapshot(Visibility::Latest);
            let snapshot = snapshot.during("taking a snapshot")?;
            let all = (Bound::Unbounded, Bound::Unbounded);
            let visit = &mut |_: &[u8], _: &[u8]| {
                has_purges = true;
                ControlFlow::Break(())
            };
            snapshot
                .range(Table::Purge, all, Order::Ascending, visit)
                .during("reading the table of purges")?;
        }
        Ok(has_purges)
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
    #[must_use]
    pub fn is_equal(&self) -> bool {
        let wanted = self.wanted();
        let is_equal = |node: &Node| {
            let is_settled = node.running.as_ref().is_some_and(|running| running.core.is_settled());
            let owes = |running: &crate::node::Running| {
                !store::state(&running.store).wanted.is_empty() || running.store.has_met_damage()
            };
            let is_whole = node.running.as_ref().is_some_and(|running| !owes(running));
            node.open.is_empty()
                && is_settled
                && is_whole
                && node.is_joined()
                && node.vector() == wanted
        };
        let mut stay = self.nodes.iter().filter(|node| !node.is_gone);
        stay.all(is_equal) && self.know_each_other() && self.hold_same_uncounted()
    }

    /// Whether all locations hold the same rows that no vector counts. Their cores compare what they have last reported,
    /// which for a process that has lost its link to a copy of its directory may be long ago.
    fn hold_same_uncounted(&self) -> bool {
        let mut digests = self.running().into_iter().map(|node| self.uncounted(node));
        digests.next().is_none_or(|first| digests.all(|digest| digest == first))
    }

    /// The writes that all locations must count: all acknowledged ones, and those of departed
    /// locations that any remaining one has.
    fn wanted(&self) -> VersionVector {
        let stores = self.nodes.iter().filter_map(|node| node.running.as_ref());
        let states = stores.map(|running| store::state(&running.store));
        let open = states.filter(|state| !state.superseded).filter_map(|state| state.origins);
        let mut wanted = self.model.vector(&open.flatten().collect());
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
                    view.row(name.0, &name.1)
                        .during("reading a row")?
                        .map_or_else(Vec::new, |found| found.dots()),
                );
            }
        }
        self.model.forget_lost(&rows);
        Ok(())
    }

    fn differences(&mut self) -> String {
        let wanted = self.wanted();
        let mut text = self.owed_rows();
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

    /// The keys that locations owe, and what each location has of them.
    fn owed_rows(&mut self) -> String {
        let running = self.nodes.iter().filter_map(|node| node.running.as_ref());
        let wanted = running.flat_map(|running| store::state(&running.store).wanted.iter());
        let wanted: BTreeSet<_> = wanted.cloned().collect();
        let mut text = String::new();
        for place in wanted {
            for (at, node) in self.nodes.iter_mut().enumerate() {
                let Some(running) = &mut node.running else { continue };
                let view = running.store.committer().view();
                let how = view.owed().get(place.namespace, &place.key);
                let row = view.row(place.namespace, &place.key);
                text.push_str(&format!(" location {at} owes {place:?}: {how:?} and has {row:?};"));
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
            let checked = self.model.check_converged(&view, now_ms + MARGIN_MS);
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
        let late_ms = self.true_ms() + MARGIN_MS;
        let names: Vec<_> = self.model.names().cloned().collect();
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let Some(running) = &mut node.running else { continue };
            let view = running.store.committer().view();
            for name in &names {
                let found = view.row(name.0, &name.1).during("reading a row")?;
                let is_shown = |found: &kv_core::Found| {
                    let is_over = found.expires_at.is_some_and(|at| at * 1000 <= late_ms);
                    let is_dead = view.namespaces().is_dead(name.0, found.version);
                    !is_over
                        && !is_dead
                        && !matches!(
                            found.state,
                            FoundState::Tombstone | FoundState::ExpiredTombstone
                        )
                };
                let version = found.filter(is_shown).map(|found| found.version);
                let (first, other) = shown.entry(name.clone()).or_insert((at, version));
                hold!(
                    *other == version,
                    "{name:?} is {other:?} at {first} and {version:?} at {at}"
                );
            }
        }
        Ok(())
    }

    /// A tombstone or expired tombstone that some location still has, if there is one. A deletion that a clock
    /// dated ahead stays until its time.
    fn left_over(&mut self) -> Checked<Option<String>> {
        let now_ms = self.true_ms();
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let Some(running) = &mut node.running else { continue };
            let view = running.store.committer().view();
            for name in self.model.names() {
                let found = view.row(name.0, &name.1).during("reading a row")?;
                if let Some(found) = found
                    && found.version.hlc.millis() < now_ms
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
