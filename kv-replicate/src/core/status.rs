//! The state of a peer, for the owner of a core.

use std::time::Duration;

use kv_core::{Hlc, VersionVector};

use super::{Core, stability::Holder};
use crate::{Condition, MemberId};

/// A peer that a link is up to, as this location sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerState {
    /// Whether each end has the other's hello.
    pub is_known: bool,
    /// How many writes the peer holds durably that have not arrived here.
    pub ahead: u64,
    /// For how long nothing has arrived of the writes that this location lacks: the longest over the
    /// origins of which the peer has more.
    pub late: Duration,
    /// The catch-up session from the peer, if there is one, and how far it is.
    pub receiving: Option<SessionProgress>,
    /// Whether a catch-up session to the peer is served.
    pub is_sending: bool,
    /// How far the peer reports to be with that session.
    pub sending: Option<SessionProgress>,
    /// The conditions that the peer reports of itself.
    pub conditions: Vec<Condition>,
    /// How far the peer's wall clock is ahead of the one here, in milliseconds, to within half a round trip;
    /// none if it was not heard within the last minute.
    pub clock_ahead_ms: Option<i64>,
}

/// How far a catch-up session is, in numbers of writes. Writes that were overwritten since count too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionProgress {
    /// The writes that this round of the session has passed.
    pub walked: u64,
    /// All writes that were missing when the session began or continued.
    pub of: u64,
}

/// The stable timestamp, and what keeps it from rising. See [`Core::stable`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StableState {
    /// The time before which every member holds every write: [`Hlc::ZERO`] as long as a member has not reported.
    pub at: Hlc,
    /// The members that hold it back, the nearest causes first: those that have reported the least time.
    pub held_by: Vec<MemberId>,
    /// Whether something of a process that has ended may be missing at a member, which holds it back too.
    pub is_unsettled: bool,
}

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
        self.reported(member).map(|theirs| missing(self.local.durable(), theirs))
    }

    /// Sets the conditions of this location that its peers are told of, as of now. Call it about once a second: how far
    /// sessions are is sent with it.
    pub fn set_conditions(&mut self, conditions: Vec<Condition>) {
        let now = self.local.mono();
        let Core { peers, machines, .. } = self;
        let ready = peers.iter().filter(|(_, peer)| peer.is_ready());
        let sessions = ready.map(|(peer, _)| (peer, machines.puller.progress(peer)));
        machines.reports.follow(now, conditions, sessions);
    }

    /// Returns the stable timestamp, and what holds it back.
    #[must_use]
    pub fn stable_state(&self) -> StableState {
        let Holder { members, is_unsettled } = self.machines.stability.holder(&self.local);
        StableState { at: self.stable(), held_by: members, is_unsettled }
    }
}

/// How many writes of one vector another lacks.
fn missing(here: &VersionVector, there: &VersionVector) -> u64 {
    let lacks = |dot: kv_core::Dot| dot.seq.saturating_sub(there.get(dot.origin));
    here.iter().map(lacks).fold(0, u64::saturating_add)
}
