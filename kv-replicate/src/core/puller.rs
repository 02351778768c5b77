//! Catch-up, received: sessions that bring what this location lacks, of any origin, from any peer.

use std::{collections::BTreeMap, time::Duration};

use kv_core::{DamagedKey, Dot, OriginId};

use super::{
    actions::{Context, MAX_APPLYING, Pending},
    body_fetcher::{BodyFetcher, Fetched, Purpose},
    claims,
    local::Local,
    peers::{Peer, Peers},
    status::SessionProgress,
};
use crate::{
    Content, MemberId,
    notice::Notice,
    wire::{Message, Page, PageHead, Reason},
    work::{How, ToApply},
};

mod batch;
mod end;
mod openings;
mod pace;
mod session;
mod sources;
mod suspended;
#[cfg(test)]
mod tests;
mod untaken;
mod walk;

use session::{Session, Step};
use suspended::Suspended;

/// How many sessions may be received at once.
const MAX_SESSIONS: usize = 2;

/// How long a peer whose session failed is avoided, if others can serve.
const AVOID_FOR: Duration = Duration::from_secs(5);

/// How many bodies a session may fetch at a time.
const MAX_FETCHES: usize = 8192;

/// All sessions in which this location receives rows.
#[derive(Debug, Default)]
pub(super) struct Puller {
    /// The sessions by source. At most one for each peer.
    sessions: BTreeMap<MemberId, Session>,
    suspended: Suspended,
    /// When the last session with a connected peer failed.
    failed: BTreeMap<MemberId, Duration>,
}

impl Puller {
    /// How many sessions are being received.
    pub(super) fn count(&self) -> usize {
        self.sessions.len()
    }

    /// Whether another session may begin.
    pub(super) fn has_room(&self) -> bool {
        self.count() < MAX_SESSIONS
    }

    /// Whether a session with a peer can begin, apart from the number of sessions.
    pub(super) fn can_begin(&self, local: &Local, peers: &Peers, peer: MemberId) -> bool {
        let failed = self.failed.get(&peer);
        peers.get(peer).is_some_and(Peer::is_ready)
            && !self.sessions.contains_key(&peer)
            && failed.is_none_or(|at| local.mono() >= *at + AVOID_FOR)
    }

    /// Whether a session is under way that brings writes of an origin beyond this one: with this peer, if only that one's
    /// count is adopted.
    pub(super) fn brings(&self, origin: OriginId, beyond: u64, only: Option<MemberId>) -> bool {
        let mut sessions =
            self.sessions.iter().filter(|(peer, _)| only.is_none_or(|only| only == **peer));
        sessions.any(|(_, session)| session.target().get(origin) > beyond)
    }

    /// Begins a session with a peer, or continues a suspended one.
    pub(super) fn begin(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        let id = cx.out.unique_id();
        let Some(state) = cx.peers.get(peer) else { return };
        let target = state.progress().durable.clone();
        // Another process may have another image of the store: a walk over one can't continue in the other.
        let source = state.handshake.incarnation();
        let session = if let Some(mut session) = self.suspended.take(peer, source) {
            cx.out.notice(Notice::SessionTakenUp(peer));
            session.resume(id, target);
            session
        } else {
            cx.out.notice(Notice::SessionBegan(peer));
            Session::new((id, source), cx.local.visible().clone(), target, cx.local.mono())
        };
        self.sessions.insert(peer, session);
        self.request(cx, peer);
    }

    /// Sends the next request of a session.
    fn request(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        let is_new = cx.local.is_rebuilding();
        let Some(session) = self.sessions.get_mut(&peer) else { return };
        let pull = session.request(cx.local.visible(), is_new, cx.local.mono());
        cx.out.send(peer, Message::Pull(pull));
    }

    /// A page arrived. It is taken if it is of a batch that is being received, and if there is room for its rows.
    pub(super) fn receive(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        from: MemberId,
        page: Page,
    ) {
        let now = cx.local.mono();
        let Some(session) = self.sessions.get_mut(&from) else { return };
        if page.session != session.id() {
            return;
        }
        let is_expected = cx.out.applying(from) <= MAX_APPLYING && session.expects(&page);
        if is_expected && session.is_of_another_store(&page) {
            // The next session begins with what this location counts.
            return self.end(cx, bodies, from);
        }
        if !(is_expected && session.accept(&page)) {
            return session.passed_page(now);
        }
        session.took_page(page.batch, now);
        if bodies.of_session(session.id()).count() > MAX_FETCHES {
            return cx.out.close(from, "the peer named more bodies at once than a batch has rows");
        }
        self.take_rows(cx, bodies, from, page);
        self.advance(cx, bodies, from);
    }

    /// Applies the rows of a page that are not here, and fetches their large bodies.
    fn take_rows(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        from: MemberId,
        page: Page,
    ) {
        let Some(session) = self.sessions.get_mut(&from) else { return };
        let (batch, mut rows, mut fetches) = (page.batch, Vec::new(), 0);
        // Bodies of a batch that was requested again are on their way.
        let is_former = |(_, of, _): &(Dot, u32, u64)| !session.has_batch(*of);
        let under_way = bodies.of_session(session.id()).filter(is_former);
        let under_way: BTreeMap<_, _> = under_way.map(|(dot, _, id)| (dot, id)).collect();
        for row in page.rows {
            if cx.local.visible().covers(row.dot) {
                continue;
            }
            if !matches!(row.content, Content::Large { .. }) {
                rows.push(ToApply { row, how: How::Row, fetch: None });
            } else if let Some(id) = under_way.get(&row.dot) {
                bodies.move_to(*id, (session.id(), batch));
                fetches += 1;
            } else if !session.has_taken(row.dot) {
                bodies.begin(cx, from, row, Purpose::Session(session.id(), batch));
                fetches += 1;
            }
        }
        let commits = openings::adopt(cx, (from, session.id(), batch), &page.damaged);
        session.began(batch, commits + usize::from(!rows.is_empty()), fetches);
        bodies.request_queued(cx, from);
        if !rows.is_empty() {
            apply(cx, from, (session, batch), (rows, None));
        }
    }

    /// The body of a session's row is here, or a later write of its key that replaced it at the source.
    pub(super) fn fetched(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        (session, batch): (u64, u32),
        fetched: Fetched,
    ) {
        let Fetched { peer, row, fetch, is_successor, .. } = fetched;
        let dot = row.dot;
        let Some(found) = self.session(peer, session) else {
            fetch.into_iter().for_each(|fetch| bodies.discard(cx.out, fetch));
            return;
        };
        if cx.local.visible().covers(dot) && fetch.is_none() {
            // The later write has arrived on another way.
            found.passed(batch);
            return self.advance(cx, bodies, peer);
        }
        found.fetched(dot);
        let row = ToApply { row, how: How::Row, fetch };
        apply(cx, peer, (found, batch), (vec![row], is_successor.then_some(dot)));
    }

    /// A row of a batch is passed over: its key holds nothing any more at the source, or a later write that can't be
    /// applied yet, because its origin is not opened here. Another round names what there is by then.
    pub(super) fn pass_over(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        peer: MemberId,
        ((session, batch), successor): ((u64, u32), Option<Dot>),
    ) {
        if let Some(found) = self.session(peer, session) {
            found.passed_over(batch, successor, cx.local.mono());
        }
        self.advance(cx, bodies, peer);
    }

    /// The body of a session's row does not arrive.
    pub(super) fn body_gone(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        peer: MemberId,
        (session, batch): (u64, u32),
    ) {
        if let Some(found) = self.session(peer, session) {
            found.body_gone(batch);
        }
        self.advance(cx, bodies, peer);
    }

    /// The body of a session's row is damaged at the source. The row is owed, and holds nothing up.
    pub(super) fn body_damaged(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        peer: MemberId,
        ((session, batch), key): ((u64, u32), DamagedKey),
    ) {
        if let Some(found) = self.session(peer, session) {
            found.body_damaged(batch, key, cx.local.mono());
        }
        self.advance(cx, bodies, peer);
    }

    /// Records that a session's rows were committed, and continues the session.
    pub(super) fn applied(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        peer: MemberId,
        (session, batch): (u64, u32),
    ) {
        let Some(found) = self.session(peer, session) else { return };
        found.committed(batch, cx.local.mono());
        self.advance(cx, bodies, peer);
    }

    /// Suspends a session because the store failed to commit its rows or to adopt its vectors, or because some rows were
    /// late. The commit is not counted, so that the session continues with the batch of this commit.
    pub(super) fn not_committed(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        peer: MemberId,
        session: u64,
    ) {
        if self.session(peer, session).is_some() {
            self.fail(cx, bodies, peer);
        }
    }

    /// Rows of a session were late, or replaced late ones, and were not taken: they are not counted when it ends.
    pub(super) fn not_taken(
        &mut self,
        peer: MemberId,
        session: u64,
        untaken: impl Iterator<Item = Dot>,
    ) {
        if let Some(session) = self.session(peer, session) {
            untaken.for_each(|dot| session.untaken().note(dot));
        }
    }

    /// Moves a session on.
    fn advance(&mut self, cx: &mut Context<'_>, bodies: &mut BodyFetcher, peer: MemberId) {
        let Some(session) = self.sessions.get_mut(&peer) else { return };
        match session.advance() {
            Step::Wait => {}
            Step::Request => self.request(cx, peer),
            Step::Fail => self.fail(cx, bodies, peer),
            Step::Adopt(_) if session.untaken().lacks_room() => self.try_later(cx, bodies, peer),
            Step::Adopt(head) => {
                let (head, damaged) = (session.untaken().without(head), session.damaged());
                let head = claims::without(head, cx, peer);
                adopt(cx, (peer, session.id()), head, damaged);
            }
        }
    }

    /// Ends a session because its vectors were adopted. Returns whether there is such a session.
    pub(super) fn adopted(&mut self, cx: &mut Context<'_>, peer: MemberId, session: u64) -> bool {
        if self.session(peer, session).is_none() {
            return false;
        }
        self.sessions.remove(&peer);
        self.failed.remove(&peer);
        cx.out.send(peer, Message::Done { session });
        cx.out.notice(Notice::SessionDone(peer));
        true
    }

    /// A source does not serve a session.
    pub(super) fn refused(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        from: MemberId,
        (session, reason): (u64, Reason),
    ) {
        if self.session(from, session).is_none() {
            return;
        }
        let reason = match reason {
            Reason::Gone(collected) => Reason::Gone(claims::collected_by(collected, cx, from)),
            Reason::Busy => reason,
        };
        match reason {
            Reason::Gone(collected) if !cx.local.visible().covers_all(&collected) => {
                self.end(cx, bodies, from);
                self.fail(cx, bodies, from);
                cx.out.rebuild(from, collected);
            }
            Reason::Gone(_) => {
                self.end(cx, bodies, from);
                self.fail(cx, bodies, from);
            }
            Reason::Busy => self.fail(cx, bodies, from),
        }
    }

    /// Repeats the requests of sessions that stand still.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>, bodies: &mut BodyFetcher) {
        let now = cx.local.mono();
        let is_late = |session: &Session| session.timeout().is_some_and(|at| now >= at);
        let late = self.sessions.iter().filter(|(_, session)| is_late(session));
        for peer in late.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            let Some(session) = self.sessions.get_mut(&peer) else { continue };
            if session.retry() == Step::Fail {
                self.fail(cx, bodies, peer);
            } else {
                cx.out.notice(Notice::SessionResumed(peer));
                self.request(cx, peer);
            }
        }
    }

    /// When the first session stands still for too long.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.sessions.values().filter_map(Session::timeout).min()
    }

    /// How far the session with a peer is.
    pub(super) fn progress(&self, peer: MemberId) -> Option<SessionProgress> {
        self.sessions.get(&peer).map(Session::progress)
    }

    /// About the most bytes that the sessions take.
    pub(super) fn memory_bytes(&self) -> usize {
        self.sessions.values().map(Session::memory_bytes).sum::<usize>()
            + self.suspended.memory_bytes()
    }

    /// The session with a peer, if it has this number.
    fn session(&mut self, peer: MemberId, id: u64) -> Option<&mut Session> {
        self.sessions.get_mut(&peer).filter(|session| session.id() == id)
    }
}

/// Requests a commit of rows of a batch of a session, or of the write that replaced one.
fn apply(
    cx: &mut Context<'_>,
    peer: MemberId,
    (found, batch): (&Session, u32),
    (rows, successor): (Vec<ToApply>, Option<Dot>),
) {
    let bytes = rows.iter().map(|to_apply| to_apply.row.weight()).sum();
    let (session, basis) = (found.id(), found.basis(batch));
    let pending = Pending::Page { peer, session, batch, bytes, successor };
    cx.out.apply_from(pending, rows, Some(basis));
}

/// Requests the adoption of the source's vectors, and of the keys that it can't read, at the end of a session.
fn adopt(
    cx: &mut Context<'_>,
    (peer, session): (MemberId, u64),
    head: PageHead,
    damaged: Vec<DamagedKey>,
) {
    let resolved_by_most = cx.peers.resolved_by_most(cx.local);
    cx.out.adopt(Pending::Adopt { peer, session }, (head, resolved_by_most), damaged);
}
