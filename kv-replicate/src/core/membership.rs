//! Members that have left for good, and the closing of their origins.
//!
//! The members are entries of the store and arrive like any others. Only members are served. (A peer that
//! has proven to belong to the cluster is accepted even if no entry here names it: see
//! [`Membership::is_answered`].)
//!
//! Some members may know the last writes of one that left, and some may know them only as rows of an
//! unfinished session, which no vector counts. It announces no closed timestamps any more, and nothing that
//! it deleted, or that was deleted beside it, may be dropped until everything that remains of it is
//! everywhere. So each location, once it durably knows of the removal and none of the removed member's
//! rows is on its way to the store, announces the removal in its progress ([`kv_core::Members::digest`]).
//! It takes a *closing session* from each other member that announces the same, and then counts the
//! origins of the removed member as [`CLOSED`]. Until that is durable its resolved timestamp does not rise.
//! (Everything that one location then has, all have: a member that knows of the removal accepts nothing more
//! from the removed one, and has a session with each other member, or with one that had.)

use std::collections::BTreeMap;

use kv_core::{Dot, VersionVector};

use super::{
    actions::{Context, Pending},
    local::Local,
};
use crate::{CLOSED, MemberId};

/// The announcement of a change of members: it waits until all work that was requested before is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Barrier {
    /// The members in the store are announced.
    Clear,
    /// A commit behind all earlier work was requested.
    Committing { digest: u64 },
    /// It was made: the next sync makes all of it durable.
    Committed { digest: u64 },
}

/// The commit that counts the origins of removed members as closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// No commit is under way.
    Idle,
    /// The commit was requested and its result has not arrived.
    Committing,
}

/// The digests of members of both ends at the sessions with a member.
#[derive(Clone, Copy, Debug, Default)]
struct Compared {
    /// At the last finished session at which both ends announced the same.
    equal: u64,
    /// At the last finished session: this location's and the member's.
    last: (u64, u64),
}

/// The removed members that this location knows of and announces.
#[derive(Debug)]
pub(super) struct Membership {
    /// The digest of the members in the store; 0 if none was removed.
    current: u64,
    /// The digest that this location's progress announces; 0 if no removal was announced.
    announced: u64,
    /// How far the announcement of `current` is.
    barrier: Barrier,
    /// Whether the commit that closes origins is under way.
    closing: Closing,
    /// The sessions with each current member but this one.
    members: BTreeMap<MemberId, Compared>,
}

impl Membership {
    /// Nothing is announced yet.
    pub(super) fn new() -> Membership {
        Membership {
            current: 0,
            announced: 0,
            barrier: Barrier::Clear,
            closing: Closing::Idle,
            members: BTreeMap::new(),
        }
    }

    /// The digest that this location's progress announces.
    pub(super) fn announced(&self) -> u64 {
        self.announced
    }

    /// Whether a member is known to have been removed.
    pub(super) fn has_removals(&self) -> bool {
        self.current != 0
    }

    /// Whether a peer's hello is accepted. A peer that has proven to belong to the cluster and is not a
    /// member here may have joined through a member that is gone since, and only it has the entry that shows
    /// it: the peer is accepted. It is rejected if a member is known to have been removed: then its rows would be rows of
    /// the removed member, and what it would have to know of may be dropped already.
    pub(super) fn is_answered(&self, local: &Local, peer: MemberId) -> bool {
        let may_be_new = !local.has_left(peer) && !self.has_removals();
        !local.is_joined() || local.is_member(peer) || may_be_new
    }

    /// Takes in the members in the store.
    pub(super) fn follow(&mut self, cx: &mut Context<'_>) {
        let own = cx.local.config().member;
        let members = cx.local.members();
        self.members.retain(|member, _| members.is_current(*member));
        for member in members.current().filter(|member| member.id != own) {
            self.members.entry(member.id).or_default();
        }
        self.current = members.digest();
        self.raise_barrier(cx);
    }

    /// A sync is done. Returns whether what is announced has changed.
    pub(super) fn synced(&mut self, cx: &mut Context<'_>) -> bool {
        self.raise_barrier(cx);
        let Barrier::Committed { digest } = self.barrier else { return false };
        self.announced = digest;
        self.barrier = Barrier::Clear;
        true
    }

    /// Requests a commit behind all work that was requested under other members.
    fn raise_barrier(&mut self, cx: &mut Context<'_>) {
        let digest = self.current;
        if digest == self.expected() {
            return;
        }
        self.barrier = Barrier::Committing { digest };
        let (vector, collected) = (VersionVector::default(), VersionVector::default());
        cx.out.adopt(Pending::Barrier { digest }, vector, collected);
    }

    /// The digest that is announced, or will be.
    fn expected(&self) -> u64 {
        match self.barrier {
            Barrier::Clear => self.announced,
            Barrier::Committing { digest } | Barrier::Committed { digest } => digest,
        }
    }

    /// The commit of a barrier was made, or has failed.
    pub(super) fn barrier_done(&mut self, digest: u64, failed: bool) {
        if failed {
            self.lower_barrier();
        } else if digest == self.expected() {
            self.barrier = Barrier::Committed { digest };
        }
    }

    /// The disk has failed, and with it what was committed before a barrier.
    fn lower_barrier(&mut self) {
        self.barrier = Barrier::Clear;
        self.closing = Closing::Idle;
    }

    /// The store was rolled back, perhaps to before what closing sessions brought.
    pub(super) fn rolled_back(&mut self) {
        self.lower_barrier();
        self.members.values_mut().for_each(|member| *member = Compared::default());
    }

    /// The digests that this location and a peer announce.
    pub(super) fn digests_with(&self, cx: &Context<'_>, peer: MemberId) -> (u64, u64) {
        (self.announced, cx.peers.get(peer).map_or(0, |peer| peer.progress().members))
    }

    /// A session with a member has ended that was begun when the two announced these digests.
    pub(super) fn session_done(&mut self, peer: MemberId, (ours, theirs): (u64, u64)) {
        if let Some(member) = self.members.get_mut(&peer) {
            member.last = (ours, theirs);
            if ours == theirs {
                member.equal = ours;
            }
        }
    }

    /// Requests the commit that counts origins as closed, if all closing sessions are done. Otherwise
    /// returns the members that a session is due with. Where a member announces other members, a session
    /// comes first: what it knows may be a row that no vector counts.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>) -> Vec<MemberId> {
        if !cx.local.is_joined() {
            return Vec::new();
        }
        let announced = self.announced;
        let is_closed =
            self.closing == Closing::Committing || cx.local.is_closed_in(cx.local.visible());
        let is_known = announced != 0 && announced == self.current;
        if !is_closed && is_known && self.members.values().all(|member| member.equal == announced) {
            self.close(cx);
            return Vec::new();
        }
        let is_due = |(peer, member): &(&MemberId, &Compared)| {
            let (ours, theirs) = self.digests_with(cx, **peer);
            if ours == theirs {
                !is_closed && is_known && member.equal != announced
            } else {
                member.last != (ours, theirs)
            }
        };
        self.members.iter().filter(is_due).map(|(peer, _)| *peer).collect()
    }

    /// Requests the commit that counts the origins of removed members as closed.
    fn close(&mut self, cx: &mut Context<'_>) {
        let registry = &cx.local.store().registry;
        let closed = registry.iter().filter(|info| cx.local.has_left(info.member));
        let vector = closed.map(|info| Dot { origin: info.id, seq: CLOSED }).collect();
        self.closing = Closing::Committing;
        cx.out.adopt(Pending::Close, vector, VersionVector::default());
    }

    /// The commit that counts origins as closed was made, or has failed.
    pub(super) fn close_done(&mut self) {
        self.closing = Closing::Idle;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Work,
        core::testing::{Fixture, PEER, THIRD},
    };

    /// A location whose third member has left.
    fn left() -> (Fixture, Membership) {
        let mut fixture = Fixture::new();
        fixture.connect(PEER);
        fixture.remove(THIRD);
        let mut membership = Membership::new();
        membership.follow(&mut fixture.context());
        (fixture, membership)
    }

    fn adopts(fixture: &mut Fixture) -> usize {
        std::iter::from_fn(|| fixture.poll_work())
            .filter(|work| matches!(work, Work::Adopt { .. }))
            .count()
    }

    #[test]
    fn a_removal_is_announced_after_a_barrier_and_a_sync() {
        let (mut fixture, mut membership) = left();
        let digest = fixture.local().members().digest();
        assert_eq!(adopts(&mut fixture), 1);
        assert!(!membership.synced(&mut fixture.context()), "the barrier is not committed");
        membership.barrier_done(digest, false);
        assert_eq!(membership.announced(), 0);
        assert!(membership.synced(&mut fixture.context()));
        assert_eq!(membership.announced(), digest);
        assert_eq!(adopts(&mut fixture), 0, "one barrier is enough");
    }

    #[test]
    fn a_barrier_that_failed_is_raised_again_at_the_next_sync() {
        let (mut fixture, mut membership) = left();
        adopts(&mut fixture);
        membership.barrier_done(fixture.local().members().digest(), true);
        assert!(!membership.synced(&mut fixture.context()));
        assert_eq!(adopts(&mut fixture), 1);
    }

    #[test]
    fn origins_are_closed_after_a_session_with_each_member_that_announces_the_same() {
        let (mut fixture, mut membership) = left();
        let digest = fixture.local().members().digest();
        membership.barrier_done(digest, false);
        membership.synced(&mut fixture.context());
        adopts(&mut fixture);
        assert_eq!(membership.watch(&mut fixture.context()), [PEER], "it announces another digest");
        membership.session_done(PEER, (digest, 0));
        assert_eq!(membership.watch(&mut fixture.context()), []);
        fixture.progress(PEER, |progress| progress.members = digest);
        assert_eq!(membership.watch(&mut fixture.context()), [PEER], "the closing session");
        membership.session_done(PEER, (digest, digest));
        assert_eq!(membership.watch(&mut fixture.context()), []);
        assert_eq!(adopts(&mut fixture), 1);
        membership.watch(&mut fixture.context());
        assert_eq!(adopts(&mut fixture), 0, "it is being committed");
    }
}
