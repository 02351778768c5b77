//! Timestamps of the cluster: up to which time every member has everything, so that older tombstones
//! may be dropped.
//!
//! A member announces a *closed timestamp* together with the sequence numbers of its origins: whatever it
//! writes later is later. A location that durably holds these writes has everything of that member up to
//! the timestamp. Its *resolved timestamp* is the least of these over all members, its own included. The
//! least that all members announce is the *stable timestamp*: every member has every write up to it, so
//! that nothing older can arrive from any of them.
//!
//! But not everyone knows every member at the same time. A joining member has what its source had when it
//! joined; it lacks what its source lacked. The source may get that, and resolve further, while a third
//! location does not even know the joining member. So each location announces, beside its own resolved
//! timestamp, the least that all members that it knows of have announced: the timestamp that it *holds*
//! with them. The stable timestamp is the least of these as well.
//!
//! A location announces the closed timestamp that is durable in its store, a field of its own: the times of
//! an origin's writes are in no order. It rises with commits up to cluster time, and in an idle store only
//! while a tombstone waits for it.
//!
//! A location that is the only member waits for nobody: whatever it has dropped, nobody else holds.
//!
//! After Cure (Akkoorath et al., ICDCS 2016); closed and resolved timestamps are named as in CockroachDB.

use std::collections::BTreeMap;

use kv_core::{Dot, Hlc};

use super::local::Local;
use crate::{MemberId, wire::Progress};

/// A closed timestamp, and the writes that it stands behind.
type Announcement = (Hlc, [Dot; 2]);

/// The announcements of a member that are not counted yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Announced {
    /// Every announcement so far is counted.
    #[default]
    Nothing,
    /// Some writes of the oldest are not here. The latest replaces it when they are: under a steady
    /// stream, the latest alone would never be met.
    Waiting { oldest: Announcement, latest: Announcement },
}

/// The timestamps of a member, whether a link to it is up or not.
#[derive(Debug, Default)]
struct Member {
    /// The announcements whose writes have not all arrived.
    announced: Announced,
    /// All of its writes up to this time are here, durably.
    closed: Hlc,
    /// It has durably everything of everyone up to this time.
    resolved: Hlc,
    /// Every member that it knows of has announced to have resolved this time, and so has it.
    held: Hlc,
}

/// The timestamps of all members but this one.
#[derive(Debug, Default)]
pub(super) struct Stability {
    /// The timestamps by member.
    members: BTreeMap<MemberId, Member>,
    /// This location's resolved timestamp when it last had everything of the removed members.
    reached: Hlc,
}

impl Stability {
    /// Takes in the members in the store.
    pub(super) fn follow_members(&mut self, local: &Local) {
        let own = local.config().member;
        self.members.retain(|member, _| local.is_member(*member));
        for member in local.members().current().filter(|member| member.id != own) {
            self.members.entry(member.id).or_default();
        }
    }

    /// A member sent its progress; it writes under these origins.
    pub(super) fn progressed(
        &mut self,
        local: &Local,
        from: MemberId,
        origins: [kv_core::OriginId; 2],
        progress: &Progress,
    ) {
        let Some(member) = self.members.get_mut(&from) else { return };
        let writes = origins.map(|origin| Dot { origin, seq: progress.durable.get(origin) });
        let latest = (progress.closed_timestamp, writes);
        let oldest = match member.announced {
            Announced::Waiting { oldest, .. } => oldest,
            Announced::Nothing => latest,
        };
        member.announced = Announced::Waiting { oldest, latest };
        member.resolved = member.resolved.max(progress.resolved);
        member.held = member.held.max(progress.held);
        self.follow_writes(local);
    }

    /// Counts the closed timestamps whose writes are here by now.
    pub(super) fn follow_writes(&mut self, local: &Local) {
        for member in self.members.values_mut() {
            while let Announced::Waiting { oldest, latest } = member.announced {
                if !oldest.1.iter().all(|dot| local.durable().covers(*dot)) {
                    break;
                }
                member.closed = member.closed.max(oldest.0);
                member.announced = if oldest == latest {
                    Announced::Nothing
                } else {
                    Announced::Waiting { oldest: latest, latest }
                };
            }
        }
    }

    /// The time up to which every member's writes are here, durably. While something of the removed
    /// members is missing, it does not rise.
    pub(super) fn resolved(&self, local: &Local) -> Hlc {
        if !local.is_joined() || local.lacks_members() {
            return Hlc::ZERO;
        }
        let closed = self.members.values().map(|member| member.closed);
        let closed = closed.fold(local.closed_timestamp(), Hlc::min);
        if local.is_closed_in(local.durable()) { closed } else { closed.min(self.reached) }
    }

    /// The time that every member that this location knows of has resolved. Others may not know of all
    /// of them yet: a member that joined through this location lacks what this location lacked then.
    pub(super) fn held(&self, local: &Local) -> Hlc {
        self.members.values().map(|member| member.resolved).fold(self.resolved(local), Hlc::min)
    }

    /// Notes the resolved timestamp, for the time when a member leaves.
    pub(super) fn note_reached(&mut self, local: &Local) {
        self.reached = self.resolved(local);
    }

    /// See [`Core::stable`](super::Core::stable); `sessions` are the closed timestamps at the beginning
    /// of the sessions that are being served.
    pub(super) fn stable(&self, local: &Local, sessions: impl Iterator<Item = Hlc>) -> Hlc {
        let members = self.members.values().map(|member| member.held.min(member.resolved));
        let is_alone =
            self.members.is_empty() && local.is_joined() && !local.lacks_members();
        let own = if is_alone && local.is_closed_in(local.durable()) {
            Hlc(u64::MAX)
        } else {
            self.resolved(local)
        };
        let upto = members.chain(sessions).fold(own, Hlc::min);
        if upto == Hlc::ZERO { upto } else { Hlc(upto.0.saturating_add(1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{Fixture, PEER, THIRD, origins, vector};

    fn announced(closed: u64, seq: u64, resolved: u64) -> Progress {
        Progress {
            closed_timestamp: Hlc(closed),
            durable: vector(seq),
            resolved: Hlc(resolved),
            held: Hlc(resolved),
            ..Progress::default()
        }
    }

    fn following(fixture: &Fixture) -> Stability {
        let mut stability = Stability::default();
        stability.follow_members(fixture.local());
        let third = Progress { durable: Default::default(), ..announced(900, 0, 900) };
        stability.progressed(fixture.local(), THIRD, origins(THIRD), &third);
        stability
    }

    #[test]
    fn a_closed_timestamp_counts_once_its_writes_are_durable_here() {
        let mut fixture = Fixture::new();
        fixture.store(|store| store.closed_timestamp = Hlc(1_000));
        let mut stability = following(&fixture);
        let mut resolved_after = |fixture: &Fixture, closed, seq| {
            let progress = announced(closed, seq, 0);
            stability.progressed(fixture.local(), PEER, origins(PEER), &progress);
            stability.resolved(fixture.local())
        };
        let steps: [(u64, u64, u64, u64); 4] =
            // Closed timestamp, its sequence number, what is durable here, what is resolved then.
            [(10, 1, 1, 10), (20, 2, 1, 10), (30, 3, 2, 20), (30, 3, 3, 30)];
        for (closed, seq, durable, resolved) in steps {
            fixture.store(|store| store.durable.merge(&vector(durable)));
            assert_eq!(resolved_after(&fixture, closed, seq), Hlc(resolved), "{closed} {durable}");
        }
    }

    #[test]
    fn the_stable_timestamp_is_behind_every_member_and_every_session() {
        let mut fixture = Fixture::new();
        fixture.store(|store| store.closed_timestamp = Hlc(1_000));
        let mut stability = following(&fixture);
        let nobody = std::iter::empty;
        assert_eq!(
            stability.stable(fixture.local(), nobody()),
            Hlc::ZERO,
            "one member has not reported"
        );
        let progress = announced(100, 0, 50);
        stability.progressed(fixture.local(), PEER, origins(PEER), &progress);
        assert_eq!(stability.stable(fixture.local(), nobody()), Hlc(51));
        assert_eq!(stability.stable(fixture.local(), [Hlc(7)].into_iter()), Hlc(8));
    }

    #[test]
    fn the_resolved_timestamp_stays_while_a_removed_members_writes_may_be_missing() {
        let mut fixture = Fixture::new();
        fixture.store(|store| store.closed_timestamp = Hlc(1_000));
        let mut stability = following(&fixture);
        stability.progressed(fixture.local(), PEER, origins(PEER), &announced(40, 0, 0));
        stability.note_reached(fixture.local());
        fixture.remove(THIRD);
        stability.follow_members(fixture.local());
        stability.progressed(fixture.local(), PEER, origins(PEER), &announced(60, 0, 0));
        assert_eq!(stability.resolved(fixture.local()), Hlc(40));
        fixture.close_origins();
        assert_eq!(stability.resolved(fixture.local()), Hlc(60));
    }
}
