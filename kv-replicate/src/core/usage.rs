//! What the owner shares with the other locations beside its store: pieces of usage of global limits. The core does not
//! read them.
//!
//! A piece that is sent to all goes to the peers that a link is up to. When a link comes up, and when pieces to a peer were
//! dropped because the link is too slow, the owner is told to send this peer everything.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::actions::Actions;
use crate::{
    MemberId,
    notice::Notice,
    wire::{MAX_USAGE_BYTES, Message},
};

/// The most pieces that wait to be sent to a peer.
const MAX_WAITING: usize = 64;

/// The pieces for each peer that a link is up to.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// The pieces, the oldest first.
    peers: BTreeMap<MemberId, Waiting>,
}

/// The pieces for one peer.
#[derive(Debug, Default)]
struct Waiting {
    /// The pieces, the oldest first.
    pieces: VecDeque<Bytes>,
    /// Pieces were dropped, and the owner does not know it yet.
    has_lost: bool,
}

impl Usage {
    /// A peer has introduced itself.
    pub(super) fn greeted(&mut self, out: &mut Actions, peer: MemberId) {
        self.peers.insert(peer, Waiting::default());
        out.notice(Notice::UsageWanted(peer));
    }

    /// The link to a peer has ended.
    pub(super) fn disconnect(&mut self, out: &mut Actions, peer: MemberId) {
        if self.peers.remove(&peer).is_some() {
            out.notice(Notice::UsageEnded(peer));
        }
    }

    /// The owner sends a piece, to one peer or to all.
    pub(super) fn send(&mut self, out: &mut Actions, to: Option<MemberId>, piece: &Bytes) {
        if piece.len() > MAX_USAGE_BYTES {
            debug_assert!(false, "a piece is too long for a message");
            return;
        }
        for (peer, waiting) in &mut self.peers {
            if to.is_some_and(|to| to != *peer) {
                continue;
            }
            if waiting.pieces.len() >= MAX_WAITING {
                waiting.pieces.clear();
                waiting.has_lost = true;
            }
            if !waiting.has_lost {
                waiting.pieces.push_back(piece.clone());
            }
            out.wake(*peer);
        }
    }

    /// The next piece to a peer.
    pub(super) fn next(&mut self, out: &mut Actions, peer: MemberId) -> Option<Message> {
        let waiting = self.peers.get_mut(&peer)?;
        if std::mem::take(&mut waiting.has_lost) {
            out.notice(Notice::UsageWanted(peer));
        }
        waiting.pieces.pop_front().map(Message::Usage)
    }

    /// A piece of a peer has arrived.
    pub(super) fn receive(&self, out: &mut Actions, from: MemberId, piece: Bytes) {
        if self.peers.contains_key(&from) {
            out.notice(Notice::Usage { from, piece });
        }
    }

    /// About how many bytes wait.
    pub(super) fn memory_bytes(&self) -> usize {
        self.peers.values().flat_map(|waiting| &waiting.pieces).map(Bytes::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{PEER, THIRD};

    fn notices(out: &mut Actions) -> Vec<Notice> {
        std::iter::from_fn(|| out.poll_notice()).collect()
    }

    fn pieces(usage: &mut Usage, out: &mut Actions, peer: MemberId) -> Vec<Message> {
        std::iter::from_fn(|| usage.next(out, peer)).collect()
    }

    #[test]
    fn a_piece_goes_to_one_peer_or_to_all_that_a_link_is_up_to() {
        let (mut usage, mut out) = (Usage::default(), Actions::new(1));
        let [one, two] = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
        usage.send(&mut out, None, &one);
        usage.greeted(&mut out, PEER);
        usage.greeted(&mut out, THIRD);
        usage.send(&mut out, None, &one);
        usage.send(&mut out, Some(THIRD), &two);
        let of_peer = [Message::Usage(one.clone())];
        assert_eq!(pieces(&mut usage, &mut out, PEER), of_peer);
        let of_third = [Message::Usage(one), Message::Usage(two)];
        assert_eq!(pieces(&mut usage, &mut out, THIRD), of_third);
        assert_eq!(
            notices(&mut out),
            [Notice::UsageWanted(PEER), Notice::UsageWanted(THIRD)],
            "each is sent everything when its link comes up"
        );
        usage.disconnect(&mut out, PEER);
        usage.disconnect(&mut out, PEER);
        assert_eq!(notices(&mut out), [Notice::UsageEnded(PEER)]);
    }

    #[test]
    fn a_slow_link_holds_a_bounded_number_of_pieces_and_is_sent_everything_after_more() {
        let (mut usage, mut out) = (Usage::default(), Actions::new(1));
        usage.greeted(&mut out, PEER);
        notices(&mut out);
        let piece = Bytes::from_static(b"piece");
        for _ in 0..2 * MAX_WAITING {
            usage.send(&mut out, None, &piece);
            assert!(usage.memory_bytes() <= MAX_WAITING * piece.len());
        }
        assert!(notices(&mut out).is_empty(), "not before the link has room");
        assert!(pieces(&mut usage, &mut out, PEER).is_empty());
        assert_eq!(notices(&mut out), [Notice::UsageWanted(PEER)]);
        usage.send(&mut out, None, &piece);
        assert_eq!(pieces(&mut usage, &mut out, PEER).len(), 1);
    }

    #[test]
    fn pieces_of_a_peer_without_a_link_are_dropped() {
        let (mut usage, mut out) = (Usage::default(), Actions::new(1));
        usage.receive(&mut out, PEER, Bytes::from_static(b"early"));
        assert!(notices(&mut out).is_empty());
        usage.greeted(&mut out, PEER);
        usage.receive(&mut out, PEER, Bytes::from_static(b"piece"));
        let piece = Bytes::from_static(b"piece");
        let both = [Notice::UsageWanted(PEER), Notice::Usage { from: PEER, piece }];
        assert_eq!(notices(&mut out), both);
    }
}
