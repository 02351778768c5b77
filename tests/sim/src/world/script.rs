//! What a scenario does by hand, where a run leaves it to chance.

use bytes::Bytes;
use kv_core::{Attributes, NamespaceId, Operation, derive_id, view::FoundState};
use kv_replicate::Event as CoreEvent;
use waypost_disk_tests::{
    disk::{Armed, Call, Fault as DiskFault, Keep},
    hold,
    violation::{Checked, During},
};

use super::World;
use crate::{events::Event, node::member};

/// How long new locations have to come to rest.
const REST_WITHIN_MS: u64 = 120_000;

/// In so long every location has said all that it has, twice.
const ALL_SAID_MS: u64 = 7_000;

fn namespace() -> NamespaceId {
    derive_id("", "one", 0)
}

fn key(number: u64) -> Bytes {
    Bytes::from(format!("key {number}"))
}

impl World {
    /// Lets time pass until all have the same and nothing is under way.
    ///
    /// # Errors
    /// What was found wrong.
    pub fn rest(&mut self) -> Checked {
        let is_over = |world: &mut World| world.is_equal() && world.open_sessions() == 0;
        hold!(self.run_until(REST_WITHIN_MS, is_over)?, "the locations do not come to rest");
        self.pass(ALL_SAID_MS)
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// What was found wrong.
    pub fn pass(&mut self, ms: u64) -> Checked {
        self.run_for(ms)
    }

    /// Lets time pass until something is so; false if it was not within so many milliseconds.
    ///
    /// # Errors
    /// What was found wrong.
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

    /// Puts keys, each with a value of so many bytes, and syncs at once.
    ///
    /// # Errors
    /// What was found wrong.
    pub fn put(
        &mut self,
        node: usize,
        keys: impl IntoIterator<Item = u64>,
        bytes: usize,
    ) -> Checked {
        let mut operations = Vec::new();
        for number in keys {
            let value = vec![u8::try_from(self.rng.below(256)).unwrap_or(0); bytes];
            let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
            let mut upload = running.storage.committer().upload();
            operations.extend(upload.push(&value).during("a value")?);
            let (last, body) = upload.finish();
            operations.extend(last);
            let (namespace, key, attributes) = (namespace(), key(number), Attributes::default());
            operations.push(Operation::Put { namespace, key, body, attributes });
        }
        self.write(node, operations)?;
        self.sync(node)
    }

    /// Deletes a key, and syncs at once.
    ///
    /// # Errors
    /// What was found wrong.
    pub fn delete(&mut self, node: usize, number: u64) -> Checked {
        self.write(node, vec![Operation::Delete { namespace: namespace(), key: key(number) }])?;
        self.sync(node)
    }

    /// Whether a value of a key is visible at a location.
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
        let found = running.storage.committer().view().row(namespace(), &key(number));
        found.ok()?.map(|found| found.state)
    }

    /// Cuts two locations from each other. The links know of it, or they do not.
    ///
    /// # Errors
    /// What was found wrong.
    pub fn cut(&mut self, one: usize, other: usize, is_noticed: bool) -> Checked {
        for (from, to) in [(one, other), (other, one)] {
            self.network.cut.insert((from, to));
            if is_noticed {
                self.tell(from, CoreEvent::Disconnected(member(to)))?;
            }
        }
        Ok(())
    }

    /// Mends what [`World::cut`] did.
    ///
    /// # Errors
    /// What was found wrong.
    pub fn uncut(&mut self, one: usize, other: usize) -> Checked {
        for (from, to) in [(one, other), (other, one)] {
            self.network.cut.remove(&(from, to));
        }
        self.connect(one, other)?;
        self.connect(other, one)
    }

    /// A location has a new link to another, which need not know of it.
    ///
    /// # Errors
    /// What was found wrong.
    pub fn connect(&mut self, from: usize, to: usize) -> Checked {
        self.tell(from, CoreEvent::Connected(member(to)))
    }

    /// A location syncs now.
    ///
    /// # Errors
    /// What was found wrong.
    pub fn sync_now(&mut self, node: usize) -> Checked {
        self.sync(node)
    }

    /// A location loses its power now.
    ///
    /// # Errors
    /// What was found wrong.
    pub fn lose_power_now(&mut self, node: usize) -> Checked {
        let keep = Keep::random(&mut self.rng);
        self.nodes[node].disk.power_loss(keep);
        self.crash(node)
    }

    /// A sync is tried and does not come so far as to sync: what was not durable is forgotten, and the
    /// location goes on.
    ///
    /// # Errors
    /// What was found wrong.
    pub fn fail_sync(&mut self, node: usize) -> Checked {
        let fault = DiskFault::Fail { keep: Keep::Nothing, evict: true };
        self.nodes[node].disk.arm(Armed { on: Some(Call::Write), after: 0, fault });
        self.sync(node)
    }

    /// A new location comes, which nobody has as a member yet; which it is.
    ///
    /// # Errors
    /// What was found wrong.
    pub fn come_new(&mut self) -> Checked<usize> {
        self.come()
    }

    /// One location makes another a member, and syncs at once.
    ///
    /// # Errors
    /// What was found wrong.
    pub fn admit(&mut self, node: usize, by: usize) -> Checked {
        let operations = self.put_member(node).into_iter().collect();
        self.write(by, operations)?;
        self.sync(by)
    }

    /// A location is lost for good. Nobody is told.
    ///
    /// # Errors
    /// What was found wrong.
    pub fn lose_for_good(&mut self, node: usize) -> Checked {
        self.vanish(node)
    }

    /// One location removes another from the members, and syncs at once.
    ///
    /// # Errors
    /// What was found wrong.
    pub fn expel(&mut self, node: usize, by: usize) -> Checked {
        self.write(by, vec![Operation::RemoveMember { id: member(node) }])?;
        self.sync(by)
    }

    /// Whether one location has another as a member, durably.
    #[must_use]
    pub fn has_member(&self, node: usize, other: usize) -> bool {
        self.knows(node, member(other))
    }

    /// How many sessions are being received now.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        let cores = self.nodes.iter().filter_map(|node| node.running.as_ref());
        cores.map(|running| running.core.sessions().0).sum()
    }

    /// How many sessions came to an end so far.
    #[must_use]
    pub fn ended_sessions(&self) -> u64 {
        self.report.events.get(Event::SessionDone) + self.report.events.get(Event::SessionLost)
    }

    /// The end of a scenario: what each location has is true, and all become equal.
    ///
    /// # Errors
    /// What was found wrong.
    pub fn finish(mut self) -> Checked {
        for node in 0..self.nodes.len() {
            self.nodes[node].is_stuck = false;
            self.sync(node)?;
            self.check(node)?;
        }
        self.heal()
    }
}
