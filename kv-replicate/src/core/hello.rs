//! Who the others are, and what they have.

use std::time::Duration;

use kv_core::Dot;

use super::{Core, ROLLED_BACK};
use crate::{
    CLOSED, MemberId,
    link::Link,
    wire::{Hello, Incarnations, Progress, WIRE_VERSION},
};

/// How often a hello is said until it is known to have come.
const HELLO_EVERY: Duration = Duration::from_secs(1);

/// How often heads are sent where nothing changes, and how often at most where much does.
const PROGRESS_IDLE: Duration = Duration::from_secs(3);
const PROGRESS_BUSY: Duration = Duration::from_millis(20);

impl Core {
    pub(super) fn hello(&mut self, from: MemberId, incarnations: Incarnations, hello: Hello) {
        if let Err(reason) = self.check_hello(from, incarnations, &hello) {
            return self.close(from, reason);
        }
        if !self.is_answered(from) {
            // It says hello again as long as ours does not name its start, and may be a member by then.
            return self.send_removed_to(from, incarnations);
        }
        let is_double = hello.origins.iter().any(|origin| self.config.origins.contains(origin));
        let is_double = is_double || hello.member == self.config.member;
        if is_double {
            return self.halt(
                "another store has this store's identity: one is a copy, and must be emptied",
            );
        }
        if self.counts_more_of_us(&hello.received) {
            return self.halt(ROLLED_BACK);
        }
        let Some(link) = self.links.get(&from) else { return };
        if link.incarnation != incarnations.from {
            let renewed = link.renewed(incarnations.from);
            self.disconnect(from);
            self.links.insert(from, renewed);
        }
        let ours = self.config.origins.map(|origin| hello.received.get(origin));
        let incarnation = self.config.incarnation;
        let Some(link) = self.links.get_mut(&from) else { return };
        let is_first = link.hello.is_none();
        link.progress.received.merge(&hello.received);
        link.hello = Some(hello);
        link.is_news = true;
        link.is_known |= incarnations.to == incarnation;
        // It asks for an answer as long as it does not know us.
        link.send_hello |= incarnations.to != incarnation;
        if is_first {
            self.want(from, ours);
        }
    }

    /// Sends a peer our writes from behind what it said to have, as if it had asked: what it asked while
    /// this location had not joined was not heard.
    pub(super) fn begin_live(&mut self, peer: MemberId) {
        let Some(link) = self.links.get(&peer).filter(|link| link.hello.is_some()) else { return };
        let has = self.config.origins.map(|origin| link.progress.received.get(origin));
        self.want(peer, has);
    }

    pub(super) fn send_removed_to(&mut self, peer: MemberId, incarnations: Incarnations) {
        if self.has_left(peer)
            && let Some(link) = self.links.get_mut(&peer)
        {
            link.incarnation = incarnations.from;
            link.send_removed = true;
        }
    }

    fn check_hello(
        &self,
        from: MemberId,
        incarnations: Incarnations,
        hello: &Hello,
    ) -> Result<(), &'static str> {
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
        if hello.member != from || incarnations.from == 0 {
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

    pub(super) fn progress(&mut self, from: MemberId, progress: Progress) {
        if self.counts_more_of_us(&progress.received) {
            return self.halt(ROLLED_BACK);
        }
        let Some(link) = self.links.get_mut(&from) else { return };
        if progress.number <= link.progress.number {
            return;
        }
        let origins = link.hello.as_ref().map(|hello| hello.origins);
        link.progress = progress.clone();
        let Some(origins) = origins else { return };
        let promised = origins.map(|origin| Dot { origin, seq: progress.durable.get(origin) });
        self.note_closed_timestamp(
            from,
            (progress.closed_timestamp, promised),
            progress.resolved,
            progress.held,
        );
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

    pub(super) fn our_progress(&mut self, peer: MemberId) -> Progress {
        let (closed_timestamp, resolved, held) =
            (self.store.closed_timestamp, self.resolved(), self.held());
        let number = self.next_id();
        if let Some(link) = self.links.get_mut(&peer) {
            link.send_progress = false;
            link.is_news = false;
            link.progress_at = self.now.mono;
        }
        let durable = self.store.durable.clone();
        let mut received = self.store.visible.clone();
        // After a failure of the disk.
        received.merge(&durable);
        let members = self.digest.said;
        Progress { number, durable, received, closed_timestamp, resolved, held, members }
    }

    /// Hellos and heads that are due.
    pub(super) fn greet(&mut self) {
        let now = self.now.mono;
        for link in self.links.values_mut() {
            if !link.is_known && now >= link.hello_at + HELLO_EVERY {
                link.send_hello = true;
            }
            let wait = if link.is_news { PROGRESS_BUSY } else { PROGRESS_IDLE };
            if link.hello.is_some() && now >= link.progress_at + wait {
                link.send_progress = true;
            }
        }
    }

    pub(super) fn link_timeout(&self, link: &Link) -> Option<Duration> {
        let hello = (!link.is_known && !link.send_hello).then_some(link.hello_at + HELLO_EVERY);
        let wait = if link.is_news { PROGRESS_BUSY } else { PROGRESS_IDLE };
        let progress =
            (link.hello.is_some() && !link.send_progress).then_some(link.progress_at + wait);
        let parked = link.parked_until.map(|until| {
            self.now.mono + Duration::from_millis(until.saturating_sub(self.now.wall_ms).max(1))
        });
        let session = link.session.as_ref().and_then(super::pull::timeout);
        let serving = link.serving.as_ref().map(super::serve::timeout);
        [hello, progress, parked, session, serving].into_iter().flatten().min()
    }
}
