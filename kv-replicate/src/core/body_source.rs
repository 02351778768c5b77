//! Serves the pieces of large bodies that peers request.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::actions::{Context, Keep, Pending, weight};
use crate::{
    MemberId,
    wire::{GetBody, Message},
    work::Work,
};

/// How many requests of one peer for bodies may wait.
const MAX_BODIES: usize = 16;

/// How many pieces may wait for a peer to take them.
const MAX_PIECES: usize = 2;

/// Why a piece of a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPiece {
    /// The key no longer holds that write.
    Gone,
    /// The chunk can't be read.
    Damaged,
}

/// Whether the store reads a piece for a peer. It reads one at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reading {
    /// No read is under way.
    #[default]
    Idle,
    /// The store reads a piece. Its result arrives even if the link ends meanwhile.
    UnderWay,
}

/// The requests of one peer.
#[derive(Debug, Default)]
struct Requests {
    /// The requests that are not served completely, in the order in which they are served. At most
    /// `MAX_BODIES`.
    waiting: VecDeque<GetBody>,
    /// The pieces and refusals that wait to be sent. At most `MAX_PIECES` are read ahead.
    pieces: VecDeque<Message>,
    /// Whether the store reads a piece for this peer.
    reading: Reading,
}

impl Requests {
    /// Queues a piece and moves its request to the end of the line, so that a long body holds up no short
    /// one.
    fn answer(&mut self, (fetch, offset): (u64, u64), bytes: Result<Bytes, NoPiece>) {
        let is_asked = |get: &GetBody| get.fetch == fetch && get.offset == offset;
        let Some(at) = self.waiting.iter().position(is_asked) else { return };
        let Some(mut get) = self.waiting.remove(at) else { return };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(why) => {
                let is_damaged = why == NoPiece::Damaged;
                return self.pieces.push_back(Message::NoBody { fetch, is_damaged });
            }
        };
        let len = bytes.len() as u64;
        get.offset += len;
        get.len = get.len.saturating_sub(u32::try_from(len).unwrap_or(u32::MAX));
        if get.len > 0 {
            self.waiting.push_back(get);
        }
        self.pieces.push_back(Message::Piece { fetch, offset, bytes });
    }
}

/// The requests of all peers for bodies.
#[derive(Debug, Default)]
pub(super) struct BodySource {
    /// The requests by peer.
    peers: BTreeMap<MemberId, Requests>,
}

impl BodySource {
    /// A peer requests bytes of a body.
    pub(super) fn get(&mut self, cx: &mut Context<'_>, from: MemberId, get: GetBody) {
        if !cx.local.is_served(from) || !cx.peers.contains(from) {
            return;
        }
        let requests = self.peers.entry(from).or_default();
        // A repeated request replaces the former one.
        requests.waiting.retain(|waiting| waiting.fetch != get.fetch);
        if requests.waiting.len() < MAX_BODIES {
            requests.waiting.push_back(get);
        }
        self.read_next(cx, from);
    }

    /// Requests the next piece for a peer from the store, if there is room for it.
    fn read_next(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        let id = cx.out.next_id();
        let Some(requests) = self.peers.get_mut(&peer) else { return };
        if requests.reading == Reading::UnderWay || requests.pieces.len() >= MAX_PIECES {
            return;
        }
        let Some(get) = requests.waiting.front() else { return };
        requests.reading = Reading::UnderWay;
        let (fetch, offset) = (get.fetch, get.offset);
        let (namespace, key, dot) = (get.namespace, get.key.clone(), get.dot);
        let work = Work::ReadBody { id, namespace, key, dot, offset };
        cx.out.request(id, Pending::Body { peer, fetch, offset }, work);
    }

    /// A piece was read, or can't be.
    pub(super) fn read(
        &mut self,
        cx: &mut Context<'_>,
        peer: MemberId,
        piece: (u64, u64),
        bytes: Result<Bytes, NoPiece>,
    ) {
        if !cx.peers.contains(peer) {
            return;
        }
        if let Some(requests) = self.peers.get_mut(&peer) {
            requests.reading = Reading::Idle;
            requests.answer(piece, bytes);
        }
        self.read_next(cx, peer);
    }

    /// The next piece for a peer.
    pub(super) fn next(&mut self, cx: &mut Context<'_>, peer: MemberId) -> Option<Message> {
        let piece = self.peers.get_mut(&peer)?.pieces.pop_front()?;
        self.read_next(cx, peer);
        Some(piece)
    }

    /// Drops the requests of a peer. A read that is under way is still accounted for if the link is replaced.
    pub(super) fn disconnect(&mut self, peer: MemberId, keep: Keep) {
        let Some(before) = self.peers.remove(&peer) else { return };
        if keep == Keep::StoreWork {
            self.peers.insert(peer, Requests { reading: before.reading, ..Requests::default() });
        }
    }

    /// About how many bytes the requests and the pieces that wait take.
    pub(super) fn memory_bytes(&self) -> usize {
        let of = |requests: &Requests| {
            requests.waiting.len() * 640 + requests.pieces.iter().map(weight).sum::<usize>()
        };
        self.peers.values().map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use kv_core::NamespaceId;

    use super::*;
    use crate::core::testing::{Fixture, PEER, dot};

    fn get(fetch: u64, len: u32) -> GetBody {
        let (namespace, key) = (NamespaceId([3; 16]), kv_core::Key::new("key").unwrap());
        GetBody { fetch, namespace, dot: dot(1), offset: 0, len, key }
    }

    /// Answers the read that is under way.
    fn answer(fixture: &mut Fixture, source: &mut BodySource, bytes: Option<&'static [u8]>) {
        let Some(Work::ReadBody { id, .. }) = fixture.poll_work() else { panic!("no read") };
        let Some(Pending::Body { peer, fetch, offset }) = fixture.out().finished(id) else {
            panic!("no purpose")
        };
        let bytes = bytes.map(Bytes::from_static).ok_or(NoPiece::Gone);
        source.read(&mut fixture.context(), peer, (fetch, offset), bytes);
    }

    #[test]
    fn bodies_take_turns_and_pieces_wait_in_bounds() {
        let mut fixture = Fixture::new();
        fixture.connect(PEER);
        let mut source = BodySource::default();
        source.get(&mut fixture.context(), PEER, get(1, 6));
        source.get(&mut fixture.context(), PEER, get(2, 3));
        answer(&mut fixture, &mut source, Some(b"abc"));
        answer(&mut fixture, &mut source, Some(b"xyz"));
        assert!(fixture.poll_work().is_none(), "two pieces wait");
        let mut names = Vec::new();
        while let Some(Message::Piece { fetch, offset, .. }) =
            source.next(&mut fixture.context(), PEER)
        {
            names.push((fetch, offset));
        }
        assert_eq!(names, [(1, 0), (2, 0)]);
        answer(&mut fixture, &mut source, None);
        let gone = source.next(&mut fixture.context(), PEER);
        assert_eq!(gone, Some(Message::NoBody { fetch: 1, is_damaged: false }));
    }
}
