//! Serves the pieces of large bodies that peers request.
//!
//! A body of several pieces is read from the view that had it when its first piece was read: a key that is
//! rewritten faster than a round trip would otherwise never arrive. If the requested write was replaced before, the
//! answer names the write that replaced it, and the pieces of that one follow without another request.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use kv_core::Dot;

use super::actions::{Actions, Context, Keep, Pending, PieceName, weight};
use crate::{
    Content, MemberId, Row,
    wire::{GetBody, MAX_ASKED_BYTES, Message, NoBody},
    work::{FoundBody, Work},
};

/// How many requests of one peer for bodies may wait: as many as a peer makes at a time.
const MAX_BODIES: usize = 256;

/// How many pieces may wait for a peer to take them.
const MAX_PIECES: usize = 2;

/// How long the view that a body is read from is kept at most.
const PINNED_FOR: Duration = Duration::from_secs(30);

/// Whether the store reads a piece for a peer. It reads one at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reading {
    /// No read is under way.
    #[default]
    Idle,
    /// The store reads a piece. Its result arrives even if the link ends meanwhile.
    UnderWay,
}

/// The view that a body is read from.
#[derive(Clone, Copy, Debug)]
struct Pinned {
    /// The number that the store knows it by.
    pin: u64,
    /// When its first piece was requested.
    since: Duration,
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
    /// The views of the bodies whose first pieces were read and whose last were not. At most `MAX_BODIES`.
    pinned: BTreeMap<Dot, Pinned>,
}

impl Requests {
    /// Queues what was found.
    fn answer(&mut self, out: &mut Actions, name: PieceName, found: FoundBody) {
        let is_asked =
            |get: &GetBody| (get.fetch, get.dot, get.offset) == (name.fetch, name.dot, name.offset);
        let Some(at) = self.waiting.iter().position(is_asked) else { return };
        let Some(get) = self.waiting.remove(at) else { return };
        match found {
            FoundBody::Chunk { bytes, is_last } => self.piece(out, get, bytes, is_last),
            FoundBody::Replaced(row) => self.replaced(out, get, row),
            FoundBody::Gone => self.refuse(out, &get, NoBody::Gone),
            FoundBody::Damaged => self.refuse(out, &get, NoBody::Damaged),
        }
    }

    /// Queues the reason why there is no piece.
    fn refuse(&mut self, out: &mut Actions, get: &GetBody, why: NoBody) {
        self.unpin(out, get.dot);
        self.pieces.push_back(Message::NoBody { fetch: get.fetch, why });
    }

    /// Queues a piece and moves its request to the end of the line, so that a long body holds up no short
    /// one.
    fn piece(&mut self, out: &mut Actions, mut get: GetBody, bytes: Bytes, is_last: bool) {
        let (fetch, dot, offset) = (get.fetch, get.dot, get.offset);
        let len = bytes.len() as u64;
        get.offset += len;
        get.len = get.len.saturating_sub(u32::try_from(len).unwrap_or(u32::MAX));
        if is_last {
            self.unpin(out, dot);
        } else if get.len > 0 {
            self.waiting.push_back(get);
        }
        self.pieces.push_back(Message::Piece { fetch, dot, offset, bytes });
    }

    /// Queues the row that replaced a write. The pieces of its body are next.
    fn replaced(&mut self, out: &mut Actions, get: GetBody, row: Box<Row>) {
        let before = self.pinned.remove(&get.dot);
        if let Content::Large { len, .. } = row.content {
            // The store has pinned the view that has this row.
            if let Some(pinned) = before
                && let Some(other) = self.pinned.insert(row.dot, pinned)
            {
                out.work(Work::Unpin { pin: other.pin });
            }
            let len = len.min(u64::from(MAX_ASKED_BYTES));
            let len = u32::try_from(len).unwrap_or(MAX_ASKED_BYTES);
            self.waiting.push_front(GetBody { dot: row.dot, offset: 0, len, ..get.clone() });
        } else if let Some(Pinned { pin, .. }) = before {
            out.work(Work::Unpin { pin });
        }
        self.pieces.push_back(Message::NoBody { fetch: get.fetch, why: NoBody::Replaced(row) });
    }

    /// Drops the view of a body.
    fn unpin(&mut self, out: &mut Actions, dot: Dot) {
        if let Some(Pinned { pin, .. }) = self.pinned.remove(&dot) {
            out.work(Work::Unpin { pin });
        }
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
        let piece = PieceName { fetch: get.fetch, dot: get.dot, offset: get.offset };
        let (namespace, key, dot, offset) = (get.namespace, get.key.clone(), get.dot, get.offset);
        if requests.pinned.len() >= MAX_BODIES
            && !requests.pinned.contains_key(&dot)
            && let Some((_, other)) = requests.pinned.pop_first()
        {
            cx.out.work(Work::Unpin { pin: other.pin });
        }
        let pinned = Pinned { pin: id, since: cx.local.mono() };
        let pin = requests.pinned.entry(dot).or_insert(pinned).pin;
        let work = Work::ReadBody { id, pin, namespace, key, dot, offset };
        cx.out.request(id, Pending::Body { peer, piece }, work);
    }

    /// A piece was read, or the reason why there is none.
    pub(super) fn read(
        &mut self,
        cx: &mut Context<'_>,
        peer: MemberId,
        piece: PieceName,
        found: FoundBody,
    ) {
        if !cx.peers.contains(peer) {
            return;
        }
        if let Some(requests) = self.peers.get_mut(&peer) {
            requests.reading = Reading::Idle;
            requests.answer(cx.out, piece, found);
        }
        self.read_next(cx, peer);
    }

    /// The next piece for a peer.
    pub(super) fn next(&mut self, cx: &mut Context<'_>, peer: MemberId) -> Option<Message> {
        let piece = self.peers.get_mut(&peer)?.pieces.pop_front()?;
        self.read_next(cx, peer);
        Some(piece)
    }

    /// Drops views that were kept for too long.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>) {
        let now = cx.local.mono();
        for requests in self.peers.values_mut() {
            requests.pinned.retain(|_, pinned| {
                let is_over = now >= pinned.since + PINNED_FOR;
                if is_over {
                    cx.out.work(Work::Unpin { pin: pinned.pin });
                }
                !is_over
            });
        }
    }

    /// When the first view must be dropped.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let pinned = self.peers.values().flat_map(|requests| requests.pinned.values());
        pinned.map(|pinned| pinned.since + PINNED_FOR).min()
    }

    /// The link to a peer is about to end: its views are dropped.
    pub(super) fn unpin(&mut self, out: &mut Actions, peer: MemberId) {
        if let Some(requests) = self.peers.get_mut(&peer) {
            for (_, Pinned { pin, .. }) in std::mem::take(&mut requests.pinned) {
                out.work(Work::Unpin { pin });
            }
        }
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
            requests.waiting.len() * 640
                + requests.pinned.len() * 64
                + requests.pieces.iter().map(weight).sum::<usize>()
        };
        self.peers.values().map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use kv_core::NamespaceId;

    use super::*;
    use crate::core::testing::{Fixture, PEER, dot, large_row_of};

    fn get(fetch: u64, len: u32) -> GetBody {
        let (namespace, key) = (NamespaceId([3; 16]), kv_core::Key::new("key").unwrap());
        GetBody { fetch, namespace, dot: dot(1), offset: 0, len, key }
    }

    fn connected() -> (Fixture, BodySource) {
        let mut fixture = Fixture::new();
        fixture.connect(PEER);
        (fixture, BodySource::default())
    }

    /// Answers the read that is under way. Returns the write, and the view that it is read from.
    fn answer(fixture: &mut Fixture, source: &mut BodySource, found: FoundBody) -> (Dot, u64) {
        let (id, dot, pin) = loop {
            match fixture.poll_work().expect("a read") {
                Work::ReadBody { id, dot, pin, .. } => break (id, dot, pin),
                Work::Unpin { .. } => {}
                other => panic!("{other:?}"),
            }
        };
        let Some(Pending::Body { peer, piece }) = fixture.out().finished(id) else {
            panic!("no purpose")
        };
        source.read(&mut fixture.context(), peer, piece, found);
        (dot, pin)
    }

    fn chunk(bytes: &'static [u8]) -> FoundBody {
        FoundBody::Chunk { bytes: Bytes::from_static(bytes), is_last: false }
    }

    #[test]
    fn bodies_take_turns_and_pieces_wait_in_bounds() {
        let (mut fixture, mut source) = connected();
        source.get(&mut fixture.context(), PEER, get(1, 6));
        source.get(&mut fixture.context(), PEER, get(2, 6));
        answer(&mut fixture, &mut source, chunk(b"abc"));
        answer(&mut fixture, &mut source, chunk(b"xyz"));
        assert!(fixture.poll_work().is_none(), "two pieces wait");
        let mut names = Vec::new();
        while let Some(Message::Piece { fetch, offset, .. }) =
            source.next(&mut fixture.context(), PEER)
        {
            names.push((fetch, offset));
        }
        assert_eq!(names, [(1, 0), (2, 0)]);
        answer(&mut fixture, &mut source, FoundBody::Gone);
        let gone = source.next(&mut fixture.context(), PEER);
        assert_eq!(gone, Some(Message::NoBody { fetch: 1, why: NoBody::Gone }));
        answer(&mut fixture, &mut source, FoundBody::Damaged);
        let damaged = source.next(&mut fixture.context(), PEER);
        assert_eq!(damaged, Some(Message::NoBody { fetch: 2, why: NoBody::Damaged }));
    }

    #[test]
    fn the_pieces_of_a_write_that_replaced_the_requested_one_follow_its_row() {
        let (mut fixture, mut source) = connected();
        source.get(&mut fixture.context(), PEER, get(1, 6));
        let row = Box::new(large_row_of(PEER, 2));
        let (_, pin) = answer(&mut fixture, &mut source, FoundBody::Replaced(row.clone()));
        let read = answer(&mut fixture, &mut source, chunk(b"abc"));
        assert_eq!(read, (dot(2), pin), "from the view that named it");
        let sent: Vec<_> =
            std::iter::from_fn(|| source.next(&mut fixture.context(), PEER)).collect();
        let bytes = Bytes::from_static(b"abc");
        let piece = Message::Piece { fetch: 1, dot: dot(2), offset: 0, bytes };
        assert_eq!(sent, [Message::NoBody { fetch: 1, why: NoBody::Replaced(row) }, piece]);
    }

    #[test]
    fn all_pieces_of_a_body_are_read_from_one_view_which_is_then_dropped() {
        let (mut fixture, mut source) = connected();
        source.get(&mut fixture.context(), PEER, get(1, 6));
        let (_, first) = answer(&mut fixture, &mut source, chunk(b"abc"));
        let last = FoundBody::Chunk { bytes: Bytes::from_static(b"de"), is_last: true };
        let (_, second) = answer(&mut fixture, &mut source, last);
        assert_eq!(first, second);
        assert!(matches!(fixture.poll_work(), Some(Work::Unpin { pin }) if pin == first));
        assert_eq!(source.timeout(), None);
    }

    #[test]
    fn a_view_that_a_peer_does_not_read_to_the_end_is_dropped_after_a_while() {
        let (mut fixture, mut source) = connected();
        source.get(&mut fixture.context(), PEER, get(1, 3));
        let (_, pin) = answer(&mut fixture, &mut source, chunk(b"abc"));
        assert_eq!(source.timeout(), Some(PINNED_FOR));
        fixture.wait(PINNED_FOR);
        source.watch(&mut fixture.context());
        assert!(matches!(fixture.poll_work(), Some(Work::Unpin { pin: one }) if one == pin));
    }
}
