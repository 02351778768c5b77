//! The steps of scenarios, which random runs leave to chance.

use kv_core::{Attributes, FoundState, Key, NamespaceId, Operation, derive_id};
use kv_replicate::{Channel, Work};
use waypost_disk_tests::{
    disk::{Armed, Call, Fault as DiskFault, Keep},
    hold,
    violation::{Checked, During},
};

use super::{World, damage::Place};
use crate::{
    events::{Event, Events},
    node::{Name, member},
    store,
};

/// How long new locations may take to come to rest.
const REST_WITHIN_MS: u64 = 120_000;

/// In this time every location reports its progress twice.
const ALL_SAID_MS: u64 = 7_000;

fn namespace() -> NamespaceId {
    derive_id("", "one", 0)
}

fn key(number: u64) -> Key {
    Key::new(format!("key {number}")).expect("a key")
}

impl World {
    /// Lets time pass until all locations have the same writes and no message is in flight.
    ///
    /// # Errors
    /// The violation.
    pub fn rest(&mut self) -> Checked {
        let is_over = |world: &mut World| world.is_equal() && world.open_sessions() == 0;
        hold!(self.run_until(REST_WITHIN_MS, is_over)?, "the locations do not come to rest");
        self.pass(ALL_SAID_MS)
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// The violation.
    pub fn pass(&mut self, ms: u64) -> Checked {
        self.run_for(ms)
    }

    /// Lets time pass until a condition holds. Returns false if it does not hold within `ms`
    /// milliseconds.
    ///
    /// # Errors
    /// The violation.
    pub fn run_until(
        &mut self,
        within_ms: u64,
        mut is_so: impl FnMut(&mut World) -> bool,
    ) -> Checked<bool> {
        let end = self.now + within_ms;
        while !is_so(self) {
            if self.due.peek().is_none_or(|due| due.at > end) {
                self.now = end;
                return Ok(false);
            }
            self.step()?;
        }
        Ok(true)
    }

    /// Puts keys with values of this many bytes, and syncs at once.
    ///
    /// # Errors
    /// The violation.
    pub fn put(
        &mut self,
        node: usize,
        keys: impl IntoIterator<Item = u64>,
        bytes: usize,
    ) -> Checked {
        let mut operations = Vec::new();
        for number in keys {
            operations.extend(self.put_one(node, (namespace(), key(number)), bytes)?);
        }
        self.write(node, operations)?;
        self.sync(node)
    }

    /// Drops the namespace of the keys, and syncs at once.
    ///
    /// # Errors
    /// The violation.
    pub fn drop_namespace(&mut self, node: usize) -> Checked {
        self.write(node, vec![Operation::DropNamespace { id: namespace() }])?;
        self.sync(node)
    }

    /// Which of these keys a reader finds at a location.
    pub fn reads(&mut self, node: usize, keys: std::ops::Range<u64>) -> Vec<u64> {
        let now_ms = self.true_ms();
        let Some(running) = &mut self.nodes[node].running else { return Vec::new() };
        let view = running.store.committer().view();
        let is_found =
            |number: &u64| matches!(view.get(namespace(), &key(*number), now_ms), Ok(Some(_)));
        keys.filter(is_found).collect()
    }

    pub(super) fn put_one(
        &mut self,
        node: usize,
        (namespace, key): (NamespaceId, Key),
        bytes: usize,
    ) -> Checked<Vec<Operation>> {
        let value = vec![u8::try_from(self.rng.below(256)).unwrap_or(0); bytes];
        let Some(running) = &mut self.nodes[node].running else { return Ok(Vec::new()) };
        let mut upload = store::upload(&mut running.store);
        let mut operations = upload.push(&value).during("uploading a value")?;
        let (last, body) = upload.finish();
        operations.extend(last);
        operations.push(Operation::Put { namespace, key, body, attributes: Attributes::default() });
        Ok(operations)
    }

    /// Puts a short value with attributes, and syncs at once.
    ///
    /// # Errors
    /// The violation.
    pub fn put_with(&mut self, node: usize, number: u64, attributes: Attributes) -> Checked {
        let mut operations = self.put_one(node, (namespace(), key(number)), 10)?;
        if let Some(Operation::Put { attributes: given, .. }) = operations.last_mut() {
            *given = attributes;
        }
        self.write(node, operations)?;
        self.sync(node)
    }

    /// Sets the expiry grace of a location, until it is restarted.
    pub fn set_grace(&mut self, node: usize, ms: u64) {
        if let Some(running) = &mut self.nodes[node].running {
            running.store.config().expiry_grace = std::time::Duration::from_millis(ms);
        }
    }

    /// Whether the value of a key was freed at a location.
    pub fn is_freed(&mut self, node: usize, number: u64) -> bool {
        self.state(node, number) == Some(FoundState::ExpiredTombstone)
    }

    /// The true time, in Unix seconds.
    #[must_use]
    pub fn true_seconds(&self) -> u64 {
        self.true_ms() / 1000
    }

    /// How far the time of a key's version is from the true one, in milliseconds.
    pub fn off_by(&mut self, node: usize, number: u64) -> u64 {
        let true_ms = self.true_ms();
        let Some(running) = self.nodes[node].running.as_mut() else { return 0 };
        let found = running.store.committer().view().row(namespace(), &key(number));
        found.ok().flatten().map_or(u64::MAX, |found| found.version.hlc.millis().abs_diff(true_ms))
    }

    /// The version of a key at a location; none if it has no row that can be read.
    pub fn version(&mut self, node: usize, number: u64) -> Option<kv_core::Version> {
        let running = self.nodes[node].running.as_mut()?;
        let found = running.store.committer().view().row(namespace(), &key(number));
        found.ok().flatten().map(|found| found.version)
    }

    /// Whether a location has no row of a key, damaged or not.
    pub fn has_no_row(&mut self, node: usize, number: u64) -> bool {
        let Some(running) = &mut self.nodes[node].running else { return false };
        let found = running.store.committer().view().row(namespace(), &key(number));
        matches!(found, Ok(None))
    }

    /// Reads every entry of a location, so that it meets what is damaged.
    pub fn look(&mut self, node: usize) {
        self.read_all(node);
    }

    /// Deletes a key, and syncs at once.
    ///
    /// # Errors
    /// The violation.
    pub fn delete(&mut self, node: usize, number: u64) -> Checked {
        self.write(node, vec![Operation::Delete { namespace: namespace(), key: key(number) }])?;
        self.sync(node)
    }

    /// Whether a key has a visible value at a location.
    pub fn has(&mut self, node: usize, number: u64) -> bool {
        let state = self.state(node, number);
        state.is_some_and(|state| state != FoundState::Tombstone)
    }

    /// Whether a location has the tombstone of a key.
    pub fn is_deleted(&mut self, node: usize, number: u64) -> bool {
        self.state(node, number) == Some(FoundState::Tombstone)
    }

    fn state(&mut self, node: usize, number: u64) -> Option<FoundState> {
        let running = self.nodes[node].running.as_mut()?;
        let found = running.store.committer().view().row(namespace(), &key(number));
        found.ok()?.map(|found| found.state)
    }

    /// Cuts the link between two locations. Their ends notice it or not.
    ///
    /// # Errors
    /// The violation.
    pub fn cut(&mut self, one: usize, other: usize, is_noticed: bool) -> Checked {
        for (from, to) in [(one, other), (other, one)] {
            self.network.cut.insert((from, to));
            if is_noticed {
                self.miss(from, to)?;
            }
        }
        Ok(())
    }

    /// Reverts [`World::cut`].
    ///
    /// # Errors
    /// The violation.
    pub fn uncut(&mut self, one: usize, other: usize) -> Checked {
        for (from, to) in [(one, other), (other, one)] {
            self.network.cut.remove(&(from, to));
        }
        self.connect(one, other)?;
        self.connect(other, one)
    }

    /// Gives a location a new link to another one, which need not notice it.
    ///
    /// # Errors
    /// The violation.
    pub fn connect(&mut self, from: usize, to: usize) -> Checked {
        self.meet(from, to)
    }

    /// Syncs a location's store.
    ///
    /// # Errors
    /// The violation.
    pub fn sync_now(&mut self, node: usize) -> Checked {
        self.sync(node)
    }

    /// Cuts a location's power.
    ///
    /// # Errors
    /// The violation.
    pub fn lose_power_now(&mut self, node: usize) -> Checked {
        let keep = Keep::random(&mut self.rng);
        self.nodes[node].disk.power_loss(keep);
        self.crash(node)
    }

    /// Tries a sync that fails before it reaches the disk. The store loses what was not durable,
    /// and the location continues.
    ///
    /// # Errors
    /// The violation.
    pub fn fail_sync(&mut self, node: usize) -> Checked {
        let fault = DiskFault::Fail { keep: Keep::Nothing, evict: true };
        self.nodes[node].disk.arm(Armed { on: Some(Call::Write), after: 0, fault });
        self.sync(node)
    }

    /// Lets a location's store work again, and does at once what was requested meanwhile.
    ///
    /// # Errors
    /// The violation.
    pub fn unbusy(&mut self, node: usize) -> Checked {
        self.nodes[node].is_busy = false;
        self.pump(node)
    }

    /// Restarts a location from the older image of its disk that [`World::keep_old`] kept.
    ///
    /// # Errors
    /// The violation.
    pub fn restore_old(&mut self, node: usize) -> Checked {
        self.restore_now(node, false)
    }

    /// The same, and keeps the present disk for the next [`World::restore_old`].
    ///
    /// # Errors
    /// The violation.
    pub fn swap(&mut self, node: usize) -> Checked {
        self.restore_now(node, true)
    }

    /// Keeps an image of a disk for [`World::restore_old`].
    pub fn keep_old(&mut self, node: usize) {
        self.nodes[node].image = None;
        self.keep_image(node);
    }

    /// Copies the data directory of a location and runs both. Returns the number of the copy.
    ///
    /// # Errors
    /// The violation.
    pub fn double(&mut self, node: usize) -> Checked<usize> {
        self.copy_now(node)
    }

    /// Whether a location's replication has halted.
    #[must_use]
    pub fn has_halted(&self, node: usize) -> bool {
        self.nodes[node].is_gone
    }

    /// Marks a location as one that is about to leave.
    pub fn announce_leaving(&mut self, node: usize) {
        self.is_to_leave(node);
    }

    /// Lets a member report to a location that it was removed, which is a lie.
    ///
    /// # Errors
    /// The violation, for example if the location believes it.
    pub fn lie_to(&mut self, node: usize) -> Checked {
        self.lie(node)
    }

    /// What has happened so far.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.report.events
    }

    /// How often an event has occurred.
    #[must_use]
    pub fn count_of(&self, event: Event) -> u64 {
        self.report.events.get(event)
    }

    /// Damages the row, or the first chunk of the value, of a key at a location, which restarts for that.
    ///
    /// # Errors
    /// The violation.
    pub fn damage_key(&mut self, node: usize, number: u64, place: Place) -> Checked {
        self.damage_name(node, (namespace(), key(number).to_vec()), place)
    }

    /// [`World::damage_key`] for any row.
    ///
    /// # Errors
    /// The violation.
    pub fn damage_name(&mut self, node: usize, name: Name, place: Place) -> Checked {
        self.damage_now(node, name, place)
    }

    /// Whether a location knows that it lacks the row of a key.
    pub fn owes(&mut self, node: usize, number: u64) -> bool {
        let Some(running) = &mut self.nodes[node].running else { return false };
        let view = running.store.committer().view();
        view.owed().get(namespace(), &key(number)).is_some()
    }

    /// Whether the removal of a member is visible at a location.
    pub fn sees_removed(&mut self, node: usize, other: usize) -> bool {
        let id = self.nodes[other].member;
        let Some(running) = &mut self.nodes[node].running else { return false };
        let view = running.store.committer().view();
        view.members().get(id).is_some_and(|member| member.removed)
    }

    /// The number of rows that a core has passed to its store and that are not applied.
    #[must_use]
    pub fn open_rows(&self, node: usize) -> usize {
        let rows = |work: &Work| match work {
            Work::Apply { rows, .. } => rows.len(),
            _ => 0,
        };
        let running = self.nodes[node].running.as_ref();
        running.map_or(0, |running| running.queue.iter().map(rows).sum())
    }

    /// The number of pieces of bodies that one location has sent to another.
    #[must_use]
    pub fn sent_pieces(&self, from: usize, to: usize) -> u64 {
        self.network.sent.get(&((from, to), Channel::Body)).copied().unwrap_or(0)
    }

    /// How often an event has occurred.
    #[must_use]
    pub fn happened(&self, event: Event) -> u64 {
        self.report.events.get(event)
    }

    /// Adds a new location that no member knows. Returns its number.
    ///
    /// # Errors
    /// The violation.
    pub fn come_new(&mut self) -> Checked<usize> {
        self.come()
    }

    /// Makes a location a member through another one, and syncs at once.
    ///
    /// # Errors
    /// The violation.
    pub fn admit(&mut self, node: usize, by: usize) -> Checked {
        let operations = self.put_member(node).into_iter().collect();
        self.write(by, operations)?;
        self.sync(by)
    }

    /// Loses a location for good, without informing any other.
    ///
    /// # Errors
    /// The violation.
    pub fn lose_for_good(&mut self, node: usize) -> Checked {
        self.vanish(node)
    }

    /// Removes a location from the members through another one, and syncs at once.
    ///
    /// # Errors
    /// The violation.
    pub fn expel(&mut self, node: usize, by: usize) -> Checked {
        self.write(by, vec![Operation::RemoveMember { id: member(node) }])?;
        self.sync(by)
    }

    /// Whether a location durably has another one as a member.
    #[must_use]
    pub fn has_member(&self, node: usize, other: usize) -> bool {
        self.knows(node, member(other))
    }

    /// The number of events that were scheduled: messages, timers, work.
    #[must_use]
    pub fn happenings(&self) -> u64 {
        self.number
    }

    /// The number of sessions in progress.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        let cores = self.nodes.iter().filter_map(|node| node.running.as_ref());
        cores.map(|running| running.core.sessions().0).sum()
    }

    /// The number of sessions that completed.
    #[must_use]
    pub fn ended_sessions(&self) -> u64 {
        self.report.events.get(Event::SessionDone) + self.report.events.get(Event::SessionLost)
    }

    /// Ends a scenario: checks each location, and that all become equal.
    ///
    /// # Errors
    /// The violation.
    pub fn finish(mut self) -> Checked {
        for node in 0..self.nodes.len() {
            self.nodes[node].is_stuck = false;
            self.sync(node)?;
            self.check(node)?;
        }
        self.heal()
    }
}
