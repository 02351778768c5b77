//! Serves the pieces of large bodies that peers request.
//!
//! A body of several pieces is read from the view that had it when its first piece was read: a key that is
//! rewritten faster than a round trip would otherwise never arrive. If the requested write was replaced before, the
//! answer names the write that replaced it, and the pieces of that one follow without another request.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    actions::{Actions, Context, Keep, Pending, PieceName},
    weight,
};
use crate::{
    Content, MemberId, Row,
    wire::{GetBody, MAX_ASKED_BYTES, Message, NoBody},
    work::{FoundBody, Work},
};
use bytes::Bytes;

#[cfg(test)]
mod tests;

/// How many requests of one peer for bodies may wait: as many as a peer makes at a time.
const MAX_BODIES: usize = 256;

/// How many pieces may wait for a peer to take them.
const MAX_PIECES: usize = 2;

/// How long the view that a body is read from is kept although its peer requests nothing of the body.
const IDLE: Duration = Duration::from_secs(30);

/// How long it is kept at most: on a slow link, a long body beside many others takes minutes.
const PINNED_FOR: Duration = Duration::from_secs(300);

/// How many views are pinned at most, for all peers together. The store takes more, so that there is room for those of
/// sessions.
const MAX_PINNED: usize = 512;

/// About how many bytes a pinned view holds: the vectors of its commit, which many share.
const PINNED_BYTES: usize = 1 << 10;

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
    /// When it was last in use: the body was in line, and the peer was sent a piece, of this body or another one.
    used: Duration,
}

impl Pinned {
    /// When it must be dropped.
    fn over_at(&self) -> Duration {
        (self.used + IDLE).min(self.since + PINNED_FOR)
    }
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
    /// The views of the bodies whose first pieces were read and whose last were not, by the peer's fetches. At most
    /// `MAX_BODIES`.
    pinned: BTreeMap<u64, Pinned>,
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
            // The peer requests it again.
            FoundBody::Failed => self.unpin(out, get.fetch),
        }
    }

    /// Queues the reason why there is no piece.
    fn refuse(&mut self, out: &mut Actions, get: &GetBody, why: NoBody) {
        self.unpin(out, get.fetch);
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
            self.unpin(out, fetch);
        } else if get.len > 0 {
            self.waiting.push_back(get);
        }
        self.pieces.push_back(Message::Piece { fetch, dot, offset, bytes });
    }

    /// Queues the row that replaced a write. The pieces of its body are next.
    fn replaced(&mut self, out: &mut Actions, get: GetBody, row: Box<Row>) {
        if let Content::Large { len, .. } = row.content {
            // The store has pinned the view that has this row.
            let len = len.min(u64::from(MAX_ASKED_BYTES));
            let len = u32::try_from(len).unwrap_or(MAX_ASKED_BYTES);
            self.waiting.push_front(GetBody { dot: row.dot, offset: 0, len, ..get.clone() });
        } else {
            self.unpin(out, get.fetch);
        }
        self.pieces.push_back(Message::NoBody { fetch: get.fetch, why: NoBody::Replaced(row) });
    }

    /// The views of the bodies that are in line are in use.
    fn refresh(&mut self, now: Duration) {
        for get in &self.waiting {
            if let Some(pinned) = self.pinned.get_mut(&get.fetch) {
                pinned.used = now;
            }
        }
    }

    /// Drops the view of a body.
    fn unpin(&mut self, out: &mut Actions, fetch: u64) {
        if let Some(Pinned { pin, .. }) = self.pinned.remove(&fetch) {
            out.work(Work::Unpin { pin });
        }
    }

    /// Drops the view that was not in use for longest.
    fn unpin_oldest(&mut self, out: &mut Actions) {
        let oldest = self.pinned.iter().min_by_key(|(_, pinned)| pinned.used);
        if let Some(fetch) = oldest.map(|(fetch, _)| *fetch) {
            self.unpin(out, fetch);
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
        // A repeated request replaces the former one, and keeps its place: on a slow link it would never be its turn.
        let is_former = |waiting: &&mut GetBody| waiting.fetch == get.fetch;
        if let Some(former) = requests.waiting.iter_mut().find(is_former) {
            *former = get;
        } else if requests.waiting.len() < MAX_BODIES {
            requests.waiting.push_back(get);
        }
        self.read_next(cx, from);
    }

    /// Requests the next piece for a peer from the store, if there is room for it.
    fn read_next(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        let id = cx.out.next_id();
        let pinned: usize = self.peers.values().map(|requests| requests.pinned.len()).sum();
        let Some(requests) = self.peers.get_mut(&peer) else { return };
        if requests.reading == Reading::UnderWay || requests.pieces.len() >= MAX_PIECES {
            return;
        }
        let Some(get) = requests.waiting.front() else { return };
        requests.reading = Reading::UnderWay;
        let piece = PieceName { fetch: get.fetch, dot: get.dot, offset: get.offset };
        let (namespace, key, dot, offset) = (get.namespace, get.key.clone(), get.dot, get.offset);
        let (fetch, now) = (get.fetch, cx.local.mono());
        let pin = match requests.pinned.get_mut(&fetch) {
            Some(pinned) => {
                pinned.used = now;
                pinned.pin
            }
            None => {
                if requests.pinned.len() >= MAX_BODIES {
                    requests.unpin_oldest(cx.out);
                } else if pinned >= MAX_PINNED {
                    self.unpin_of_most(cx.out);
                }
                let pinned = Pinned { pin: id, since: now, used: now };
                self.peers.entry(peer).or_default().pinned.insert(fetch, pinned);
                id
            }
        };
        let work = Work::ReadBody { id, pin, namespace, key, dot, offset };
        cx.out.request(id, Pending::Body { peer, piece }, work);
    }

    /// Drops the oldest view of the peer that has most of them.
    fn unpin_of_most(&mut self, out: &mut Actions) {
        if let Some(most) = self.peers.values_mut().max_by_key(|requests| requests.pinned.len()) {
            most.unpin_oldest(out);
        }
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
            requests.refresh(cx.local.mono());
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
                let is_over = now >= pinned.over_at();
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
        pinned.map(Pinned::over_at).min()
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
                + requests.pinned.len() * PINNED_BYTES
                + requests.pieces.iter().map(weight::of_message).sum::<usize>()
        };
        self.peers.values().map(of).sum()
    }
}
