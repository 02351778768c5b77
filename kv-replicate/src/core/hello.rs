//! Who the others are, and what they have.

use std::time::Duration;

use kv_core::Dot;

use super::{Core, WENT_BACK};
use crate::{
    CLOSED, MemberId,
    link::Link,
    wire::{Boots, Heads, Hello, WIRE_VERSION},
};

/// How often a hello is said until it is known to have come.
const HELLO_EVERY: Duration = Duration::from_secs(1);

/// How often heads are sent where nothing changes, and how often at most where much does.
const HEADS_IDLE: Duration = Duration::from_secs(3);
const HEADS_BUSY: Duration = Duration::from_millis(20);

impl Core {
    pub(super) fn hello(&mut self, from: MemberId, boots: Boots, hello: Hello) {
        if let Err(reason) = self.check_hello(from, boots, &hello) {
            return self.close(from, reason);
        }
        if !self.is_answered(from) {
            // It says hello again as long as ours does not name its start, and may be a member by then.
            return self.tell_removed(from, boots);
        }
        let is_double = hello.origins.iter().any(|origin| self.config.origins.contains(origin));
        let is_double = is_double || hello.member == self.config.member;
        if is_double {
            return self.halt(
                "another store has this store's identity: one is a copy, and must be emptied",
            );
        }
        if self.counts_more_of_us(&hello.received) {
            return self.halt(WENT_BACK);
        }
        let Some(link) = self.links.get(&from) else { return };
        if link.boot != boots.from {
            let renewed = link.renewed(boots.from);
            self.disconnect(from);
            self.links.insert(from, renewed);
        }
        let ours = self.config.origins.map(|origin| hello.received.get(origin));
        let boot = self.config.boot;
        let Some(link) = self.links.get_mut(&from) else { return };
        let is_first = link.hello.is_none();
        link.heads.received.merge(&hello.received);
        link.hello = Some(hello);
        link.is_news = true;
        link.is_known |= boots.to == boot;
        // It asks for an answer as long as it does not know us.
        link.say_hello |= boots.to != boot;
        if is_first {
            self.want(from, ours);
        }
    }

    /// Sends a peer our writes from behind what it said to have, as if it had asked: what it asked while
    /// this location had not joined was not heard.
    pub(super) fn begin_live(&mut self, peer: MemberId) {
        let Some(link) = self.links.get(&peer).filter(|link| link.hello.is_some()) else { return };
        let has = self.config.origins.map(|origin| link.heads.received.get(origin));
        self.want(peer, has);
    }

    pub(super) fn tell_removed(&mut self, peer: MemberId, boots: Boots) {
        if self.has_left(peer)
            && let Some(link) = self.links.get_mut(&peer)
        {
            link.boot = boots.from;
            link.say_removed = true;
        }
    }

    fn check_hello(&self, from: MemberId, boots: Boots, hello: &Hello) -> Result<(), &'static str> {
        if !(hello.versions.0..=hello.versions.1).contains(&WIRE_VERSION) {
            return Err("it speaks no version of the protocol that this program speaks");
        }
        if hello.cluster != self.config.cluster {
            return Err("it is of another cluster");
        }
        let known = self.store.members.get(from).filter(|_| self.is_joined());
        if known.is_some_and(|member| member.origins != hello.origins) {
            return Err(
                "its store is another than the one that joined: remove it, and let it join anew",
            );
        }
        if hello.member != from || boots.from == 0 {
            return Err("it is not who it proved to be");
        }
        let others = self.links.iter().filter(|(peer, _)| **peer != from);
        let taken = others.filter_map(|(_, link)| link.hello.as_ref());
        if taken.flat_map(|other| other.origins).any(|origin| hello.origins.contains(&origin)) {
            return Err("two members write under one identity: one is a copy");
        }
        Ok(())
    }

    /// Whether a peer counts writes of this store that it did not make.
    pub(super) fn counts_more_of_us(&self, vector: &kv_core::VersionVector) -> bool {
        // Who counts us as closed has us removed, and says so in other words.
        let is_ahead = |seq, origin| seq > self.store.visible.get(origin) && seq < CLOSED;
        let mut own = self.config.origins.iter();
        own.any(|origin| is_ahead(vector.get(*origin), *origin))
    }

    pub(super) fn heads(&mut self, from: MemberId, heads: Heads) {
        if self.counts_more_of_us(&heads.received) {
            return self.halt(WENT_BACK);
        }
        let Some(link) = self.links.get_mut(&from) else { return };
        if heads.number <= link.heads.number {
            return;
        }
        let origins = link.hello.as_ref().map(|hello| hello.origins);
        link.heads = heads.clone();
        let Some(origins) = origins else { return };
        let promised = origins.map(|origin| Dot { origin, seq: heads.durable.get(origin) });
        self.note_promise(from, (heads.promise, promised), heads.complete, heads.held);
    }

    pub(super) fn our_hello(&self) -> Hello {
        Hello {
            versions: (WIRE_VERSION, WIRE_VERSION),
            features: 0,
            cluster: self.config.cluster,
            member: self.config.member,
            origins: self.config.origins,
            received: self.store.durable.clone(),
        }
    }

    pub(super) fn our_heads(&mut self, peer: MemberId) -> Heads {
        let (promise, complete, held) = (self.store.promise, self.complete(), self.held());
        let number = self.next_id();
        if let Some(link) = self.links.get_mut(&peer) {
            link.say_heads = false;
            link.is_news = false;
            link.heads_at = self.now.mono;
        }
        let durable = self.store.durable.clone();
        let mut received = self.store.visible.clone();
        // After a failure of the disk.
        received.merge(&durable);
        let members = self.digest.said;
        Heads { number, durable, received, promise, complete, held, members }
    }

    /// Hellos and heads that are due.
    pub(super) fn greet(&mut self) {
        let now = self.now.mono;
        for link in self.links.values_mut() {
            if !link.is_known && now >= link.hello_at + HELLO_EVERY {
                link.say_hello = true;
            }
            let wait = if link.is_news { HEADS_BUSY } else { HEADS_IDLE };
            if link.hello.is_some() && now >= link.heads_at + wait {
                link.say_heads = true;
            }
        }
    }

    pub(super) fn link_timeout(&self, link: &Link) -> Option<Duration> {
        let hello = (!link.is_known && !link.say_hello).then_some(link.hello_at + HELLO_EVERY);
        let wait = if link.is_news { HEADS_BUSY } else { HEADS_IDLE };
        let heads = (link.hello.is_some() && !link.say_heads).then_some(link.heads_at + wait);
        let parked = link.parked_until.map(|until| {
            self.now.mono + Duration::from_millis(until.saturating_sub(self.now.wall_ms).max(1))
        });
        let session = link.session.as_ref().and_then(super::pull::timeout);
        let serving = link.serving.as_ref().map(super::serve::timeout);
        [hello, heads, parked, session, serving].into_iter().flatten().min()
    }
}
