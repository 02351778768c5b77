//! Members that have left for good.
//!
//! The members are entries of the store and arrive like any others. Only members are served. (A peer that
//! has proven to belong to the cluster is accepted even if no entry here names it: see
//! [`Membership::is_answered`].) What a member that was removed has written is like what any ended process has written:
//! see [`super::ended`].

use super::local::Local;
use crate::MemberId;

/// Whether this location knows of removed members.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// Whether a member in the store was removed.
    has_removals: bool,
}

impl Membership {
    /// Whether a member is known to have been removed.
    pub(super) fn has_removals(&self) -> bool {
        self.has_removals
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
    pub(super) fn follow(&mut self, local: &Local) {
        self.has_removals = local.members().iter().any(|member| member.removed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{Fixture, PEER, THIRD, US};

    #[test]
    fn an_unknown_peer_is_answered_until_a_member_was_removed() {
        let mut fixture = Fixture::new();
        let mut membership = Membership::default();
        membership.follow(fixture.local());
        let unknown = MemberId([9; 16]);
        assert!(membership.is_answered(fixture.local(), unknown) && !membership.has_removals());
        fixture.remove(THIRD);
        membership.follow(fixture.local());
        for (peer, is_answered) in [(US, true), (PEER, true), (THIRD, false), (unknown, false)] {
            assert_eq!(membership.is_answered(fixture.local(), peer), is_answered, "{peer}");
        }
    }
}
