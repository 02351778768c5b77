//! Members that come and go, one after the other, in the place of the last location of a mesh.

use std::time::Duration;

use kv_core::{MemberId, Operation, engine::disk::memory};
use kv_replicate::Now;

use super::{Happening, Mesh, open};
use crate::{node::START_MS, store};

/// How long a member may take to join, or what remains of it to be everywhere, in virtual milliseconds.
const PATIENCE_MS: u64 = 60_000;

/// What a member costs from its admission until it has joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Virtual milliseconds.
    pub ms: u64,
    /// The messages that were sent between all locations.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Mesh {
    /// Removes the member in the last place, and lets another one join there, which writes once. Returns what its
    /// joining cost.
    ///
    /// # Panics
    /// If it takes too long.
    pub fn turn_over(&mut self, number: u64) -> Cost {
        let place = self.places.len() - 1;
        self.leave(place);
        let mut id = [0xee; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        self.at.remove(&self.places[place].id);
        self.places[place] = self.opened(place, MemberId(id));
        self.at.insert(MemberId(id), place);
        let (before, start) = (self.traffic, self.now);
        let (id, name) = (MemberId(id), format!("member {number}"));
        self.write(0, vec![Operation::PutMember { id, name, addresses: Vec::new() }]);
        for other in 0..place {
            self.meet(place, other);
            self.meet(other, place);
        }
        self.run_until("it joins", |mesh| mesh.places[place].core.is_joined());
        let (messages, bytes) = self.traffic.since(&before).all();
        let cost = Cost { ms: self.now - start, messages, bytes };
        self.put(place, format!("key {}", number % 100), b"a value");
        self.run_until_equal();
        cost
    }

    /// The member in a place is removed, and is gone.
    fn leave(&mut self, place: usize) {
        let id = self.places[place].id;
        for other in 0..place {
            self.part(other, place);
        }
        self.due.retain(|_, what| match what {
            Happening::Message(sent) => sent.from != place && sent.to != place,
            Happening::Timer(of) | Happening::Sync(of) => *of != place,
        });
        self.write(0, vec![Operation::RemoveMember { id }]);
        self.run_until("what remains of it is everywhere", |mesh| {
            let mut stay = mesh.places[..place].iter();
            stay.all(|of| {
                let members = &store::state(&of.store).members;
                of.core.is_settled() && members.get(id).is_some_and(|member| member.removed)
            })
        });
    }

    /// A new location in a place, at the present time.
    fn opened(&self, place: usize, id: MemberId) -> super::Place {
        let mut opened = open(&self.settings, place, id, memory());
        let now = Now { mono: Duration::from_millis(self.now), wall_ms: START_MS + self.now };
        opened.core.handle_timeout(now);
        opened
    }

    fn run_until(&mut self, what: &str, is_so: impl Fn(&Mesh) -> bool) {
        let end = self.now + PATIENCE_MS;
        while !is_so(self) {
            assert!(self.now < end, "it takes too long until {what}");
            self.step();
        }
    }
}
