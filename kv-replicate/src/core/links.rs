//! Links and the store's state: how they begin, change and end, for all machines together.

use std::{borrow::Cow, sync::Arc};

use kv_core::VersionVector;

use super::{Core, actions::Keep, handshake::Handshake, peers::Peer, progress::BUSY};
use crate::{HaltReason, MemberId, notice::Notice, work::StoreState};

impl Core {
    /// A link to a peer is up.
    pub(super) fn connect(&mut self, peer: MemberId) {
        self.relink(peer, Handshake::begin(), Keep::StoreWork);
    }

    /// A peer sent a hello with this incarnation. If it was restarted, its link begins again.
    pub(super) fn meet(&mut self, peer: MemberId, incarnation: u64) {
        let Some(state) = self.peers.get(peer) else { return };
        if state.handshake.incarnation() != incarnation {
            self.relink(peer, Handshake::wait(), Keep::StoreWork);
        }
    }

    /// Replaces the state of a link by that of a new one.
    fn relink(&mut self, peer: MemberId, handshake: Handshake, keep: Keep) {
        self.unlink(peer, keep);
        self.peers.insert(peer, Peer::new(handshake));
        self.out.wake(peer);
        self.out.connect(peer);
    }

    /// A link is down.
    pub(super) fn disconnect(&mut self, peer: MemberId) {
        self.unlink(peer, Keep::Nothing);
    }

    /// Ends a link for all machines: its session is suspended, its verification ends, its fetches are lost.
    fn unlink(&mut self, peer: MemberId, keep: Keep) {
        let (machines, mut cx) = self.split();
        machines.disconnecting(&mut cx, peer);
        machines.disconnected(peer, keep);
        self.machines.usage.disconnect(&mut self.out, peer);
        self.out.disconnect(peer, keep);
        self.peers.remove(peer);
        for fetch in self.machines.fetcher.of_peer(peer) {
            self.lose_fetch(fetch);
        }
    }

    /// Closes the link to a peer that violated the protocol.
    pub(super) fn close(&mut self, peer: MemberId, reason: impl Into<Cow<'static, str>>) {
        let reason = reason.into();
        self.disconnect(peer);
        self.out.notice(Notice::Close { peer, reason });
    }

    /// Stops replicating for good.
    pub(super) fn halt(&mut self, reason: HaltReason) {
        self.halted = Some(reason);
        self.out.clear();
        for peer in self.peers.ids() {
            let (machines, mut cx) = self.split();
            machines.verifier.disconnect(&mut cx, peer);
            machines.unpin(&mut cx, peer);
            machines.disconnected(peer, Keep::Nothing);
            machines.usage.disconnect(cx.out, peer);
        }
        self.peers.clear();
        self.out.notice(Notice::Halted(reason));
    }

    /// The store is in another state.
    pub(super) fn set_store(&mut self, state: StoreState) {
        if state == *self.local.store() {
            return;
        }
        let was_joined = self.local.is_joined();
        let before = self.local.replace_store(state);
        if before.members != self.local.store().members {
            self.follow_members();
        }
        if self.halted.is_some() {
            return;
        }
        self.follow_counts(&before);
        self.follow_origins(&before);
        let is_wanted_new = !Arc::ptr_eq(&before.wanted, &self.local.store().wanted);
        let has_joined = !was_joined && self.local.is_joined();
        let (machines, mut cx) = self.split();
        if is_wanted_new || has_joined {
            machines.rows.follow(&cx);
        }
        machines.rebuild.follow(&mut cx);
        if !was_joined && self.local.is_joined() {
            self.joined();
        }
        self.announce();
        if before.rebuilding != self.local.is_rebuilding() {
            self.peers.iter_mut().for_each(|(_, peer)| peer.announcing.urgent());
        }
        if self.machines.stability.follow_writes(&self.local) {
            self.machines.uncounted.disturb();
        }
    }

    /// The counts of the store have changed: the writers of what has changed are notified at once.
    fn follow_counts(&mut self, before: &StoreState) {
        let counts = &mut self.machines.counts;
        let changes = counts.follow(&before.durable, self.local.durable());
        let has_moved = counts.follow_pair(self.local.origins());
        if has_moved {
            // Peers take no writes of origins that were not announced to them.
            self.peers.iter_mut().for_each(|(_, peer)| peer.announcing.due());
        }
        if has_moved || changes.iter().any(|dot| dot.seq < before.durable.get(dot.origin)) {
            self.machines.lag.note_all();
        }
        if self.local.pace() <= BUSY {
            // Progress itself is sent as soon.
            return;
        }
        for origin in changes.into_iter().map(|dot| dot.origin) {
            if let Some(writer) = self.peers.writer_of(self.local.registry(), origin)
                && let Some(peer) = self.peers.get_mut(writer)
            {
                peer.receipts.changed();
            }
        }
    }

    /// A sync of the store is done.
    pub(super) fn synced(&mut self) {
        let (machines, mut cx) = self.split();
        machines.uncounted.synced(&mut cx, machines.stability.ended());
    }

    /// The store knows other origins, or this process writes under others.
    fn follow_origins(&mut self, before: &StoreState) {
        let after = self.local.store();
        let has_changed = (&before.registry, before.origins) != (&after.registry, after.origins);
        // The counts of ended origins may have changed too.
        let stability = &mut self.machines.stability;
        if stability.follow_counts(&self.local, before) || has_changed {
            if let Some(former) = before.origins.filter(|_| before.origins != after.origins) {
                stability.end_own(former, before.closed_timestamp);
            }
            if stability.follow_origins(&self.local) {
                self.machines.uncounted.disturb();
            }
        }
        let (machines, mut cx) = self.split();
        if machines.sender.follow_origins(&mut cx) {
            self.wake_all();
        }
    }

    /// A peer has dropped tombstones, some of which this store lacks.
    pub(super) fn begin_rebuild(&mut self, peer: MemberId, collected: VersionVector) {
        if !self.local.is_joined() {
            return;
        }
        let (machines, mut cx) = self.split();
        if !machines.rebuild.begin(&mut cx, peer, collected) {
            return;
        }
        machines.stability.forget_reached();
        machines.sessions.end_all(cx.out);
        // The vector may fall, and with it what other sessions have walked.
        for peer in cx.peers.ids() {
            machines.puller.end(&mut cx, &mut machines.fetcher, peer);
        }
        machines.puller.rolled_back();
    }

    /// The store has lost what was not durable: nothing that was under way counts.
    pub(super) fn rolled_back(&mut self, state: StoreState) {
        self.out.begin_epoch();
        self.set_store(state);
        for peer in self.peers.ids() {
            let (machines, mut cx) = self.split();
            machines.puller.end(&mut cx, &mut machines.fetcher, peer);
        }
        self.out.forget_rows();
        let (machines, cx) = self.split();
        machines.rows.rolled_back(&cx);
        for fetch in self.machines.fetcher.all() {
            self.lose_fetch(fetch);
        }
        self.machines.puller.rolled_back();
        self.machines.lag.note_all();
        self.machines.receiver.rolled_back();
        self.machines.uncounted.rolled_back();
        self.machines.rebuild.rolled_back(&self.local);
        self.machines.stability.disturb();
    }

    /// This location's progress has changed.
    pub(super) fn announce(&mut self) {
        self.peers.iter_mut().for_each(|(_, peer)| peer.announcing.changed());
    }

    /// The members in the store may have changed.
    pub(super) fn follow_members(&mut self) {
        if self.local.has_left(self.local.config().member) {
            return self.halt(HaltReason::Removed);
        }
        if self.machines.stability.follow_members(&self.local) {
            self.machines.uncounted.disturb();
        }
        for peer in self.peers.ids() {
            if self.local.has_left(peer)
                && let Some(state) = self.peers.get(peer)
            {
                let incarnation = state.handshake.incarnation();
                self.part(peer, Handshake::removed());
                if incarnation != 0 {
                    self.answer_removed(peer, incarnation);
                }
            }
        }
        self.machines.membership.follow(&self.local);
        if self.machines.membership.has_removals() && self.local.is_joined() {
            for peer in self.peers.ids() {
                if !self.local.is_member(peer) && !self.local.has_left(peer) {
                    self.part(peer, Handshake::wait());
                }
            }
        }
    }

    /// Drops everything that a peer's rows were under way for, and begins its link again.
    fn part(&mut self, peer: MemberId, handshake: Handshake) {
        self.relink(peer, handshake, Keep::Nothing);
        self.machines.puller.forget(peer);
    }

    /// This location holds everything that its first source held.
    fn joined(&mut self) {
        self.out.notice(Notice::Joined);
        for peer in self.peers.ids() {
            if !self.local.is_member(peer) {
                self.relink(peer, Handshake::wait(), Keep::Nothing);
                continue;
            }
            let (machines, mut cx) = self.split();
            machines.want(&mut cx, peer);
            // The peer's requests from before this location had joined were not served.
            machines.follow_received(&mut cx, peer);
            self.out.wake(peer);
        }
    }
}
