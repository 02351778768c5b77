//! The state of the replica and of its peers, for the owner.

use std::sync::Arc;

use kv_core::{MemberId, VersionVector};

use super::Driver;
use crate::quic::{
    attempts::{Attempts, LASTING},
    socket::canonical,
    status::{MAX_AWAITED, Peer, Status},
};

impl Driver {
    /// Notes from which peers messages have arrived since the last time, and whether something may be missing of processes
    /// that have ended.
    pub(super) fn listen(&mut self) {
        let now = self.moment();
        self.history.unsettled =
            (!self.core.is_settled()).then(|| self.history.unsettled.unwrap_or(now));
        let before = std::mem::replace(&mut self.history.listened, now);
        let mut changed = Vec::new();
        for (peer, link) in &self.links.up {
            let packets = link.connection.stats().udp_rx.datagrams;
            if let Some(track) = self.history.tracks.get_mut(peer) {
                track.count_packets(packets, before);
                changed.extend(track.changes_silence(now).map(|is_silent| (*peer, is_silent)));
            }
        }
        changed.into_iter().for_each(|(peer, is_silent)| self.log_silence(peer, is_silent));
        self.log_settled();
    }

    /// The state of the replica.
    pub(super) fn status(&mut self) -> Status {
        let mut known = self.wanted();
        known.extend(self.links.up.keys());
        self.history.tracks.retain(|peer, _| known.contains(peer));
        self.history.flaps.retain(|peer, _| known.contains(peer));
        let durable = Arc::new(self.core.durable().clone());
        let peers = known.iter().map(|peer| (*peer, self.peer(*peer, &durable))).collect();
        Status {
            halted: self.core.halted(),
            is_joined: self.core.is_joined(),
            is_settled: self.core.is_settled(),
            unsettled_for: self.history.unsettled.map(|since| since.listened(self.moment())),
            pause: self.history.pauses.last(self.now().mono),
            paused: self.history.pauses.total(),
            is_rebuilding: self.core.is_rebuilding(),
            is_superseded: self.core.is_superseded(),
            clock: self.core.clock_state(),
            stable: self.core.stable_state(),
            rows_taken: self.store.rows_taken,
            core_bytes: self.core.memory_bytes(),
            skipped: self.core.skipped(),
            handshakes: self.network.acceptor.state(),
            awaited: self.core.awaited(MAX_AWAITED),
            peers,
        }
    }

    /// The state of one peer and its link. `durable` is what this location holds.
    fn peer(&mut self, peer: MemberId, durable: &Arc<VersionVector>) -> Peer {
        let now = self.moment();
        let found = self.followed(peer, durable);
        let attempts = self.links.attempts.get(&peer);
        let unstable_for = attempts.and_then(|attempts| attempts.unstable_for(now));
        let Some(link) = self.links.up.get(&peer) else {
            let down_since = attempts.and_then(|attempts| attempts.down_since());
            let down_for = down_since.map(|since| since.ago(now)).unwrap_or_default();
            // A peer that has never sent anything is waited for since the first attempt.
            let silent_for = found.silent_for.or(down_since.map(|since| since.listened(now)));
            return Peer { down_for: Some(down_for), silent_for, unstable_for, ..found };
        };
        let up_for = now.at.saturating_sub(link.since);
        let stats = link.connection.stats();
        Peer {
            is_connected: true,
            up_for: Some(up_for),
            unstable_for: unstable_for.filter(|_| up_for < LASTING),
            address: Some(canonical(link.connection.remote_address())),
            rtt: Some(link.connection.rtt()),
            bytes_out: stats.udp_tx.bytes,
            bytes_in: stats.udp_rx.bytes,
            ..found
        }
    }

    /// What is known of a peer over time, whether a link to it is up or not.
    fn followed(&mut self, peer: MemberId, durable: &Arc<VersionVector>) -> Peer {
        let now = self.moment();
        let state = self.core.peer_state(peer).unwrap_or_default();
        let addresses = self.addresses(peer);
        let track = self.history.tracks.entry(peer).or_default();
        let theirs = self.core.reported(peer);
        let there = theirs.zip(self.core.missing_at(peer));
        let missing_there = there.map(|(theirs, missing)| {
            track.there.follow(now.ran, missing, (|| Arc::clone(durable), theirs))
        });
        let missing_here = theirs.map(|theirs| {
            let missing = self.core.missing_from(peer).unwrap_or_default();
            track.here.follow(now.ran, missing, (|| Arc::new(theirs.clone()), durable))
        });
        let attempts = self.links.attempts.get(&peer);
        Peer {
            last_message: track.last.map(|last| last.ago(now)),
            silent_for: track.last.map(|last| last.listened(now)),
            halted: track.halted.clone(),
            conditions: self.core.conditions(peer),
            is_halt_old: track.is_halt_old,
            has_stopped: track.has_stopped,
            addresses,
            failures: attempts.map_or(0, |attempts| attempts.failures()),
            is_answering: attempts.is_some_and(Attempts::is_answered),
            last_error: attempts.and_then(|attempts| attempts.last_error().cloned()),
            missing_there,
            missing_here: missing_here.unwrap_or_default(),
            receiving: track.incoming.follow(now.ran, state.receiving),
            sending: track.outgoing.follow(now.ran, state.sending),
            state,
            ..Peer::default()
        }
    }
}
