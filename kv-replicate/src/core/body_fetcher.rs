//! Fetches large bodies piece by piece, for live writes and for sessions.
//!
//! As many bytes are requested at a time as a long and fast link holds, so that it is never idle between two
//! bodies. A body that was overwritten at its source is replaced by that of the later write, which the source
//! sends without another request.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use kv_core::{DamagedKey, Dot, OriginId, limits::CHUNK_BYTES};

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

/// How many pieces of other bodies a peer may send before a fetch counts as passed over: a source serves its requests
/// in turns, and twice this often it has served each of them.
const MAX_PASSED_OVER: u64 = 2 * MAX_AT_ONCE as u64;

/// How often the write whose body is fetched may be replaced before the fetch is given up. A source reads the body of
/// the later write from the view that named it, so that one replacement is mostly enough.
const MAX_REPLACED: u8 = 8;

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
    /// The bytes up to this one were requested, and how often without an answer.
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
    /// How many pieces the peer had sent by then.
    moved_after: u64,
    /// How often its write was replaced by a later one.
    replaced: u8,
}

/// The pieces that a peer has sent, of any body. On a slow link a body may wait for those of others.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    /// How many have arrived.
    pieces: u64,
    /// When the last one did.
    last: Duration,
}

/// A later write that replaced the one whose body is fetched.
#[derive(Debug)]
pub(super) enum Successor {
    /// Its body is fetched instead, or that of a later one yet.
    Fetched,
    /// It needs no fetch, or none any more.
    Whole(Box<Fetched>),
    /// It was replaced too often: the fetch must be given up.
    Endless,
    /// The peer named a row of another key.
    Invalid,
}

impl Fetch {
    /// When the fetch is late: when its peer has sent no piece at all for a while, or many pieces and none of its body.
    fn timeout(&self, pace: Pace) -> Duration {
        let tries = match self.state {
            State::Queued => 0,
            State::Requested { tries, .. } => tries,
        };
        let is_passed_over = pace.pieces.saturating_sub(self.moved_after) > MAX_PASSED_OVER;
        let since = if is_passed_over { self.moved_at } else { self.moved_at.max(pace.last) };
        since + PATIENCE * (1 << tries)
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

    /// The bytes of its next request.
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
    /// Whether the row is a later write that replaced the requested one.
    pub(super) is_successor: bool,
}

/// All fetches that are under way.
#[derive(Debug, Default)]
pub(super) struct BodyFetcher {
    /// The fetches by their numbers, which rise, so that older fetches come first.
    fetches: BTreeMap<u64, Fetch>,
    /// The pieces that each peer has sent.
    paces: BTreeMap<MemberId, Pace>,
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
        let fetch = Fetch {
            peer,
            purpose,
            row,
            len,
            received: 0,
            state: State::Queued,
            moved_at: cx.local.mono(),
            moved_after: self.pace(peer).pieces,
            replaced: 0,
        };
        self.fetches.insert(id, fetch);
        id
    }

    /// Requests the queued bodies that there is room for now, those of live writes first.
    pub(super) fn request_queued(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        for is_live in [true, false] {
            let is_next = |fetch: &Fetch| {
                fetch.peer == peer && fetch.is_queued() && fetch.is_live() == is_live
            };
            for id in self.ids(is_next) {
                if !self.has_room(&self.fetches[&id]) || !cx.out.has_room_for_requests(peer) {
                    break;
                }
                self.request(cx, id, 0);
            }
        }
    }

    /// Whether a queued body may be requested now. Those of sessions make room for live ones, and not the other way
    /// round. But one of each kind is requested from each peer, so that live bodies never stop a session.
    fn has_room(&self, next: &Fetch) -> bool {
        let is_live = next.is_live();
        let requested = || self.fetches.values().filter(|fetch| !fetch.is_queued());
        let of_peer = || requested().filter(|fetch| fetch.peer == next.peer);
        if of_peer().count() >= MAX_AT_ONCE - usize::from(is_live) {
            return false;
        }
        let is_first = !of_peer().any(|fetch| fetch.is_live() == is_live);
        let counts = |fetch: &&Fetch| fetch.is_live() || !is_live;
        let in_flight: u64 = requested().filter(counts).map(Fetch::in_flight).sum();
        is_first || in_flight + next.next_len() <= MAX_BYTES
    }

    /// The pieces that a peer has sent.
    fn pace(&self, peer: MemberId) -> Pace {
        self.paces.get(&peer).copied().unwrap_or_default()
    }

    /// Requests the next pieces of a body.
    fn request(&mut self, cx: &mut Context<'_>, id: u64, tries: u32) {
        let paces = &self.paces;
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        let len = fetch.next_len();
        fetch.state = State::Requested { upto: fetch.received + len, tries };
        fetch.moved_at = cx.local.mono();
        fetch.moved_after = paces.get(&fetch.peer).map_or(0, |pace| pace.pieces);
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
        let pace = self.paces.entry(from).or_default();
        *pace = Pace { pieces: pace.pieces + 1, last: cx.local.mono() };
        if dot != fetch.row.dot || offset != fetch.received {
            return None;
        }
        let expected = (fetch.len - fetch.received).min(CHUNK_BYTES as u64);
        if bytes.len() as u64 != expected {
            cx.out.close(from, "the peer sent a piece of a body with a wrong length");
            return None;
        }
        fetch.received += expected;
        (fetch.moved_at, fetch.moved_after) = (pace.last, pace.pieces);
        cx.out.work(Work::Stage { fetch: id, bytes });
        let mut upto_received = None;
        if let State::Requested { upto, tries } = &mut fetch.state {
            *tries = tries.saturating_sub(1);
            // A piece of a request that was repeated may come after it.
            *upto = (*upto).max(fetch.received);
            upto_received = (*upto == fetch.received).then_some(*tries);
        }
        if fetch.received == fetch.len {
            let Fetch { peer, purpose, row, replaced, .. } = self.fetches.remove(&id)?;
            let is_successor = replaced > 0;
            return Some(Fetched { peer, purpose, row, fetch: Some(id), is_successor });
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
            Content::Large { .. } if !is_here && fetch.replaced >= MAX_REPLACED => {
                Successor::Endless
            }
            Content::Large { len, .. } if !is_here => {
                fetch.replaced += 1;
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
                let is_successor = !is_same;
                self.discard(cx.out, id);
                let fetched = Fetched { peer, purpose, row, fetch: None, is_successor };
                Successor::Whole(Box::new(fetched))
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

    /// Ends a fetch whose body is not needed any more. The store drops what it holds of the body, also if that is whole
    /// and the fetch has ended.
    pub(super) fn discard(&mut self, out: &mut Actions, id: u64) {
        self.fetches.remove(&id);
        out.work(Work::Discard { fetch: id });
    }

    /// The fetches of a session: the write that each fetches, its batch, and its number.
    pub(super) fn of_session(&self, session: u64) -> impl Iterator<Item = (Dot, u32, u64)> + '_ {
        self.fetches.iter().filter_map(move |(id, fetch)| match fetch.purpose {
            Purpose::Session(of, batch) if of == session => Some((fetch.row.dot, batch, *id)),
            _ => None,
        })
    }

    /// A fetch of a session is for another batch from now on, which names its row again.
    pub(super) fn move_to(&mut self, id: u64, (session, batch): (u64, u32)) {
        if let Some(fetch) = self.fetches.get_mut(&id) {
            fetch.purpose = Purpose::Session(session, batch);
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
        self.ids(|fetch| now >= fetch.timeout(self.pace(fetch.peer)))
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
        self.fetches.values().map(|fetch| fetch.timeout(self.pace(fetch.peer))).min()
    }

    /// About how many bytes the fetches take. The received pieces are with the store.
    pub(super) fn memory_bytes(&self) -> usize {
        self.fetches.values().map(|fetch| 128 + fetch.row.weight()).sum()
    }
}
