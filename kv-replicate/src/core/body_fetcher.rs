//! Fetches large bodies piece by piece, for live writes and for sessions.
//!
//! As many bytes are requested at a time as a long and fast link holds, so that it is never idle between two
//! bodies. A body that was overwritten at its source is replaced by that of the later write, which the source
//! sends without another request.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use kv_core::{DamagedKey, OriginId, limits::CHUNK_BYTES};

use super::actions::{Actions, Context, PieceName};
use crate::{
    Content, MemberId, Row,
    notice::Notice,
    wire::{GetBody, MAX_ASKED_BYTES, Message},
    work::Work,
};

#[cfg(test)]
mod tests;

/// How long a piece may take before it is requested again; doubled with each repetition.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a piece is requested before the body is given up.
const MAX_TRIES: u32 = 4;

/// How many bytes of bodies are requested at a time, from all peers together: what 600 Mbit/s hold in 200 ms. As
/// many again may be of live writes. From a peer that nothing is requested from, one request is made all the same.
const MAX_BYTES: u64 = 16 << 20;

/// How many bodies are requested from one peer at a time: no source lets more requests wait.
const MAX_AT_ONCE: usize = 256;

/// The purpose of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The next write of an origin.
    Live(OriginId),
    /// A row of a batch of a session.
    Session(u64, u32),
    /// A row that was found by name: the round and the place of its key in it.
    Found { round: u64, key: usize },
}

/// How far a fetch is.
#[derive(Debug)]
enum State {
    /// It waits for other fetches from its peer.
    Queued,
    /// The bytes up to this one were requested, so many times in vain.
    Requested { upto: u64, tries: u32 },
}

/// The fetch of a body.
#[derive(Debug)]
struct Fetch {
    /// The peer that the body is requested from.
    peer: MemberId,
    /// Which machine receives the body.
    purpose: Purpose,
    /// The row that the body belongs to.
    row: Row,
    /// The length of the body in bytes, as its row announces it.
    len: u64,
    /// The bytes that have arrived, from the start of the body.
    received: u64,
    /// How far the fetch is.
    state: State,
    /// When it last moved.
    moved_at: Duration,
}

/// A later write that replaced the one whose body is fetched.
#[derive(Debug)]
pub(super) enum Successor {
    /// Its body is fetched instead, or that of a later one yet.
    Fetched,
    /// It needs no fetch, or none any more.
    Whole(Box<Fetched>),
    /// The peer named a row of another key.
    Invalid,
}

impl Fetch {
    /// When the fetch is late.
    fn timeout(&self) -> Duration {
        let tries = match self.state {
            State::Queued => 0,
            State::Requested { tries, .. } => tries,
        };
        self.moved_at + PATIENCE * (1 << tries)
    }

    /// Whether nothing was requested of it yet.
    fn is_queued(&self) -> bool {
        matches!(self.state, State::Queued)
    }

    /// The bytes that were requested and have not arrived.
    fn in_flight(&self) -> u64 {
        match self.state {
            State::Queued => 0,
            State::Requested { upto, .. } => upto - self.received,
        }
    }

    /// The bytes that its next request asks for.
    fn next_len(&self) -> u64 {
        (self.len - self.received).min(u64::from(MAX_ASKED_BYTES))
    }

    /// Whether live writes wait for it. They go before sessions, which have time.
    fn is_live(&self) -> bool {
        matches!(self.purpose, Purpose::Live(_))
    }
}

/// A body that is here whole.
#[derive(Debug)]
pub(super) struct Fetched {
    /// The peer that the body came from.
    pub(super) peer: MemberId,
    /// Which machine receives it.
    pub(super) purpose: Purpose,
    /// The row that it belongs to.
    pub(super) row: Row,
    /// The fetch that brought it; none if the row, which replaced the requested one, needs none.
    pub(super) fetch: Option<u64>,
}

/// All fetches that are under way.
#[derive(Debug, Default)]
pub(super) struct BodyFetcher {
    /// The fetches by their numbers, which rise, so that older fetches come first.
    fetches: BTreeMap<u64, Fetch>,
}

impl BodyFetcher {
    /// Begins to fetch the body of a row. Returns the number of the fetch. [`BodyFetcher::request_queued`] requests it.
    pub(super) fn begin(
        &mut self,
        cx: &mut Context<'_>,
        peer: MemberId,
        row: Row,
        purpose: Purpose,
    ) -> u64 {
        let id = cx.out.unique_id();
        let len = match row.content {
            Content::Large { len, .. } => len,
            _ => 0,
        };
        let (state, moved_at) = (State::Queued, cx.local.mono());
        let fetch = Fetch { peer, purpose, row, len, received: 0, state, moved_at };
        self.fetches.insert(id, fetch);
        id
    }

    /// Requests the queued bodies that there is room for now, those of live writes first.
    pub(super) fn request_queued(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        let of_peer = |fetch: &&Fetch| fetch.peer == peer && !fetch.is_queued();
        let mut at_once = self.fetches.values().filter(of_peer).count();
        for is_live in [true, false] {
            // Those of sessions make room for live ones, and not the other way round.
            let counts = |fetch: &&Fetch| fetch.is_live() || !is_live;
            let mut in_flight: u64 =
                self.fetches.values().filter(counts).map(Fetch::in_flight).sum();
            let is_next = |fetch: &Fetch| {
                fetch.peer == peer && fetch.is_queued() && fetch.is_live() == is_live
            };
            for id in self.ids(is_next) {
                let len = self.fetches[&id].next_len();
                let is_full = at_once >= MAX_AT_ONCE || in_flight + len > MAX_BYTES;
                if (is_full && at_once > 0) || !cx.out.has_room_for_requests(peer) {
                    return;
                }
                self.request(cx, id, 0);
                (at_once, in_flight) = (at_once + 1, in_flight + len);
            }
        }
    }

    /// Requests the next pieces of a body.
    fn request(&mut self, cx: &mut Context<'_>, id: u64, tries: u32) {
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        let len = fetch.next_len();
        fetch.state = State::Requested { upto: fetch.received + len, tries };
        fetch.moved_at = cx.local.mono();
        let get = GetBody {
            fetch: id,
            namespace: fetch.row.namespace,
            dot: fetch.row.dot,
            offset: fetch.received,
            len: u32::try_from(len).unwrap_or(MAX_ASKED_BYTES),
            key: fetch.row.key.clone(),
        };
        cx.out.send(fetch.peer, Message::GetBody(get));
    }

    /// A piece arrived. Returns the body's fetch if it is whole now.
    pub(super) fn piece(
        &mut self,
        cx: &mut Context<'_>,
        from: MemberId,
        piece: PieceName,
        bytes: Bytes,
    ) -> Option<Fetched> {
        let PieceName { fetch: id, dot, offset } = piece;
        let fetch = self.fetches.get_mut(&id).filter(|fetch| fetch.peer == from)?;
        if dot != fetch.row.dot || offset != fetch.received {
            return None;
        }
        let expected = (fetch.len - fetch.received).min(CHUNK_BYTES as u64);
        if bytes.len() as u64 != expected {
            cx.out.close(from, "the peer sent a piece of a body with a wrong length");
            return None;
        }
        fetch.received += expected;
        fetch.moved_at = cx.local.mono();
        cx.out.work(Work::Stage { fetch: id, bytes });
        let mut upto_received = None;
        if let State::Requested { upto, tries } = &mut fetch.state {
            *tries = tries.saturating_sub(1);
            // A piece of a request that was repeated may come after it.
            *upto = (*upto).max(fetch.received);
            upto_received = (*upto == fetch.received).then_some(*tries);
        }
        if fetch.received == fetch.len {
            let Fetch { peer, purpose, row, .. } = self.fetches.remove(&id)?;
            return Some(Fetched { peer, purpose, row, fetch: Some(id) });
        }
        if let Some(tries) = upto_received {
            self.request(cx, id, tries);
        }
        None
    }

    /// The write whose body is fetched was replaced at its source by a later one of the same key, or its value
    /// has expired.
    pub(super) fn replace(&mut self, cx: &mut Context<'_>, id: u64, row: Row) -> Successor {
        let Some(fetch) = self.fetches.get_mut(&id) else { return Successor::Invalid };
        let is_same = row.dot == fetch.row.dot && row.content == Content::Expired;
        let is_key = row.namespace == fetch.row.namespace && row.key == fetch.row.key;
        if !is_key {
            return Successor::Invalid;
        }
        if !is_same && row.version() <= fetch.row.version() {
            // It arrived twice, or late.
            return Successor::Fetched;
        }
        cx.out.notice(Notice::BodyReplaced(fetch.peer));
        // A row that is found by name is fetched because it may be missing although the vector counts it.
        let is_found = matches!(fetch.purpose, Purpose::Found { .. });
        let is_here = !is_found && cx.local.visible().covers(row.dot);
        match row.content {
            Content::Large { len, .. } if !is_here => {
                if fetch.received > 0 {
                    cx.out.work(Work::Discard { fetch: id });
                }
                (fetch.row, fetch.len, fetch.received) = (row, len, 0);
                // Its pieces follow.
                fetch.state = State::Requested { upto: fetch.next_len(), tries: 0 };
                fetch.moved_at = cx.local.mono();
                Successor::Fetched
            }
            _ => {
                let (peer, purpose) = (fetch.peer, fetch.purpose);
                self.discard(cx.out, id);
                Successor::Whole(Box::new(Fetched { peer, purpose, row, fetch: None }))
            }
        }
    }

    /// Whether a fetch is under way from a peer.
    pub(super) fn is_from(&self, id: u64, peer: MemberId) -> bool {
        self.fetches.get(&id).is_some_and(|fetch| fetch.peer == peer)
    }

    /// The session and the batch that fetch a body, and the key of its row; none if no session does.
    pub(super) fn session_row(&self, id: u64) -> Option<((u64, u32), DamagedKey)> {
        let Fetch { purpose, row, .. } = self.fetches.get(&id)?;
        let Purpose::Session(session, batch) = *purpose else { return None };
        let (namespace, key, dot) = (row.namespace, row.key.clone(), row.dot);
        Some(((session, batch), DamagedKey { namespace, key, dot }))
    }

    /// A body can't be had: it was overwritten at its source, or the link is down. Returns its peer and
    /// its purpose.
    pub(super) fn lose(&mut self, out: &mut Actions, id: u64) -> Option<(MemberId, Purpose)> {
        let fetch = self.fetches.get(&id)?;
        let (peer, purpose) = (fetch.peer, fetch.purpose);
        out.notice(Notice::BodyLost(peer));
        self.discard(out, id);
        Some((peer, purpose))
    }

    /// Ends a fetch whose body is not needed any more.
    pub(super) fn discard(&mut self, out: &mut Actions, id: u64) {
        if self.fetches.remove(&id).is_some() {
            out.work(Work::Discard { fetch: id });
        }
    }

    /// Ends the fetches of a session.
    pub(super) fn discard_session(&mut self, out: &mut Actions, session: u64) {
        for id in
            self.ids(|fetch| matches!(fetch.purpose, Purpose::Session(id, _) if id == session))
        {
            self.discard(out, id);
        }
    }

    /// The numbers of all fetches, in their order.
    pub(super) fn all(&self) -> Vec<u64> {
        self.ids(|_| true)
    }

    /// The numbers of the fetches from a peer, in their order.
    pub(super) fn of_peer(&self, peer: MemberId) -> Vec<u64> {
        self.ids(|fetch| fetch.peer == peer)
    }

    /// The fetches that have not moved for too long.
    pub(super) fn late(&self, now: Duration) -> Vec<u64> {
        self.ids(|fetch| now >= fetch.timeout())
    }

    /// The numbers of some fetches, in their order.
    fn ids(&self, is_wanted: impl Fn(&Fetch) -> bool) -> Vec<u64> {
        self.fetches.iter().filter(|(_, fetch)| is_wanted(fetch)).map(|(id, _)| *id).collect()
    }

    /// Repeats the request of a late fetch. Returns whether it must be given up.
    pub(super) fn retry(&mut self, cx: &mut Context<'_>, id: u64) -> bool {
        let Some(fetch) = self.fetches.get_mut(&id) else { return false };
        match fetch.state {
            State::Queued => fetch.moved_at = cx.local.mono(),
            State::Requested { tries, .. } if tries >= MAX_TRIES => return true,
            State::Requested { tries, .. } => self.request(cx, id, tries + 1),
        }
        false
    }

    /// When the first fetch is late.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.fetches.values().map(Fetch::timeout).min()
    }

    /// About how many bytes the fetches take. The received pieces are with the store.
    pub(super) fn memory_bytes(&self) -> usize {
        self.fetches.values().map(|fetch| 128 + fetch.row.weight()).sum()
    }
}
