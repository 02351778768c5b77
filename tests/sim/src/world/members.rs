//! Locations that join, that leave for good, and that restart from an old image of their disk.

use kv_core::{MemberId, Operation};
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
        let is_steady = |node: &Node| node.is_joined() && !node.is_leaving && !node.is_restored;
        (0..self.nodes.len()).filter(|node| is_steady(&self.nodes[*node])).collect()
    }

    /// Whether the cluster can lose a location, and no other removal is pending.
    fn can_spare(&self, node: usize) -> bool {
        let left = self.steady().into_iter().filter(|other| *other != node).count();
        let found = &self.nodes[node];
        left >= 2 && found.has_joined && !found.is_gone && !found.is_leaving && !found.is_restored
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
        self.nodes[node].is_leaving = true;
        self.model.depart(self.nodes[node].origins);
        self.remove(node)
    }

    /// Keeps an image of a disk until it is restored.
    pub(super) fn keep_image(&mut self, node: usize) {
        let found = &mut self.nodes[node];
        if found.has_joined && found.image.is_none() {
            found.image = Some(found.disk.image());
        }
    }

    /// A location restarts from an earlier image and must detect it.
    pub(super) fn restore(&mut self, node: usize) -> Checked {
        if !self.can_spare(node) {
            return Ok(());
        }
        if self.nodes[node].image.is_none() {
            return Ok(());
        }
        self.count(Event::Restored);
        self.restore_now(node)
    }

    /// See [`World::restore`].
    pub(super) fn restore_now(&mut self, node: usize) -> Checked {
        self.may_lose_copies();
        let Some(old) = self.nodes[node].image.take() else { return Ok(()) };
        self.nodes[node].disk.power_loss(Keep::All);
        self.crash(node)?;
        let rng = self.rng.fork();
        let found = &mut self.nodes[node];
        found.disk = FailingDisk::holding(old, rng);
        found.is_restored = true;
        found.open.clear();
        self.model.depart(found.origins);
        Ok(())
    }

    /// A location's data directory is copied, and both copies run and must detect each other.
    pub(super) fn copy(&mut self, node: usize) -> Checked {
        if !self.can_spare(node) || self.nodes.len() >= self.plan.nodes + SPARE_NODES {
            return Ok(());
        }
        self.count(Event::Copied);
        self.copy_now(node)?;
        Ok(())
    }

    /// See [`World::copy`]. Returns the number of the copy.
    pub(super) fn copy_now(&mut self, node: usize) -> Checked<usize> {
        self.may_lose_copies();
        let copy = self.nodes.len();
        let (member, image) = (self.nodes[node].member, self.nodes[node].disk.image());
        let mut new = Node::new(member, self.rng.fork());
        new.disk = FailingDisk::holding(image, self.rng.fork());
        new.skew_ms = self.some_skew();
        (new.has_joined, new.is_restored, new.is_copied) = (true, true, true);
        self.nodes.push(new);
        let found = &mut self.nodes[node];
        (found.is_restored, found.is_copied) = (true, true);
        self.model.depart(found.origins);
        // Writes that it was about to acknowledge may be lost, as may all its later ones.
        for row in self.nodes[node].open.clone() {
            self.model.suspect(&row);
        }
        self.trace(|| format!("{node}: copied as {copy}"));
        self.start(copy)?;
        Ok(copy)
    }

    /// A location is gone for good, and another one removes it if one can.
    pub(super) fn retire(&mut self, node: usize) -> Checked {
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
        found.open.clear();
        self.model.depart(found.origins);
        Ok(())
    }

    fn remove(&mut self, node: usize) -> Checked {
        let others: Vec<_> = self.steady().into_iter().filter(|other| *other != node).collect();
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
        let is_explained = found.is_restored || found.is_leaving || self.mangled > 0;
        hold!(is_explained, "{node}: halted: {why}");
        self.count(match (found.is_copied, found.is_restored) {
            (true, _) => Event::CopyDetected,
            (false, true) => Event::RollbackDetected,
            (false, false) => Event::RemovalNoticed,
        });
        let is_removed = why == kv_replicate::HaltReason::Removed;
        if is_removed && !self.nodes[node].is_copied && self.mangled == 0 {
            self.restart_removed(node)?;
        }
        self.retire(node)
    }

    /// A removed location is started again, after its power was cut, and reaches nobody. It must know of its removal.
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

    /// Checks that a location that must be rebuilt has a reason to: another one was restored, or
    /// its source left before it had joined.
    pub(super) fn rebuilt(&mut self, node: usize) -> Checked {
        let has_left = |other: &Node| other.is_gone || other.is_leaving;
        let is_half_joined = !self.nodes[node].has_joined && self.nodes.iter().any(has_left);
        let is_explained = is_half_joined || self.nodes.iter().any(|node| node.is_restored);
        let is_explained = is_explained || self.mangled > 0;
        hold!(is_explained, "{node}: must be rebuilt");
        self.retire(node)
    }

    /// Ends the membership changes: locations that can't stay leave, and all others learn of it.
    pub(super) fn settle_members(&mut self, since: u64) -> Checked {
        for node in 0..self.nodes.len() {
            let is_member = self.model.is_member(self.nodes[node].member);
            let found = &self.nodes[node];
            let can_stay = is_member && !found.is_restored && !self.is_stranded(node, since);
            if !found.is_gone && !can_stay {
                self.retire(node)?;
            } else if found.is_gone && self.is_still_counted(node) && !self.is_being_removed(node) {
                self.remove(node)?;
            }
        }
        Ok(())
    }

    /// Whether a location was made a member by one that has left, and others have closed that one's
    /// session without it.
    fn is_stranded(&self, node: usize, since: u64) -> bool {
        let someone_is_gone = self.nodes.iter().any(|node| node.is_gone);
        let others: Vec<_> = self.steady().into_iter().filter(|other| *other != node).collect();
        let knows = |other: &usize| self.knows(*other, self.nodes[node].member);
        if self.nodes[node].has_joined {
            let is_late = self.now > since + STRANDED_MS;
            let before: Vec<_> = others.into_iter().filter(|other| *other < node).collect();
            someone_is_gone && is_late && !before.iter().all(knows)
        } else {
            !others.iter().any(knows)
        }
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
        let (id, name) = (member(node), format!("location {node}"));
        let origins = self.nodes[node].origins?;
        Some(Operation::PutMember { id, origins, name, addresses: Vec::new() })
    }
}
