//! Locations that join, that leave for good, and that restart from an old image of their disk.

use std::{collections::BTreeSet, sync::Arc};

use kv_core::{MemberId, Operation, OriginId};
use kv_replicate::{Event as CoreEvent, Work};
use waypost_disk_tests::{
    disk::{FailingDisk, Keep},
    hold,
    violation::{Checked, Violation},
};

use super::{Happening, World};
use crate::{
    events::Event,
    node::{Node, member},
    plan::SPARE_NODES,
    store,
};

/// How long locations may take to learn of a member that only some know.
const STRANDED_MS: u64 = 200_000;

/// How long the first locations may take to join each other.
const FOUNDING_MS: u64 = 600_000;

impl World {
    /// The first location makes the cluster, and the others join it.
    pub(super) fn found(&mut self) -> Checked {
        for node in 0..self.plan.nodes {
            self.start(node)?;
        }
        let members = (0..self.plan.nodes).filter_map(|node| self.put_member(node)).collect();
        self.write(0, members)?;
        while (0..self.plan.nodes).any(|node| !self.nodes[node].is_joined()) {
            hold!(self.now < FOUNDING_MS, "the locations do not join each other");
            hold!(self.step()?, "no event is due");
        }
        for node in 0..self.plan.nodes {
            self.create_namespaces(node)?;
        }
        Ok(())
    }

    /// The other running locations without copies: these have no address of their own.
    pub(super) fn others(&self, node: usize) -> Vec<usize> {
        let is_other = |other: &usize| self.nodes[*other].member != self.nodes[node].member;
        self.running().into_iter().filter(is_other).collect()
    }

    /// The locations that may write: active members that are not about to leave.
    pub(super) fn steady(&self) -> Vec<usize> {
        let is_steady = |node: &Node| node.is_joined() && !node.is_leaving && !node.is_superseded();
        (0..self.nodes.len()).filter(|node| is_steady(&self.nodes[*node])).collect()
    }

    /// Whether the cluster can lose a location, and no other removal is pending.
    fn can_spare(&self, node: usize) -> bool {
        let member = self.nodes[node].member;
        let others = self.steady().into_iter().map(|other| self.nodes[other].member);
        let others: BTreeSet<_> = others.filter(|other| *other != member).collect();
        others.len() >= 2 && self.can_change(node)
    }

    /// Whether a location has taken part and stays.
    fn can_change(&self, node: usize) -> bool {
        let found = &self.nodes[node];
        found.has_joined && !found.is_gone && !found.is_leaving
    }

    /// The locations with the same directory, or a copy of it, as another one, that one included.
    pub(super) fn twins(&self, node: usize) -> Vec<usize> {
        let member = self.nodes[node].member;
        (0..self.nodes.len()).filter(|other| self.nodes[*other].member == member).collect()
    }

    /// Adds a new location that joins.
    pub(super) fn join(&mut self) -> Checked {
        let steady = self.steady();
        if self.nodes.len() >= self.plan.nodes + SPARE_NODES || steady.is_empty() {
            return Ok(());
        }
        let by = *self.rng.pick(&steady);
        let node = self.come()?;
        let operations = self.put_member(node).into_iter().collect();
        self.write(by, operations)
    }

    /// Adds a new location that no member knows.
    pub(super) fn come(&mut self) -> Checked<usize> {
        let node = self.nodes.len();
        let mut new = Node::new(member(node), self.rng.fork());
        new.skew_ms = self.some_skew();
        new.is_new = true;
        self.nodes.push(new);
        self.count(Event::Joining);
        self.start(node)?;
        Ok(node)
    }

    /// A location leaves for good: at once, or when it learns that it was removed.
    pub(super) fn leave(&mut self, node: usize) -> Checked {
        if !self.can_spare(node) {
            return Ok(());
        }
        self.may_lose_copies();
        self.count(Event::Left);
        if self.rng.chance(50) {
            return self.retire(node);
        }
        self.is_to_leave(node);
        self.remove(node)
    }

    /// A location, and every copy of it, is about to be removed: its later writes may be lost.
    pub(super) fn is_to_leave(&mut self, node: usize) {
        for twin in self.twins(node) {
            self.nodes[twin].is_leaving = true;
        }
        self.model.depart(self.nodes[node].member);
    }

    /// Keeps an image of a disk until it is restored.
    pub(super) fn keep_image(&mut self, node: usize) {
        let found = &mut self.nodes[node];
        if found.has_joined && found.image.is_none() {
            found.image = Some(found.disk.image());
        }
    }

    /// A location restarts from an earlier image of its disk. If the disk of one was replaced by such an image and
    /// kept, that one restarts from it. It may write before its links come up.
    pub(super) fn restore(&mut self, node: usize) -> Checked {
        // Two restores of one location are rare by chance alone.
        let swapped = self.nodes.iter().position(|found| found.is_swapped && found.image.is_some());
        let node = swapped.unwrap_or(node);
        if !self.can_change(node) || self.nodes[node].image.is_none() {
            return Ok(());
        }
        self.count(Event::Restored);
        if self.rng.chance(50) {
            self.count(Event::RestoredAlone);
            self.isolate(node)?;
        }
        let keeps = self.rng.chance(80);
        self.restore_now(node, keeps)
    }

    /// See [`World::restore`]. The present disk may be kept, to be restored later in its turn.
    pub(super) fn restore_now(&mut self, node: usize, keeps: bool) -> Checked {
        self.may_lose_copies();
        let Some(old) = self.nodes[node].image.take() else { return Ok(()) };
        self.nodes[node].disk.power_loss(Keep::All);
        self.crash(node)?;
        let rng = self.rng.fork();
        let found = &mut self.nodes[node];
        if std::mem::take(&mut found.is_swapped) {
            self.report.events.count(Event::Swapped);
        }
        if keeps {
            found.image = Some(found.disk.image());
            found.is_swapped = true;
        }
        found.disk = FailingDisk::holding(old, rng);
        (found.is_forked, found.is_restored) = (true, true);
        found.floor.clear();
        // They were not acknowledged, and are not on this image; the other disk may have them.
        for row in std::mem::take(&mut found.open) {
            self.model.doubt(&row)?;
        }
        Ok(())
    }

    /// Cuts all links of a location for a while.
    fn isolate(&mut self, node: usize) -> Checked {
        let others: Vec<_> = (0..self.nodes.len()).filter(|other| *other != node).collect();
        let ways: Vec<_> = others.iter().flat_map(|to| [(node, *to), (*to, node)]).collect();
        for (from, to) in &ways {
            self.network.cut.insert((*from, *to));
            self.miss(*from, *to)?;
        }
        let a_while = 5_000 + self.rng.below(100 * self.plan.pause_ms + 10_000);
        self.after(a_while, Happening::Mend(super::faults::Wrong::Cut(ways)));
        Ok(())
    }

    /// A location's data directory is copied, and both copies run. No second location is copied meanwhile: if two
    /// locations run twice, each half of their processes may take itself for the whole cluster and collect tombstones. The
    /// halves then rebuild from each other by turns, and one that counts no more than the other may no longer know what it
    /// has deleted, before the other has dropped that. The operator had an alarm before, which says what to stop.
    pub(super) fn copy(&mut self, node: usize) -> Checked {
        let is_full = self.nodes.len() >= self.plan.nodes + SPARE_NODES;
        if !self.can_change(node) || is_full || self.runs_twice_beside(node) {
            return Ok(());
        }
        self.count(Event::Copied);
        let copy = self.copy_now(node)?;
        if self.rng.chance(50) {
            let alone = *self.rng.pick(&[node, copy]);
            self.isolate(alone)?;
        }
        Ok(())
    }

    /// Whether another location than this one runs twice.
    fn runs_twice_beside(&self, node: usize) -> bool {
        let others: Vec<_> =
            self.others(node).into_iter().map(|other| self.nodes[other].member).collect();
        let distinct: BTreeSet<_> = others.iter().collect();
        distinct.len() < others.len()
    }

    /// See [`World::copy`]. Returns the number of the copy.
    pub(super) fn copy_now(&mut self, node: usize) -> Checked<usize> {
        self.may_lose_copies();
        let copy = self.nodes.len();
        let (member, image) = (self.nodes[node].member, self.nodes[node].disk.image());
        let mut new = Node::new(member, self.rng.fork());
        new.disk = FailingDisk::holding(image, self.rng.fork());
        new.skew_ms = self.some_skew();
        (new.has_joined, new.is_forked, new.is_restored) = (true, true, true);
        (new.made, new.is_slow) = (self.nodes[node].made.clone(), false);
        new.lowered = self.nodes[node].lowered.clone();
        self.nodes.push(new);
        self.nodes[node].is_forked = true;
        self.trace(|| format!("{node}: copied as {copy}"));
        self.start(copy)?;
        Ok(copy)
    }

    /// Records the writes that are on no disk any more, except perhaps on one that was replaced: those that this
    /// location held, and that neither it nor another one holds. Of `lowered` origins it may have held all.
    pub(super) fn doubt_lost(
        &mut self,
        held: &kv_core::VersionVector,
        lowered: &BTreeSet<OriginId>,
    ) {
        let mut left = kv_core::VersionVector::default();
        for node in self.nodes.iter().filter(|node| !node.is_gone) {
            left.merge(&node.held);
        }
        self.model.doubt_beyond((held, lowered), &left);
    }

    /// A location is gone for good, and another one removes it if one can.
    pub(super) fn retire(&mut self, node: usize) -> Checked {
        for twin in self.twins(node) {
            self.nodes[twin].is_leaving = true;
        }
        self.vanish(node)?;
        self.remove(node)
    }

    /// A location is gone for good.
    pub(super) fn vanish(&mut self, node: usize) -> Checked {
        self.may_lose_copies();
        self.trace(|| format!("{node}: gone for good"));
        self.crash(node)?;
        let found = &mut self.nodes[node];
        found.is_gone = true;
        for row in std::mem::take(&mut found.open) {
            self.model.doubt(&row)?;
        }
        let (member, held, lowered) = (found.member, found.held.clone(), found.lowered.clone());
        if self.twins(node).iter().all(|twin| self.nodes[*twin].is_gone) {
            self.model.depart(member);
        }
        self.doubt_lost(&held, &lowered);
        Ok(())
    }

    /// A process that a later one of its location has superseded is stopped for good, once another location has all
    /// of its writes. If all other processes of its location are gone, it is restarted, so that it continues: the alarm
    /// says so.
    fn stop_superseded(&mut self) -> Checked {
        for node in self.running() {
            let found = &self.nodes[node];
            let uncounted = self.uncounted(node);
            let has_all = |other: &usize| {
                let has_uncounted = uncounted == 0 || self.uncounted(*other) == uncounted;
                self.nodes[*other].held.covers_all(&found.held) && has_uncounted
            };
            let others = self.twins(node).into_iter().filter(|other| *other != node);
            let is_alone = others.clone().all(|other| self.nodes[other].is_gone);
            if !found.is_superseded() {
                continue;
            }
            if is_alone {
                self.trace(|| format!("{node}: is restarted, to continue"));
                self.crash(node)?;
            } else if self.steady().iter().any(has_all) {
                self.vanish(node)?;
                for twin in self.twins(node) {
                    self.redial(twin)?;
                }
            }
        }
        Ok(())
    }

    /// The digest of the writes that a location holds and does not count; 0 if there are none.
    pub(super) fn uncounted(&self, node: usize) -> u64 {
        let Some(running) = &self.nodes[node].running else { return 0 };
        let origins = store::state(&running.store).registry.iter().map(|info| info.id).collect();
        let durable = running.store.replicator().and_then(|replicator| replicator.durable());
        let work = Work::FindUncounted { id: 0, origins: Arc::new(origins) };
        match durable.and_then(|durable| durable.read(work)) {
            Some(CoreEvent::Uncounted { digest: Some(digest), .. }) => digest,
            _ => u64::MAX,
        }
    }

    /// A running location gets new links to all others.
    fn redial(&mut self, node: usize) -> Checked {
        if self.nodes[node].running.is_none() {
            return Ok(());
        }
        for other in self.others(node) {
            self.meet(node, other)?;
            self.meet(other, node)?;
        }
        Ok(())
    }

    fn remove(&mut self, node: usize) -> Checked {
        let member = self.nodes[node].member;
        let is_other = |other: &usize| self.nodes[*other].member != member;
        let others: Vec<_> = self.steady().into_iter().filter(is_other).collect();
        if others.is_empty() {
            return Ok(());
        }
        let by = *self.rng.pick(&others);
        let id = self.nodes[node].member;
        self.write(by, vec![Operation::RemoveMember { id }])
    }

    /// A core has halted: it must have had a reason to.
    pub(super) fn halted(&mut self, node: usize, why: kv_replicate::HaltReason) -> Checked {
        let found = &self.nodes[node];
        let is_explained = found.is_leaving || self.mangled > 0;
        hold!(is_explained, "{node}: halted: {why}");
        self.count(Event::RemovalNoticed);
        let is_removed = why == kv_replicate::HaltReason::Removed;
        if is_removed && !self.nodes[node].is_forked && self.mangled == 0 {
            self.restart_removed(node)?;
        }
        self.retire(node)
    }

    /// A removed location is started again, after its power was cut, and reaches no other one. It must know of its
    /// removal.
    fn restart_removed(&mut self, node: usize) -> Checked {
        let keep = Keep::random(&mut self.rng);
        self.nodes[node].disk.power_loss(keep);
        let started = self.nodes[node].start(self.now, &self.plan);
        let started = started.map_err(Violation::Wrong)?;
        hold!(started, "the removed location {node} does not start");
        let core = self.nodes[node].running.as_ref().map(|running| &running.core);
        let halted = core.and_then(kv_replicate::Core::halted);
        hold!(
            halted == Some(kv_replicate::HaltReason::Removed),
            "{node}: was removed, restarts alone, and takes part: {halted:?}"
        );
        self.count(Event::RemovalRemembered);
        Ok(())
    }

    /// Checks that a location that rebuilds its store has a reason to: a location was restored.
    pub(super) fn rebuilds(&mut self, node: usize) -> Checked {
        self.count(Event::Rebuilding);
        let is_explained = self.nodes.iter().any(|node| node.is_forked) || self.mangled > 0;
        hold!(is_explained, "{node}: is rebuilt");
        Ok(())
    }

    /// A location's store is whole, because it was rebuilt or has joined.
    pub(super) fn rebuilt(&mut self, node: usize) {
        if self.nodes[node].has_joined {
            self.count(Event::Rebuilt);
        }
    }

    /// Ends the membership changes: locations that can't stay leave, and all others learn of it.
    pub(super) fn settle_members(&mut self, since: u64) -> Checked {
        self.stop_superseded()?;
        for node in 0..self.nodes.len() {
            let is_member = self.model.is_member(self.nodes[node].member);
            let found = &self.nodes[node];
            let can_stay = is_member && !self.is_stranded(node, since);
            if !found.is_gone && !can_stay {
                self.retire(node)?;
            } else if found.is_gone
                && self.twins(node).iter().all(|twin| self.nodes[*twin].is_gone)
                && self.is_still_counted(node)
                && !self.is_being_removed(node)
            {
                self.remove(node)?;
            }
        }
        Ok(())
    }

    /// Whether a location was made a member by one that has left, and others have closed that one's
    /// session without it.
    fn is_stranded(&self, node: usize, since: u64) -> bool {
        let someone_is_gone = self.nodes.iter().any(|node| node.is_gone || node.is_forked);
        let member = self.nodes[node].member;
        let is_other = |other: &usize| self.nodes[*other].member != member;
        let others: Vec<_> = self.steady().into_iter().filter(is_other).collect();
        let knows = |other: &usize| self.knows(*other, member);
        if self.nodes[node].has_joined {
            let is_late = self.now > since + STRANDED_MS;
            let before: Vec<_> = others.iter().filter(|other| **other < node).collect();
            someone_is_gone
                && is_late
                && (self.knows_no_other(node) || !before.into_iter().all(knows))
        } else {
            !others.iter().any(knows)
        }
    }

    /// Whether all that a location knows have left, and there are others, which it does not know. It must join again.
    pub(super) fn knows_no_other(&self, node: usize) -> bool {
        let is_other = |other: &usize| self.nodes[*other].member != self.nodes[node].member;
        let others: Vec<_> = self.steady().into_iter().filter(is_other).collect();
        let is_unknown = |other: &usize| !self.knows(node, self.nodes[*other].member);
        !others.is_empty() && others.iter().all(is_unknown)
    }

    /// Whether all remaining locations have a location as a member.
    pub(super) fn is_known_to_all(&self, node: usize) -> bool {
        self.steady().iter().all(|other| self.knows(*other, self.nodes[node].member))
    }

    /// Whether all remaining locations have each other as members.
    pub(super) fn know_each_other(&self) -> bool {
        self.steady().into_iter().all(|node| self.is_known_to_all(node))
    }

    pub(super) fn knows(&self, node: usize, other: MemberId) -> bool {
        let running = self.nodes[node].running.as_ref();
        running.is_some_and(|running| store::state(&running.store).members.is_current(other))
    }

    /// Whether a remaining location has a location as a member: the one that removed it may have
    /// left, too.
    fn is_still_counted(&self, node: usize) -> bool {
        self.steady().iter().any(|other| self.knows(*other, self.nodes[node].member))
    }

    /// Whether a location has written the removal, or is about to.
    fn is_being_removed(&self, node: usize) -> bool {
        let key = kv_core::Member::key(self.nodes[node].member);
        let is_it = |row: &kv_replicate::Row| row.key[..] == key[..];
        self.nodes.iter().any(|node| node.open.iter().any(is_it))
    }

    /// Records that a location has become an active member.
    pub(super) fn joined(&mut self, node: usize) {
        self.nodes[node].has_joined = true;
        self.count(Event::Joined);
    }

    pub(super) fn some_skew(&mut self) -> i64 {
        let skew = i64::try_from(self.rng.between(0, 2 * self.plan.skew_ms)).unwrap_or(0);
        skew - i64::try_from(self.plan.skew_ms).unwrap_or(0)
    }

    /// Links a location that was started with all others.
    pub(super) fn link(&mut self, node: usize) -> Checked {
        for other in self.others(node) {
            self.meet(node, other)?;
            self.meet(other, node)?;
        }
        self.after(500, Happening::Gc(node));
        Ok(())
    }

    /// The write that makes a location a member.
    pub(super) fn put_member(&self, node: usize) -> Option<Operation> {
        let (id, name) = (self.nodes[node].member, format!("location {node}"));
        Some(Operation::PutMember { id, name, addresses: Vec::new() })
    }
}
