//! Serves catch-up sessions. A request names everything it needs, so that a source keeps next to nothing
//! for a receiver.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use kv_core::{DamagedKey, Hlc};

use super::actions::{Context, Keep, Pending, weight};
use crate::{
    MemberId, Row,
    wire::{BATCH_BYTES, End, Message, Page, PageHead, Pull, Reason},
    work::{Batch, Unread, Work},
};

/// How long a session without requests keeps tombstones from being dropped.
const IDLE: Duration = Duration::from_secs(60);

/// A session that is served.
#[derive(Debug)]
struct Session {
    /// The number that the receiver chose for the session.
    id: u64,
    /// This location's clock when the session began: no newer tombstone is dropped before it ends.
    started: Hlc,
    /// The time of the last request, on the monotonic clock.
    requested_at: Duration,
    /// The number of the last request.
    batch: u32,
}

/// Whether the store reads rows for a peer. It reads one batch at a time.
#[derive(Debug, Default, PartialEq, Eq)]
enum Reading {
    /// No read is under way.
    #[default]
    Idle,
    /// The store reads a batch. Its result arrives even if the link ends meanwhile.
    UnderWay,
    /// Another request has arrived since, which replaces this one.
    Superseded(Pull),
}

/// The session that is served to one peer.
#[derive(Debug, Default)]
struct Served {
    /// The session; none if the peer has none, or if it was abandoned.
    session: Option<Session>,
    /// Whether the store reads rows for this peer.
    reading: Reading,
    /// The pages of the batch that it requested.
    pages: VecDeque<Message>,
}

impl Served {
    /// Whether this is the session that is served.
    fn is(&self, session: u64) -> bool {
        self.session.as_ref().is_some_and(|served| served.id == session)
    }

    /// When the session counts as abandoned.
    fn timeout(&self) -> Option<Duration> {
        self.session.as_ref().map(|session| session.requested_at + IDLE)
    }

    /// Ends the session. A read that is under way continues, and its result is dropped.
    fn end(&mut self) {
        self.session = None;
        self.pages.clear();
    }
}

/// The sessions that are served to all peers.
#[derive(Debug, Default)]
pub(super) struct SessionSource {
    /// The sessions by receiver.
    peers: BTreeMap<MemberId, Served>,
}

impl SessionSource {
    /// A peer requests a batch of a session.
    pub(super) fn pull(&mut self, cx: &mut Context<'_>, from: MemberId, pull: Pull) {
        let (now, started) = (cx.local.mono(), cx.local.closed_timestamp());
        if !cx.peers.contains(from) {
            return;
        }
        if !cx.local.is_served(from) {
            let refusal = Message::Refusal { session: pull.session, reason: Reason::Busy };
            return cx.out.send(from, refusal);
        }
        let served = self.peers.entry(from).or_default();
        if !served.is(pull.session) {
            let id = pull.session;
            served.session = Some(Session { id, started, requested_at: now, batch: 0 });
        }
        let Some(session) = &mut served.session else { return };
        session.requested_at = now;
        if pull.batch <= session.batch {
            // The request arrived twice, or late.
            return;
        }
        session.batch = pull.batch;
        served.pages.clear();
        if served.reading == Reading::Idle {
            served.reading = Reading::UnderWay;
            read_rows(cx, from, pull);
        } else {
            served.reading = Reading::Superseded(pull);
        }
    }

    /// Rows were read for a peer.
    pub(super) fn read(
        &mut self,
        cx: &mut Context<'_>,
        peer: MemberId,
        (session, batch): (u64, u32),
        result: Result<Batch, Unread>,
    ) {
        let stamp = cx.out.unique_id();
        if !cx.peers.contains(peer) {
            return;
        }
        let served = self.peers.entry(peer).or_default();
        if let Reading::Superseded(next) = std::mem::take(&mut served.reading) {
            served.reading = Reading::UnderWay;
            return read_rows(cx, peer, next);
        }
        if !served.is(session) {
            return;
        }
        let reason = match result {
            Ok(read) => {
                served.pages = pages(session, batch, stamp, read).map(Message::Page).collect();
                return;
            }
            Err(Unread::Gone(collected)) => Reason::Gone(collected),
            Err(Unread::Failed) => Reason::Busy,
        };
        cx.out.send(peer, Message::Refusal { session, reason });
    }

    /// A receiver needs no more of its session.
    pub(super) fn done(&mut self, from: MemberId, session: u64) {
        if let Some(served) = self.peers.get_mut(&from).filter(|served| served.is(session)) {
            served.end();
        }
    }

    /// Ends all sessions: the store lacks what its receivers would need.
    pub(super) fn end_all(&mut self) {
        self.peers.values_mut().for_each(Served::end);
    }

    /// Ends abandoned sessions.
    pub(super) fn watch(&mut self, now: Duration) {
        for served in self.peers.values_mut() {
            if served.timeout().is_some_and(|at| now >= at) {
                served.end();
            }
        }
    }

    /// The next page for a peer.
    pub(super) fn next(&mut self, peer: MemberId) -> Option<Message> {
        self.peers.get_mut(&peer)?.pages.pop_front()
    }

    /// How many sessions are served.
    pub(super) fn count(&self) -> usize {
        self.peers.values().filter(|served| served.session.is_some()).count()
    }

    /// Whether a session is served to a peer.
    pub(super) fn serves(&self, peer: MemberId) -> bool {
        self.peers.get(&peer).is_some_and(|served| served.session.is_some())
    }

    /// This location's closed timestamp at the beginning of each session that is served.
    pub(super) fn started(&self) -> impl Iterator<Item = Hlc> + '_ {
        self.peers.values().filter_map(|served| served.session.as_ref()).map(|found| found.started)
    }

    /// When the first session counts as abandoned.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.peers.values().filter_map(Served::timeout).min()
    }

    /// Ends the session of a peer. A read that is under way is still accounted for if the link is replaced.
    pub(super) fn disconnect(&mut self, peer: MemberId, keep: Keep) {
        let Some(before) = self.peers.remove(&peer) else { return };
        if keep == Keep::StoreWork && before.reading != Reading::Idle {
            // A superseding request is of the link that has ended.
            self.peers.insert(peer, Served { reading: Reading::UnderWay, ..Served::default() });
        }
    }

    /// About how many bytes the pages that wait take.
    pub(super) fn memory_bytes(&self) -> usize {
        self.peers.values().flat_map(|served| &served.pages).map(weight).sum()
    }
}

/// Requests the rows of a batch from the store.
fn read_rows(cx: &mut Context<'_>, peer: MemberId, pull: Pull) {
    let id = cx.out.next_id();
    let limit = cx.local.config().batch_rows;
    let Pull { session, batch, since, after, is_new } = pull;
    let work = Work::Read { id, since, after, limit, is_new };
    cx.out.request(id, Pending::Serve { peer, session, batch }, work);
}

/// The page that takes so many bytes more: the last one, or a new one.
fn page_for<'p, T: Default>(pages: &'p mut Vec<T>, bytes: &mut usize, more: usize) -> &'p mut T {
    if *bytes > 0 && *bytes + more > BATCH_BYTES {
        *bytes = 0;
        pages.push(T::default());
    }
    *bytes += more;
    pages.last_mut().expect("there is always one page")
}

/// Cuts a batch into messages.
fn pages(session: u64, batch: u32, stamp: u64, read: Batch) -> impl Iterator<Item = Page> {
    let mut pages: Vec<(Vec<Row>, Vec<DamagedKey>)> = vec![Default::default()];
    let mut bytes = 0;
    // The damaged keys go first: a walk that is interrupted continues behind the rows that have arrived.
    for damaged in read.damaged {
        page_for(&mut pages, &mut bytes, 128 + damaged.key.len()).1.push(damaged);
    }
    for row in read.rows {
        page_for(&mut pages, &mut bytes, row.weight()).0.push(row);
    }
    let last = pages.len() - 1;
    let end = read.next.map_or(End::Round, End::Batch);
    let commit = read.commit;
    let mut head =
        Some(PageHead { vector: read.vector, collected: read.collected, floor: read.floor });
    pages.into_iter().enumerate().map(move |(index, (rows, damaged))| Page {
        session,
        batch,
        stamp,
        commit,
        index: u16::try_from(index).expect("a batch has a few pages"),
        head: head.take(),
        end: if index == last { end } else { End::Page },
        damaged,
        rows,
    })
}

#[cfg(test)]
mod tests {
    use kv_core::VersionVector;

    use super::*;
    use crate::core::testing::{Fixture, PEER, row_of, vector};

    fn pull(session: u64, batch: u32) -> Pull {
        Pull { session, batch, is_new: false, after: None, since: VersionVector::default() }
    }

    fn read(rows: u64) -> Result<Batch, Unread> {
        let rows: Vec<_> = (1..=rows).map(|seq| row_of(PEER, seq)).collect();
        let (vector, collected) = (vector(9), VersionVector::default());
        let (damaged, floor) = (Vec::new(), Hlc::ZERO);
        Ok(Batch { rows, damaged, next: None, vector, collected, floor, commit: 1 })
    }

    fn reads(fixture: &mut Fixture) -> usize {
        std::iter::from_fn(|| fixture.poll_work()).count()
    }

    fn connected() -> (Fixture, SessionSource) {
        let mut fixture = Fixture::new();
        fixture.connect(PEER);
        (fixture, SessionSource::default())
    }

    #[test]
    fn a_request_that_arrives_twice_is_read_once() {
        let (mut fixture, mut source) = connected();
        for batch in [1, 1] {
            source.pull(&mut fixture.context(), PEER, pull(7, batch));
        }
        assert_eq!(reads(&mut fixture), 1);
        source.read(&mut fixture.context(), PEER, (7, 1), read(2));
        assert!(matches!(source.next(PEER), Some(Message::Page(page)) if page.rows.len() == 2));
        assert!(source.next(PEER).is_none());
    }

    #[test]
    fn a_request_during_a_read_replaces_it() {
        let (mut fixture, mut source) = connected();
        for batch in [1, 2, 3] {
            source.pull(&mut fixture.context(), PEER, pull(7, batch));
        }
        assert_eq!(reads(&mut fixture), 1);
        source.read(&mut fixture.context(), PEER, (7, 1), read(1));
        assert!(source.next(PEER).is_none(), "nobody waits for the first batch any more");
        assert_eq!(reads(&mut fixture), 1);
        source.read(&mut fixture.context(), PEER, (7, 3), read(1));
        assert!(source.next(PEER).is_some());
    }

    #[test]
    fn what_can_not_be_read_is_refused_with_its_reason() {
        let (mut fixture, mut source) = connected();
        let cases =
            [(Unread::Failed, Reason::Busy), (Unread::Gone(vector(3)), Reason::Gone(vector(3)))];
        for (batch, (unread, reason)) in (1..).zip(cases) {
            source.pull(&mut fixture.context(), PEER, pull(7, batch));
            source.read(&mut fixture.context(), PEER, (7, batch), Err(unread));
            assert_eq!(fixture.sent(PEER), [Message::Refusal { session: 7, reason }]);
        }
    }

    #[test]
    fn an_abandoned_session_ends_after_a_minute() {
        let (mut fixture, mut source) = connected();
        source.pull(&mut fixture.context(), PEER, pull(7, 1));
        source.watch(IDLE - Duration::from_millis(1));
        assert_eq!((source.count(), source.started().count()), (1, 1));
        source.watch(IDLE);
        assert_eq!(source.count(), 0);
    }
}
