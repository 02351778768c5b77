//! The state of a peer, for the owner of a core.

use std::time::Duration;

use kv_core::{Hlc, OriginId, VersionVector};

use crate::{MemberId, Verification};

/// A peer that a link is up to, as this location sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerState {
    /// Whether each end has the other's hello.
    pub is_known: bool,
    /// How many writes the peer holds durably that have not arrived here.
    pub ahead: u64,
    /// For how long nothing has arrived of the writes that this location lacks: the longest over the
    /// origins with writes that only the peer has.
    pub late: Duration,
    /// The catch-up session from the peer, if there is one, and how far it is.
    pub receiving: Option<SessionProgress>,
    /// Whether a catch-up session to the peer is served.
    pub is_sending: bool,
    /// How far the peer reports to be with that session.
    pub sending: Option<SessionProgress>,
    /// The verification of this location against the peer, if there is one.
    pub verifying: Option<Verification>,
    /// How far the peer's wall clock is ahead of the one here, in milliseconds, to within half a round trip;
    /// none if it was not received within the last minute, or so late that this may be wrong by more than right clocks may
    /// differ.
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

/// The stable timestamp, and what keeps it from rising.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StableState {
    /// The time before which every member holds every write: [`Hlc::ZERO`] as long as a member has not reported.
    pub at: Hlc,
    /// The members that hold it back, the nearest causes first: those that have reported the least time.
    pub held_by: Vec<MemberId>,
    /// Whether something of a process that has ended may be missing at a member, which holds it back too.
    pub is_unsettled: bool,
}

/// How many writes of a vector are missing, given how many are held of each origin.
pub(super) fn missing(here: &VersionVector, there: impl Fn(OriginId) -> u64) -> u64 {
    let lacks = |dot: kv_core::Dot| dot.seq.saturating_sub(there(dot.origin));
    here.iter().map(lacks).fold(0, u64::saturating_add)
}
