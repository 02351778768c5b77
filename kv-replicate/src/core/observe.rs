//! What the owner of a core can learn about the other members, and what this location reports to them.

use bytes::Bytes;
use kv_core::VersionVector;

use super::{
    Core,
    stability::Holder,
    status::{StableState, missing},
};
use crate::{Condition, MemberId};

impl Core {
    /// Returns the writes that a member has last reported to hold durably, in this process, whether a link to it is up
    /// or not.
    #[must_use]
    pub fn reported(&self, member: MemberId) -> Option<&VersionVector> {
        let linked = self.peers.get(member).filter(|peer| peer.has_reported());
        let linked = linked.map(|peer| &peer.progress().durable);
        linked.or_else(|| self.machines.stability.reported(member))
    }

    /// Returns the writes that this location holds durably.
    #[must_use]
    pub fn durable(&self) -> &VersionVector {
        self.local.durable()
    }

    /// Returns how many writes that this location holds durably a member lacks, as far as it has last reported; none if it
    /// has not reported in this process.
    #[must_use]
    pub fn missing_at(&self, member: MemberId) -> Option<u64> {
        let own = self.local.durable();
        if let Some(peer) = self.peers.get(member).filter(|peer| peer.has_reported()) {
            return Some(missing(own, |origin| peer.holds(origin)));
        }
        let reported = self.machines.stability.reported(member);
        reported.map(|theirs| missing(own, |origin| theirs.get(origin)))
    }

    /// Returns how many writes that a member has last reported to hold durably have not arrived here, whether a link to it
    /// is up or not; none if it has not reported in this process.
    #[must_use]
    pub fn missing_from(&self, member: MemberId) -> Option<u64> {
        let arrived = |origin| self.machines.receiver.arrived(&self.local, origin);
        self.reported(member).map(|theirs| missing(theirs, arrived))
    }

    /// Returns the conditions that a member has last reported of itself. They outlive the link for a minute: until then it
    /// may be back, and after that it counts as unreachable.
    #[must_use]
    pub fn conditions(&self, member: MemberId) -> Vec<Condition> {
        self.machines.reports.conditions(self.local.mono(), member)
    }

    /// Sets the conditions of this location that are reported to its peers, as of now. Call it about once a second: how far
    /// sessions are is sent with it.
    pub fn set_conditions(&mut self, conditions: Vec<Condition>) {
        let now = self.local.mono();
        let Core { peers, machines, out, .. } = self;
        let ready = peers.iter().filter(|(_, peer)| peer.is_ready());
        let sessions = ready.map(|(peer, _)| (peer, machines.puller.progress(peer)));
        let due = machines.reports.follow(now, conditions, sessions);
        due.into_iter().for_each(|peer| out.wake(peer));
    }

    /// Sends a piece of usage of global limits, of at most [`MAX_USAGE_BYTES`](crate::MAX_USAGE_BYTES), to a peer or to all
    /// peers that a link is up to. A peer that does not know such messages skips them.
    pub fn send_usage(&mut self, to: Option<MemberId>, piece: &Bytes) {
        if self.halted.is_none() {
            self.machines.usage.send(&mut self.out, to, piece);
        }
    }

    /// Returns the stable timestamp, and what holds it back.
    #[must_use]
    pub fn stable_state(&self) -> StableState {
        let Holder { members, is_unsettled } = self.machines.stability.holder(&self.local);
        StableState { at: self.stable(), held_by: members, is_unsettled }
    }
}
