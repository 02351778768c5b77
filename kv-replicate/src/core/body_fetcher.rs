//! Fetches large bodies piece by piece, for live writes and for sessions.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use kv_core::{DamagedKey, OriginId, limits::CHUNK_BYTES};

use super::actions::{Actions, Context};
use crate::{
    Content, MemberId, Row,
    notice::Notice,
    wire::{GetBody, MAX_ASKED_BYTES, Message},
    work::Work,
};

/// How long a piece may take before it is requested again; doubled with each repetition.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a piece is requested before the body is given up.
const MAX_TRIES: u32 = 4;

/// How many bodies are requested from one peer at a time.
const MAX_AT_ONCE: usize = 8;

/// The purpose of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The next write of an origin.
    Live(OriginId),
    /// A row of a session.
    Session(u64),
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
}

/// All fetches that are under way.
#[derive(Debug, Default)]
pub(super) struct BodyFetcher {
    /// The fetches by their numbers, which rise, so that older fetches come first.
    fetches: BTreeMap<u64, Fetch>,
}

impl BodyFetcher {
    /// Begins to fetch the body of a row. Returns the number of the fetch.
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
        self.request_queued(cx, peer);
        id
    }

    /// Requests the queued bodies that a peer has room for now, those of live writes first.
    pub(super) fn request_queued(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        let of_peer = || self.fetches.iter().filter(|(_, fetch)| fetch.peer == peer);
        let requested = of_peer().filter(|(_, fetch)| !fetch.is_queued()).count();
        let room = MAX_AT_ONCE.saturating_sub(requested);
        let mut queued: Vec<_> = of_peer()
            .filter(|(_, fetch)| fetch.is_queued())
            .map(|(id, fetch)| (!fetch.is_live(), *id))
            .collect();
        queued.sort_unstable();
        for (_, id) in queued.into_iter().take(room) {
            self.request(cx, id, 0);
        }
    }

    /// Requests the next pieces of a body.
    fn request(&mut self, cx: &mut Context<'_>, id: u64, tries: u32) {
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        let len = (fetch.len - fetch.received).min(u64::from(MAX_ASKED_BYTES));
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
        id: u64,
        (offset, bytes): (u64, Bytes),
    ) -> Option<Fetched> {
        let fetch = self.fetches.get_mut(&id).filter(|fetch| fetch.peer == from)?;
        if offset != fetch.received {
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
            upto_received = (*upto == fetch.received).then_some(*tries);
        }
        if fetch.received == fetch.len {
            let Fetch { peer, purpose, row, .. } = self.fetches.remove(&id)?;
            return Some(Fetched { peer, purpose, row });
        }
        if let Some(tries) = upto_received {
            self.request(cx, id, tries);
        }
        None
    }

    /// Whether a fetch is under way from a peer.
    pub(super) fn is_from(&self, id: u64, peer: MemberId) -> bool {
        self.fetches.get(&id).is_some_and(|fetch| fetch.peer == peer)
    }

    /// The session that fetches a body, and the key of its row; none if no session does.
    pub(super) fn session_row(&self, id: u64) -> Option<(u64, DamagedKey)> {
        let Fetch { purpose, row, .. } = self.fetches.get(&id)?;
        let Purpose::Session(session) = *purpose else { return None };
        let (namespace, key, dot) = (row.namespace, row.key.clone(), row.dot);
        Some((session, DamagedKey { namespace, key, dot }))
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
        for id in self.ids(|fetch| fetch.purpose == Purpose::Session(session)) {
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
            State::Queued => {
                fetch.moved_at = cx.local.mono();
                let peer = fetch.peer;
                self.request_queued(cx, peer);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{Fixture, PEER, THIRD, large_row_of};

    const LEN: u64 = 3 * CHUNK_BYTES as u64;

    fn row() -> Row {
        let content = Content::Large { len: LEN, digest: [1; 32] };
        Row { content, ..large_row_of(PEER, 1) }
    }

    fn begun() -> (Fixture, BodyFetcher, u64) {
        let mut fixture = Fixture::new();
        fixture.connect(PEER);
        let mut bodies = BodyFetcher::default();
        let id = bodies.begin(&mut fixture.context(), PEER, row(), Purpose::Session(1));
        (fixture, bodies, id)
    }

    /// The offset and the length of each request that was sent.
    fn requests(fixture: &mut Fixture) -> Vec<(u64, u64)> {
        let sent = fixture.sent(PEER).into_iter();
        sent.filter_map(|message| match message {
            Message::GetBody(get) => Some((get.offset, u64::from(get.len))),
            _ => None,
        })
        .collect()
    }

    fn chunk() -> Bytes {
        Bytes::from(vec![0; CHUNK_BYTES])
    }

    #[test]
    fn a_body_is_whole_after_its_pieces_in_order() {
        let (mut fixture, mut bodies, id) = begun();
        assert_eq!(requests(&mut fixture), [(0, LEN)]);
        let chunk_bytes = CHUNK_BYTES as u64;
        let pieces = [(0, false), (0, false), (2 * chunk_bytes, false), (chunk_bytes, false)];
        for (offset, is_whole) in pieces.into_iter().chain([(2 * chunk_bytes, true)]) {
            let whole = bodies.piece(&mut fixture.context(), PEER, id, (offset, chunk()));
            assert_eq!(whole.is_some(), is_whole, "{offset}");
        }
        assert_eq!(bodies.all(), []);
    }

    #[test]
    fn a_piece_from_another_peer_is_ignored_and_one_of_a_wrong_length_closes_the_link() {
        let (mut fixture, mut bodies, id) = begun();
        assert!(bodies.piece(&mut fixture.context(), THIRD, id, (0, chunk())).is_none());
        let short = Bytes::from_static(b"short");
        assert!(bodies.piece(&mut fixture.context(), PEER, id, (0, short)).is_none());
        assert!(fixture.is_closed(PEER));
    }

    #[test]
    fn a_request_is_repeated_with_doubled_patience_and_then_given_up() {
        let (mut fixture, mut bodies, id) = begun();
        requests(&mut fixture);
        for seconds in [1, 2, 4, 8] {
            fixture.wait(Duration::from_secs(seconds));
            assert_eq!(bodies.late(fixture.local().mono()), [id]);
            assert!(!bodies.retry(&mut fixture.context(), id));
            assert_eq!(requests(&mut fixture), [(0, LEN)]);
        }
        fixture.wait(Duration::from_secs(16));
        assert!(bodies.retry(&mut fixture.context(), id), "the fifth request is not made");
    }

    #[test]
    fn live_bodies_go_before_those_of_sessions_and_a_few_are_fetched_at_once() {
        let (mut fixture, mut bodies, _) = begun();
        for _ in 0..MAX_AT_ONCE + 2 {
            bodies.begin(&mut fixture.context(), PEER, row(), Purpose::Session(1));
        }
        assert_eq!(requests(&mut fixture).len(), MAX_AT_ONCE);
        let live = Purpose::Live(row().dot.origin);
        let live = bodies.begin(&mut fixture.context(), PEER, row(), live);
        let first = bodies.ids(|fetch| !fetch.is_queued())[0];
        bodies.discard(fixture.out(), first);
        bodies.request_queued(&mut fixture.context(), PEER);
        assert!(!bodies.fetches[&live].is_queued());
    }
}
