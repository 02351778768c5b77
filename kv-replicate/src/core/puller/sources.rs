//! Which peer a session is taken from.

use kv_core::OriginId;

use super::{Local, Peer, Peers, Puller};
use crate::MemberId;

impl Puller {
    /// The peer to take a session from that has more than this of an origin: the writer of a doubted one, because nobody
    /// else's count of it is adopted ([`Peers::doubted_by`]).
    pub(in crate::core) fn source_of(
        &self,
        local: &Local,
        peers: &Peers,
        origin: OriginId,
        have: u64,
    ) -> Option<MemberId> {
        let has_more = |peer: &Peer| peer.progress().durable.get(origin) > have;
        match peers.doubted_by(local, origin) {
            Some(writer) => {
                let can_serve = peers.get(writer).is_some_and(has_more);
                (can_serve && self.can_begin(local, peers, writer)).then_some(writer)
            }
            None => self.source_with(local, peers, has_more),
        }
    }

    /// The peer to take a session from that this holds for: one whose session was suspended, else the one whose
    /// last session failed longest ago. One that does not count all tombstones which were collected here, as after it was
    /// restored, comes last: its late rows are not taken. It may be the only one, and may have collected others.
    pub(in crate::core) fn source_with(
        &self,
        local: &Local,
        peers: &Peers,
        is_source: impl Fn(&Peer) -> bool,
    ) -> Option<MemberId> {
        let is_source = |peer: &MemberId| peers.get(*peer).is_some_and(&is_source);
        let can_begin = peers.ids().into_iter().filter(|peer| self.can_begin(local, peers, *peer));
        can_begin.filter(is_source).min_by_key(|peer| {
            let counts_all = |state: &Peer| state.progress().durable.covers_all(local.collected());
            let is_behind = !peers.get(*peer).is_some_and(counts_all);
            let incarnation = peers.get(*peer).map_or(0, |state| state.handshake.incarnation());
            let is_suspended = self.suspended.contains(*peer, incarnation);
            (is_behind, !is_suspended, self.failed.get(peer).copied())
        })
    }
}
