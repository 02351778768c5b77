//! Up to which time all is known by all: below it, tombstones may go.
//!
//! A member *promises* a time together with the numbers of its origins: whatever it writes later is
//! later. Who holds these numbers durably is complete for that member up to the time, and *complete*
//! up to the least of these over all members. The least that all members say is the watermark:
//! every member has every write up to it, so that nothing older can come from anyone.
//!
//! But not everyone knows every member at the same time. A new member has what its source had when it came;
//! what its source lacked it lacks, and its source may get that, and be complete again, while a third
//! has not even heard of the new member. So each says, beside its own, the least that all members that it
//! knows of have said: what it *holds* with them. The watermark is the least of these.
//!
//! An idle member need not move its clock: whoever holds a write has committed a clock at least as
//! late, so once all have converged all promise the time of the last write.

use kv_core::{Dot, Hlc};

use super::Core;
use crate::MemberId;

/// A promise and the writes that it needs.
type ClosedTimestamp = (Hlc, [Dot; 2]);

/// What is known of a member, whether a link to it is up or not.
#[derive(Debug, Default)]
pub(crate) struct Member {
    /// The last promise that came.
    latest: Option<ClosedTimestamp>,
    /// One whose writes are not all here; the latest takes its place when they are. Under a
    /// steady stream the latest alone would never be met.
    waiting: Option<ClosedTimestamp>,
    /// All of its writes up to this time are here, durably.
    promised: Hlc,
    /// It holds all members' writes up to this time, durably.
    resolved: Hlc,
    /// Every member that it knew of said to be complete up to this time, and so is it.
    held: Hlc,
    /// The members of which both ends knew when the last closing session with it was begun, that came
    /// to its end: see [`super::members`].
    pub(super) closed: u64,
    /// The same of the last session of any kind: what we knew of, and what the member did.
    pub(super) compared: (u64, u64),
}

impl Core {
    pub(super) fn note_closed_timestamp(
        &mut self,
        from: MemberId,
        closed_timestamp: ClosedTimestamp,
        resolved: Hlc,
        held: Hlc,
    ) {
        let Some(member) = self.members.get_mut(&from) else { return };
        member.resolved = member.resolved.max(resolved);
        member.held = member.held.max(held);
        member.latest = Some(closed_timestamp);
        member.waiting = member.waiting.or(member.latest);
        self.follow_closed_timestamps();
    }

    /// Counts the promises whose writes are here by now.
    pub(super) fn follow_closed_timestamps(&mut self) {
        for member in self.members.values_mut() {
            while let Some((closed_timestamp, needs)) = member.waiting {
                let is_met = needs.iter().all(|dot| self.store.durable.covers(*dot));
                if !is_met {
                    break;
                }
                member.promised = member.promised.max(closed_timestamp);
                member.waiting =
                    member.latest.filter(|latest| *latest != (closed_timestamp, needs));
                member.latest = member.waiting;
            }
        }
    }

    /// Up to which time every member's writes are here, durably. While not all that is left of those
    /// who left is here, no later than it was.
    pub(super) fn resolved(&self) -> Hlc {
        if !self.is_joined() {
            return Hlc::ZERO;
        }
        let promised = self.promised();
        if self.is_closed() { promised } else { promised.min(self.reached) }
    }

    fn promised(&self) -> Hlc {
        self.members
            .values()
            .map(|member| member.promised)
            .fold(self.store.closed_timestamp, Hlc::min)
    }

    /// Up to which time every member that this location knows of is complete. Others may not know of all of
    /// them yet: who joined through this location lacks what this location lacked then.
    pub(super) fn held(&self) -> Hlc {
        self.members.values().map(|member| member.resolved).fold(self.resolved(), Hlc::min)
    }

    /// Notes how far this location is complete, for the time when a member leaves.
    pub(super) fn note_reached(&mut self) {
        self.reached = self.resolved();
    }

    /// Every member, reachable or not, holds every write before this time, durably, and no one is
    /// being sent what is older: tombstones and stubs before it may go, as [`GcLimits`] wants it.
    /// [`Hlc::ZERO`] as long as a member was not heard.
    ///
    /// [`GcLimits`]: kv_core::commit::GcLimits
    #[must_use]
    pub fn stable(&self) -> Hlc {
        let members = self
            .members
            .values()
            .map(|member| member.held.min(member.resolved))
            .fold(self.resolved(), Hlc::min);
        let sessions = self.links.values().filter_map(|link| link.serving.as_ref());
        let upto = sessions.map(|serving| serving.started).fold(members, Hlc::min);
        if upto == Hlc::ZERO { upto } else { Hlc(upto.0.saturating_add(1)) }
    }
}
