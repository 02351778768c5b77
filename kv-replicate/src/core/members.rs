//! Who takes part: joining, and what follows when a member has left for good.
//!
//! The members are entries of the store, and come like any others. Only members are served. (Who has
//! proven to be of the cluster is heard, also if no entry here says so: see [`Core::is_answered`].)
//!
//! **Joining.** Whoever serves a new member has it among its members, so that from before the first row
//! that it sends it is complete only as far as it was then: the new member, which has not joined, is
//! complete up to no time ([`Core::resolved`]). So no tombstone goes anywhere that it did not have itself
//! when it began to serve, and rows of a session that was given up can be kept, whoever goes on. (If
//! the one that served leaves before others hear of the new member, these do not hold tombstones for
//! it: see [`Core::may_join_from`].) Whoever has the new member vouches for it to those who have not heard of
//! it yet: see [`super::stable`]. The new member follows no live stream and is not to be written to until it has adopted a vector; by then
//! it has the entry that made it a member, and with it a clock that is later than any tombstone that
//! is gone.
//!
//! **Leaving.** What a member wrote last may be known to some only, and to some as rows of a session
//! that did not come to its end, which no vector counts. Its promises are at an end, and nothing that
//! it deleted or that was deleted beside it may go until all that is left of it is everywhere. So
//! each location, when it durably knows of the removal and nothing of the one that left is under way
//! to its store, says so in its heads ([`kv_core::Members::digest`]); takes a *closing session* from each
//! other member that says the same; and then counts the origins of the one that left as [`CLOSED`].
//! Until that is durable it stays as complete as it was. (What anyone then still has, all have: a
//! member that knows of the removal takes nothing more from the one that left, and each hears each
//! other directly, or one that did.)

use std::collections::BTreeSet;

use kv_core::{Dot, Hlc, MemberId, VersionVector};

use super::{Core, Pending, lag::MAX_SESSIONS, stable::Member};
use crate::{
    link::Link,
    wire::PageHead,
    work::{Notice, Work},
};

/// The number up to which a vector counts an origin whose writer left for good: all that is left of it.
/// No store comes so far.
pub const CLOSED: u64 = u64::MAX / 2;

/// Whom this location says that it knows of.
#[derive(Debug, Default)]
pub(super) struct Digest {
    /// What the store knows.
    now: u64,
    /// What the heads say.
    pub(super) said: u64,
    /// What they are to say when nothing of those who left is under way.
    known: u64,
    /// A commit after all that was under way was made: the next sync makes all of it durable.
    is_next: bool,
    /// The end of the origins of those who left is being committed.
    is_closing: bool,
}

/// What a location that has not joined has.
#[derive(Debug, Default)]
pub(super) struct Joining {
    /// What its first source counted when it began to send: of what is older it has nothing that was
    /// deleted.
    first: Option<VersionVector>,
    /// It had rows when it was started, and nobody knows from where.
    had_rows: bool,
}

impl Core {
    /// Whether this location takes part: it is a member, and has all that its first source had.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.is_member(self.config.member) && self.store.durable.iter().next().is_some()
    }

    pub(super) fn is_member(&self, member: MemberId) -> bool {
        self.store.members.is_current(member)
    }

    /// Whether a peer is to be answered. One who has proven to be of the cluster and is no member here
    /// may have joined through a member that is gone since, and only it has the row that says so: it is
    /// heard. Not when a member is known to have left: what it brings would be of the one that left,
    /// and something that it would have to know of may be gone.
    pub(super) fn is_answered(&self, peer: MemberId) -> bool {
        let is_stranger = self.digest.now != 0;
        !self.is_joined() || self.is_member(peer) || !(self.has_left(peer) || is_stranger)
    }

    /// Whether a peer may have rows: only a member, for who is counted holds tombstones.
    pub(super) fn is_served(&self, peer: MemberId) -> bool {
        self.is_joined() && self.is_member(peer)
    }

    pub(super) fn has_left(&self, member: MemberId) -> bool {
        self.store.members.get(member).is_some_and(|member| member.removed)
    }

    /// The store's members may be others than before.
    pub(super) fn follow_members(&mut self) {
        if self.has_left(self.config.member) {
            return self.halt(LEFT);
        }
        let own = self.config.member;
        let current: BTreeSet<_> = self.store.members.current().map(|member| member.id).collect();
        self.members.retain(|member, _| current.contains(member));
        for member in current.into_iter().filter(|member| *member != own) {
            self.members.entry(member).or_default();
        }
        let all = self.links.iter().map(|(peer, link)| (*peer, link.incarnation));
        let gone: Vec<_> = all.filter(|(peer, _)| self.has_left(*peer)).collect();
        for (peer, incarnation) in gone {
            self.disconnect(peer);
            self.suspended.remove(&peer);
            self.links.insert(peer, Link { incarnation, send_removed: true, ..Link::default() });
        }
        self.digest.now = self.store.members.digest();
        self.raise_barrier();
        if self.digest.now != 0 && self.is_joined() {
            self.part_from_strangers();
        }
    }

    fn part_from_strangers(&mut self) {
        let is_stranger = |peer: &MemberId| !self.is_member(*peer) && !self.has_left(*peer);
        let strangers: Vec<_> = self.links.keys().copied().filter(is_stranger).collect();
        for peer in strangers {
            self.disconnect(peer);
            self.suspended.remove(&peer);
            self.links.insert(peer, Link::default());
        }
    }

    /// Learns when all that was asked of the store under other members is committed.
    fn raise_barrier(&mut self) {
        let digest = self.digest.now;
        if digest != self.digest.known {
            self.digest.known = digest;
            self.digest.is_next = false;
            let (vector, collected) = (VersionVector::default(), VersionVector::default());
            let id = self.next_id();
            self.pending.insert(id, Pending::Barrier { digest });
            self.work.push_back(Work::Adopt { id, epoch: self.epoch, vector, collected });
        }
    }

    /// All that was under way when the members were last others is committed.
    pub(super) fn barrier_passed(&mut self, digest: u64, failed: bool) {
        if failed {
            self.lower_barrier();
        } else if digest == self.digest.known {
            self.digest.is_next = true;
        }
    }

    /// The disk failed, and with it what was committed before a barrier.
    pub(super) fn lower_barrier(&mut self) {
        self.digest.known = self.digest.said;
        self.digest.is_next = false;
        self.digest.is_closing = false;
    }

    /// The store went back, perhaps to before what closing sessions brought.
    pub(super) fn reopen_members(&mut self) {
        self.lower_barrier();
        for member in self.members.values_mut() {
            (member.closed, member.compared) = (0, (0, 0));
        }
    }

    /// A sync came to its end.
    pub(super) fn send_members(&mut self) {
        self.raise_barrier();
        if std::mem::take(&mut self.digest.is_next) {
            self.digest.said = self.digest.known;
            self.mark_news();
        }
    }

    /// Whether all that is left of those who left is here, durably.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.counts_closed(&self.store.durable)
    }

    fn counts_closed(&self, vector: &VersionVector) -> bool {
        self.store.members.closed_origins().all(|origin| vector.get(origin) >= CLOSED)
    }

    /// A session came to its end that was begun when the two ends knew of these members.
    pub(super) fn told_members(&mut self, peer: MemberId, (ours, theirs): (u64, u64)) {
        if let Some(member) = self.members.get_mut(&peer) {
            member.compared = (ours, theirs);
            if ours == theirs {
                member.closed = ours;
            }
        }
    }

    /// What this location and a peer say of whom they know.
    pub(super) fn members_with(&self, peer: MemberId) -> (u64, u64) {
        (self.digest.said, self.links.get(&peer).map_or(0, |link| link.progress.members))
    }

    /// Begins closing sessions; when all came to their end, counts the origins of those who left as
    /// closed. Where a peer knows of other members, a session comes first: what it knows may be a row
    /// that no vector counts.
    pub(super) fn watch_closing(&mut self) {
        if !self.is_joined() {
            return;
        }
        let said = self.digest.said;
        let is_over = self.digest.is_closing || self.counts_closed(&self.store.visible);
        let is_known = said != 0 && said == self.digest.now;
        let all = self.members.values().all(|member| member.closed == said);
        if !is_over && is_known && all {
            return self.count_as_closed();
        }
        let mut open = self.sessions().0;
        let peers: Vec<_> = self.members.keys().copied().collect();
        for peer in peers {
            let (ours, theirs) = self.members_with(peer);
            let is_due = |member: &Member| {
                if ours == theirs {
                    !is_over && is_known && member.closed != said
                } else {
                    member.compared != (ours, theirs)
                }
            };
            let is_due = self.members.get(&peer).is_some_and(is_due)
                && self.links.get(&peer).is_some_and(|link| self.can_be_asked(link));
            if is_due && open < MAX_SESSIONS {
                open += 1;
                self.begin_session(peer);
            }
        }
    }

    fn count_as_closed(&mut self) {
        let closed = self.store.members.closed_origins().map(|origin| Dot { origin, seq: CLOSED });
        let (vector, collected) = (closed.collect(), VersionVector::default());
        let id = self.next_id();
        self.digest.is_closing = true;
        self.pending.insert(id, Pending::Close);
        self.work.push_back(Work::Adopt { id, epoch: self.epoch, vector, collected });
    }

    /// The end of the origins of those who left was committed, or it was not.
    pub(super) fn counted_as_closed(&mut self) {
        self.digest.is_closing = false;
    }

    pub(super) fn note_rows(&mut self) {
        self.joining.had_rows = !self.is_joined() && self.store.closed_timestamp > Hlc::ZERO;
    }

    /// Whether what a peer has collected does not matter here: nothing that a dropped tombstone would have
    /// to delete can have come before. While nobody has left, whoever served this location still counts
    /// it, and holds all tombstones.
    pub(super) fn is_new_to(&self, peer: MemberId) -> bool {
        let nobody_left = self.links.get(&peer).is_some_and(|link| link.progress.members == 0);
        let is_safe = self.joining.first.is_some() || !self.joining.had_rows || nobody_left;
        !self.is_joined() && is_safe
    }

    /// Whether rows of a source may be put beside those that are here. Its first source may have left
    /// before others heard of this location, and these may have dropped what it lacks.
    pub(super) fn may_join_from(&mut self, head: &PageHead) -> bool {
        if self.is_joined() {
            return true;
        }
        match &self.joining.first {
            Some(first) => first.covers_all(&head.collected),
            None => {
                self.joining.first = Some(head.vector.clone());
                true
            }
        }
    }

    /// What has changed now that this location has all that its first source had.
    pub(super) fn joined(&mut self) {
        self.notice(Notice::Joined);
        let peers: Vec<_> = self.links.keys().copied().collect();
        for peer in peers {
            if self.is_member(peer) {
                self.ask_live(peer);
                self.begin_live(peer);
            } else {
                self.disconnect(peer);
                self.links.insert(peer, Link::default());
            }
        }
    }

    /// A peer says that this location was taken out of the cluster.
    pub(super) fn removed(&mut self, from: MemberId) {
        if self.is_member(from) {
            self.halt(LEFT);
        }
    }
}

const LEFT: &str = "this location was removed from the cluster: empty it, and let it join anew";
