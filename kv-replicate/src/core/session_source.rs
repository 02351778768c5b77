//! Serves catch-up sessions. A request names everything it needs, so that a source keeps next to nothing
//! for a receiver.
//!
//! Each round begins with a view that is pinned, so that a round that is short enough shows one snapshot although
//! the store is being written to, and can be the last. A pinned view has bounds in bytes, in time and in number:
//! beyond them the round continues with the newest view, and the receiver needs another round.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use kv_core::{DamagedKey, Dot, Hlc};

use super::{
    actions::{Actions, Context, Keep, Pending},
    weight,
};
use crate::{
    MemberId, Row,
    wire::{BATCH_BYTES, End, Message, Page, PageHead, Pull, Reason},
    work::{Batch, MAX_BATCH_BYTES, Unread, Work},
};

#[cfg(test)]
mod tests;

/// How long a session that does not move keeps tombstones from being dropped: its receiver requests nothing, and is sent
/// nothing.
const IDLE: Duration = Duration::from_secs(60);

/// How long a view is pinned at most. At a thousand small commits a second the file grows by some hundred MiB in
/// this time, which are used again afterwards.
const PINNED_FOR: Duration = Duration::from_secs(30);

/// How many views are pinned at most, for all sessions together.
const MAX_PINNED: usize = 8;

/// About the most bytes of a batch, for all peers that catch up together; each gets [`SHARE_BYTES`] all the same.
const SERVED_BYTES: usize = 32 << 20;

/// The bytes of a batch that no other peers reduce.
const SHARE_BYTES: usize = 2 << 20;

/// A view that is pinned for a round.
#[derive(Debug)]
struct Pinned {
    /// The number that the store knows it by.
    pin: u64,
    /// When it was pinned.
    since: Duration,
    /// The bytes of the rows that were read from it, and of their large bodies.
    bytes: u64,
}

/// A session that is served.
#[derive(Debug)]
struct Session {
    /// The number that the receiver chose for the session.
    id: u64,
    /// This location's clock when the session began: no newer tombstone is dropped before it ends.
    started: Hlc,
    /// When it last moved, on the monotonic clock: a request arrived, or a page or a piece of a body was sent.
    moved_at: Duration,
    /// The number of the last request.
    batch: u32,
    /// The row behind which the batch begins that follows the last one that was read.
    next: Option<Dot>,
    /// The view that the round is read from; none if it is read from the newest.
    pinned: Option<Pinned>,
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

    /// When the session counts as abandoned; none while its pages wait for room on the link, which may be slow.
    fn abandoned_at(&self) -> Option<Duration> {
        let idle = self.session.as_ref().filter(|_| self.pages.is_empty());
        idle.map(|session| session.moved_at + IDLE)
    }

    /// The session has moved.
    fn moved(&mut self, now: Duration) {
        if let Some(session) = &mut self.session {
            session.moved_at = now;
        }
    }

    /// When the pinned view must be dropped.
    fn unpinned_at(&self) -> Option<Duration> {
        self.session.as_ref()?.pinned.as_ref().map(|pinned| pinned.since + PINNED_FOR)
    }

    /// The number of the view that the round is read from, if it is pinned.
    fn pin(&self) -> Option<u64> {
        self.session.as_ref()?.pinned.as_ref().map(|pinned| pinned.pin)
    }

    /// Drops the view that is pinned, if there is one.
    fn unpin(&mut self, out: &mut Actions) {
        let pinned = self.session.as_mut().and_then(|session| session.pinned.take());
        if let Some(Pinned { pin, .. }) = pinned {
            out.work(Work::Unpin { pin });
        }
    }

    /// Counts rows that were read. Unpins the view if they are too many.
    fn count(&mut self, cx: &mut Context<'_>, rows: &[Row]) {
        let Some(pinned) = self.session.as_mut().and_then(|session| session.pinned.as_mut()) else {
            return;
        };
        pinned.bytes += rows.iter().map(Row::whole_weight).sum::<u64>();
        if pinned.bytes > cx.local.config().pinned_bytes {
            self.unpin(cx.out);
        }
    }

    /// Ends the session. A read that is under way continues, and its result is dropped.
    fn end(&mut self, out: &mut Actions) {
        self.unpin(out);
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
        let can_pin = self.pinned() < MAX_PINNED && cx.local.config().pinned_bytes > 0;
        let served = self.peers.entry(from).or_default();
        if !served.is(pull.session) {
            served.end(cx.out);
            let id = pull.session;
            served.session =
                Some(Session { id, started, moved_at: now, batch: 0, next: None, pinned: None });
        }
        let Some(session) = &mut served.session else { return };
        session.moved_at = now;
        let is_answered = served.reading != Reading::Idle || !served.pages.is_empty();
        if pull.batch < session.batch || (pull.batch == session.batch && is_answered) {
            // The request arrived twice or late, or the answer to it is on its way.
            return;
        }
        let is_last = |message: &Message| matches!(message, Message::Page(page) if page.batch == session.batch);
        let continues = pull.after.is_some() && pull.after == session.next;
        if !(continues && served.pages.iter().all(is_last)) {
            // It does not request the batch after the one whose pages wait.
            served.pages.clear();
        }
        session.batch = pull.batch;
        if pull.after.is_none() {
            served.unpin(cx.out);
            if can_pin && let Some(session) = &mut served.session {
                let pin = cx.out.next_id();
                session.pinned = Some(Pinned { pin, since: now, bytes: 0 });
            }
        }
        if served.reading == Reading::Idle {
            served.reading = Reading::UnderWay;
            let pin = served.pin();
            let most = most_bytes(self.count());
            read_rows(cx, from, (pull, most), pin);
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
        let (stamp, most) = (cx.out.unique_id(), most_bytes(self.count()));
        if !cx.peers.contains(peer) {
            return;
        }
        let served = self.peers.entry(peer).or_default();
        if let Reading::Superseded(next) = std::mem::take(&mut served.reading) {
            served.reading = Reading::UnderWay;
            let pin = served.pin();
            return read_rows(cx, peer, (next, most), pin);
        }
        if !served.is(session) {
            return;
        }
        let reason = match result {
            Ok(read) => {
                served.count(cx, &read.rows);
                if let Some(session) = &mut served.session {
                    session.next = read.next;
                }
                served.pages.extend(pages(session, batch, stamp, read).map(Message::Page));
                return;
            }
            Err(Unread::Gone(collected)) => Reason::Gone(collected),
            Err(Unread::Failed) => Reason::Busy,
        };
        cx.out.send(peer, Message::Refusal { session, reason });
    }

    /// A receiver needs no more of its session.
    pub(super) fn done(&mut self, cx: &mut Context<'_>, from: MemberId, session: u64) {
        if let Some(served) = self.peers.get_mut(&from).filter(|served| served.is(session)) {
            served.end(cx.out);
        }
    }

    /// Ends all sessions: the store lacks what its receivers would need.
    pub(super) fn end_all(&mut self, out: &mut Actions) {
        self.peers.values_mut().for_each(|served| served.end(out));
    }

    /// Ends abandoned sessions, and drops views that were pinned for too long.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>) {
        let now = cx.local.mono();
        for served in self.peers.values_mut() {
            if served.abandoned_at().is_some_and(|at| now >= at) {
                served.end(cx.out);
            } else if served.unpinned_at().is_some_and(|at| now >= at) {
                served.unpin(cx.out);
            }
        }
    }

    /// How many views are pinned.
    pub(super) fn pinned(&self) -> usize {
        self.peers.values().filter(|served| served.pin().is_some()).count()
    }

    /// The next page for a peer.
    pub(super) fn next(&mut self, cx: &Context<'_>, peer: MemberId) -> Option<Message> {
        let served = self.peers.get_mut(&peer)?;
        let page = served.pages.pop_front()?;
        served.moved(cx.local.mono());
        Some(page)
    }

    /// A peer is sent a piece of a body. It requests no batch before the bodies of the last one are there, which takes minutes
    /// on a slow link.
    pub(super) fn sent_piece(&mut self, cx: &Context<'_>, peer: MemberId) {
        if let Some(served) = self.peers.get_mut(&peer) {
            served.moved(cx.local.mono());
        }
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

    /// When the first session counts as abandoned, or a view must be dropped.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let of = |served: &Served| [served.abandoned_at(), served.unpinned_at()];
        self.peers.values().flat_map(of).flatten().min()
    }

    /// The link to a peer is about to end: its view is dropped.
    pub(super) fn unpin(&mut self, out: &mut Actions, peer: MemberId) {
        if let Some(served) = self.peers.get_mut(&peer) {
            served.unpin(out);
        }
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
        self.peers.values().flat_map(|served| &served.pages).map(weight::of_message).sum()
    }
}

/// About the most bytes of a batch, while `sessions` sessions are served.
fn most_bytes(sessions: usize) -> usize {
    (SERVED_BYTES / sessions.max(1)).clamp(SHARE_BYTES, MAX_BATCH_BYTES)
}

/// Requests the rows of a batch from the store.
fn read_rows(cx: &mut Context<'_>, peer: MemberId, (pull, most): (Pull, usize), pin: Option<u64>) {
    let id = cx.out.next_id();
    let limit = cx.local.config().batch_rows;
    let Pull { session, batch, since, after, known, is_new, bytes } = pull;
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(most);
    let work = Work::Read { id, since, after, limit, bytes, is_new, known, pin };
    cx.out.request(id, Pending::Serve { peer, session, batch }, work);
}

/// The page that has room for `more` bytes: the last one, or a new one.
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
    let Batch { vector, collected, floor, next, index, .. } = read;
    let mut head = Some(PageHead { vector, collected, floor, next, index });
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
