//! Which rows a joining location may take, and from which sources.
//!
//! A location that serves a joining member counts it among its members. From before the first row that it sends,
//! the source's resolved timestamp is held back, because the joining member reports none. So no tombstone
//! that the source had when it began to serve is dropped anywhere, and rows of an unfinished session can
//! be kept, whichever source continues it. (If the source leaves before others learn of the joining
//! member, the others do not keep tombstones for it: see [`Joining::may_take`].) The source protects
//! the joining member until the others know it: see [`super::stability`].
//!
//! The joining member follows no live stream and must not be written to until it has adopted a vector. With
//! the vector it adopts the source's closed timestamp, which is later than any tombstone that the source had
//! dropped.

use kv_core::VersionVector;

use super::{actions::Context, local::Local};
use crate::{MemberId, wire::PageHead};

/// The rows that a location had when it began to join. Of no meaning once it has joined.
#[derive(Debug)]
pub(super) enum Joining {
    /// It had none.
    Empty,
    /// It had rows when it was started, of an unknown source.
    UnknownSource,
    /// Its first source counted these writes when it began to send. Of older ones, the location has
    /// nothing that was deleted.
    Began { first: VersionVector },
}

impl Joining {
    /// For a location that was just started.
    pub(super) fn new(local: &Local) -> Joining {
        let had_rows = !local.is_joined() && local.has_received();
        if had_rows { Joining::UnknownSource } else { Joining::Empty }
    }

    /// Whether it is irrelevant here what a peer has collected: nothing that a dropped tombstone would
    /// have to delete can have arrived before. While no member has left the cluster, the location that
    /// served this one still counts it, and keeps all tombstones.
    pub(super) fn is_new_to(&self, cx: &Context<'_>, peer: MemberId) -> bool {
        let nobody_left = cx.peers.get(peer).is_some_and(|peer| peer.progress().members == 0);
        let is_safe = nobody_left || !matches!(self, Joining::UnknownSource);
        !cx.local.is_joined() && is_safe
    }

    /// Whether rows of a source may be added to those that are here. The first source may have left
    /// before others learned of this location, and these others may have dropped what it lacks.
    pub(super) fn may_take(&mut self, local: &Local, head: &PageHead) -> bool {
        if local.is_joined() {
            return true;
        }
        if let Joining::Began { first } = self {
            return first.covers_all(&head.collected);
        }
        *self = Joining::Began { first: head.vector.clone() };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{Fixture, PEER, vector};

    #[test]
    fn a_joining_location_takes_only_what_its_first_source_makes_safe() {
        let fixture = Fixture::joining();
        let head = |counted, collected| PageHead {
            vector: vector(counted),
            collected: vector(collected),
            floor: kv_core::Hlc::ZERO,
        };
        let mut joining = Joining::new(fixture.local());
        assert!(matches!(joining, Joining::Empty));
        assert!(joining.may_take(fixture.local(), &head(5, 9)), "the first source decides");
        for (collected, may) in [(5, true), (6, false)] {
            assert_eq!(joining.may_take(fixture.local(), &head(9, collected)), may, "{collected}");
        }
    }

    #[test]
    fn rows_of_an_unknown_source_count_once_somebody_has_left() {
        let mut fixture = Fixture::joining();
        fixture.connect(PEER);
        let mut joining = Joining::UnknownSource;
        for (members, is_new) in [(0, true), (77, false)] {
            fixture.progress(PEER, |progress| progress.members = members);
            assert_eq!(joining.is_new_to(&fixture.context(), PEER), is_new);
        }
        joining = Joining::Began { first: vector(1) };
        assert!(joining.is_new_to(&fixture.context(), PEER));
    }
}
