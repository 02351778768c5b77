//! Catch-up, received: pass by pass, until one shows a single snapshot of the source.
//!
//! A row that is overwritten at the source moves to another place in the dot index, and a walk
//! over several snapshots may miss it. It can then only be among what the first of these
//! snapshots does not count, so that is walked next. The vector of the one snapshot of the last
//! pass is adopted, and no other.
//!
//! A source may itself hold rows that its vector does not count yet, of sessions of its own. They are
//! sent in every pass, so that a pass may have many bursts even at the end; where nothing was
//! committed between these, they are of one snapshot all the same. (Two that caught up from each
//! other would never end, were it asked that the last pass be one burst.)

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{Core, Pending, ROLLED_BACK, fetch::Purpose, lag::MAX_SESSIONS, live::MAX_APPLYING};
use crate::{
    Content, MemberId,
    link::{Before, Current, Session},
    wire::{End, Message, Page, PageHead, Pull, Reason},
    work::{How, Notice, ToApply, Work},
};

/// How long a burst may stand still before it is asked for again; twice as long each time, so that a
/// page comes over a way that takes long for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most pages of a burst: none has as many rows.
const MAX_PAGES: u16 = 1024;

/// How often a burst is asked for before the session is given up.
const MAX_TRIES: u32 = 2;

/// How many bodies may be waited for from one peer.
const MAX_FETCHES: usize = 8192;

/// How many writes with large bodies a session remembers.
const MAX_TAKEN: usize = 4096;

/// When a session is to be looked at next; none while it waits for the store or for bodies.
pub(super) fn timeout(session: &Session) -> Option<Duration> {
    let is_here = session.current.as_ref().is_some_and(|current| current.ended.is_some());
    let is_waiting = session.open > 0 || (is_here && session.before.is_some());
    (!is_waiting).then_some(session.asked_at + PATIENCE * (1 << session.tries))
}

impl Core {
    pub(super) fn begin_session(&mut self, peer: MemberId) {
        let (id, since, now) = (self.unique_id(), self.visible(), self.now.mono);
        let members = self.members_with(peer);
        let suspended = self.suspended.remove(&peer);
        let Some(link) = self.links.get_mut(&peer) else { return };
        let new = || Session {
            id,
            since,
            after: None,
            batch: 0,
            batch_after: None,
            asked_at: now,
            tries: 0,
            round_start: None,
            round_commit: 0,
            taken: std::collections::BTreeSet::new(),
            again: false,
            has_bodies: false,
            is_body_gone: false,
            redone: 0,
            current: None,
            open: 0,
            before: None,
            target: link.progress.durable.clone(),
            members,
        };
        let notice = match suspended {
            Some(_) => Notice::SessionTakenUp(peer),
            None => Notice::SessionBegan(peer),
        };
        let mut session = suspended.unwrap_or_else(new);
        // What the store still does for the session before is not counted for this one, and the numbers
        // of the source's commits may mean others by now.
        session.again |= session.batch > 0;
        session.id = id;
        session.target = link.progress.durable.clone();
        link.session = Some(session);
        self.notice(notice);
        self.next_batch(peer);
    }

    /// Asks for the rows that come next.
    fn next_batch(&mut self, peer: MemberId) {
        let (now, is_new) = (self.now.mono, self.is_new_to(peer));
        let visible = &self.store.visible;
        let Some(link) = self.links.get_mut(&peer) else { return };
        let Some(session) = &mut link.session else { return };
        // What came on other ways since need not come again; and the source may have dropped a
        // tombstone that all have by now.
        session.since.merge(visible);
        session.batch += 1;
        session.batch_after = session.after;
        session.current = None;
        session.has_bodies = false;
        session.asked_at = now;
        let pull = Pull {
            session: session.id,
            batch: session.batch,
            is_new,
            after: session.after,
            since: session.since.clone(),
        };
        link.say(Message::Pull(pull));
    }

    pub(super) fn page(&mut self, from: MemberId, page: Page) {
        let latest = page.rows.iter().map(|row| row.hlc).max();
        let now = self.now.mono;
        let Some(link) = self.links.get_mut(&from) else { return };
        let is_parked = link.is_parked();
        let Some(session) = &mut link.session else { return };
        let is_ours = session.id == page.session && session.batch == page.batch;
        if is_parked || !is_ours {
            return;
        }
        let applying = self.links.get(&from).map_or(0, |link| link.applying);
        if applying > MAX_APPLYING || self.is_ahead(from, latest) {
            return;
        }
        let Some(session) = self.links.get_mut(&from).and_then(|link| link.session.as_mut()) else {
            return;
        };
        if !accept(session, &page) {
            return;
        }
        let may_join = page.head.as_ref().is_none_or(|head| self.may_join_from(head));
        if !may_join {
            return self.must_rebuild(from);
        }
        let Some(session) = self.links.get_mut(&from).and_then(|link| link.session.as_mut()) else {
            return;
        };
        session.asked_at = now;
        session.tries = session.tries.saturating_sub(1);
        let id = session.id;
        self.take_rows(from, id, page);
        self.batch_done(from);
    }

    fn take_rows(&mut self, from: MemberId, session: u64, page: Page) {
        let (mut rows, mut bytes, mut opened, mut has_bodies) = (Vec::new(), 0, 0, false);
        if self.fetches.values().filter(|fetch| fetch.peer == from).count() > MAX_FETCHES {
            return self.close(from, "it names more bodies at once than a burst has rows");
        }
        for row in page.rows {
            if self.store.visible.covers(row.dot) {
                continue;
            }
            if matches!(row.content, Content::Large { .. }) {
                let taken = self.session(from, session).map(|session| &session.taken);
                if taken.is_none_or(|taken| !taken.contains(&row.dot)) {
                    self.begin_fetch(from, row, Some(session));
                    opened += 1;
                    has_bodies = true;
                }
            } else {
                bytes += row.weight();
                rows.push(ToApply { row, how: How::Row, fetch: None });
            }
        }
        if !rows.is_empty() {
            opened += 1;
            self.apply_page(from, session, bytes, rows);
        }
        if let Some(session) = self.session(from, session) {
            session.open += opened;
            session.has_bodies |= has_bodies;
        }
    }

    fn apply_page(&mut self, peer: MemberId, session: u64, bytes: usize, rows: Vec<ToApply>) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        let Some(batch) = link.session.as_ref().map(|session| session.batch) else { return };
        link.applying += bytes;
        let id = self.next_id();
        self.pending.insert(id, Pending::Page { peer, session, batch, bytes });
        self.work.push_back(Work::Apply { id, epoch: self.epoch, rows });
    }

    /// A commit of a session's rows was made, or failed.
    pub(super) fn page_applied(
        &mut self,
        peer: MemberId,
        (session, batch): (u64, u32),
        failed: bool,
    ) {
        let now = self.now.mono;
        let Some(found) = self.session(peer, session) else { return };
        if failed {
            // Before it is counted: the session goes back to the burst of this commit.
            return self.fail_session(peer);
        }
        if batch == found.batch {
            found.open = found.open.saturating_sub(1);
            found.asked_at = now;
        } else if let Some(before) = &mut found.before {
            before.open = before.open.saturating_sub(1);
            let is_over = before.open == 0;
            found.before = found.before.filter(|_| !is_over);
        }
        self.batch_done(peer);
    }

    /// A body of a session is here whole, or is gone at the source.
    pub(super) fn session_fetched(&mut self, peer: MemberId, session: u64, row: Option<ToApply>) {
        match row {
            // What stood open for the fetch stands open for the commit now.
            Some(row) => {
                if let Some(found) = self.session(peer, session)
                    && found.taken.len() < MAX_TAKEN
                {
                    found.taken.insert(row.row.dot);
                }
                self.apply_page(peer, session, row.row.weight(), vec![row]);
            }
            None => {
                if let Some(found) = self.session(peer, session) {
                    found.open = found.open.saturating_sub(1);
                    found.is_body_gone = true;
                }
                self.batch_done(peer);
            }
        }
    }

    /// Goes on with a session if nothing of its burst is missing or under way. The next burst of a pass
    /// is asked for while the last one's rows are on their way to the store.
    fn batch_done(&mut self, peer: MemberId) {
        let Some(session) = self.links.get_mut(&peer).and_then(|link| link.session.as_mut()) else {
            return;
        };
        let Some(current) = &session.current else { return };
        let Some(next) = current.ended else { return };
        if session.before.is_some() {
            return;
        }
        if session.open > 0 {
            if let Some(after) = next
                && !session.has_bodies
            {
                let open = std::mem::take(&mut session.open);
                session.before = Some(Before { after: session.batch_after, open });
                session.after = Some(after);
                self.next_batch(peer);
            }
            return;
        }
        if std::mem::take(&mut session.is_body_gone) {
            return self.batch_again(peer);
        }
        session.redone = 0;
        if let Some(after) = next {
            session.after = Some(after);
            return self.next_batch(peer);
        }
        if session.again {
            // All that the first snapshot of this pass counted has been walked; what came since is next.
            if let Some(start) = session.round_start.take() {
                session.since.merge(&start);
            }
            session.after = None;
            session.again = false;
            return self.next_batch(peer);
        }
        let (head, id) = (current.head.clone(), session.id);
        session.open += 1;
        self.adopt(peer, id, head);
    }

    /// A body of a burst was gone at its source: what expired has its old place in the index, and what
    /// was overwritten comes in another pass. One that never comes is damaged there.
    fn batch_again(&mut self, peer: MemberId) {
        let Some(session) = self.links.get_mut(&peer).and_then(|link| link.session.as_mut()) else {
            return;
        };
        session.redone += 1;
        session.after = session.batch_after;
        if session.redone > MAX_TRIES {
            self.fail_session(peer);
        } else {
            self.next_batch(peer);
        }
    }

    fn adopt(&mut self, peer: MemberId, session: u64, head: PageHead) {
        let PageHead { vector, collected } = head;
        if self.counts_more_of_us(&vector) {
            return self.halt(ROLLED_BACK);
        }
        let id = self.next_id();
        self.pending.insert(id, Pending::Adopt { peer, session });
        self.work.push_back(Work::Adopt { id, epoch: self.epoch, vector, collected });
    }

    pub(super) fn adopted(&mut self, peer: MemberId, session: u64, failed: bool) {
        let Some(members) = self.session(peer, session).map(|session| session.members) else {
            return;
        };
        if failed {
            return self.fail_session(peer);
        }
        self.told_members(peer, members);
        if let Some(link) = self.links.get_mut(&peer) {
            link.session = None;
            link.say(Message::Done { session });
            link.failed_at = None;
            link.want_at = None;
        }
        self.notice(Notice::SessionDone(peer));
        // The live streams go on from here.
        let peers: Vec<_> = self.links.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.ask_live(peer));
    }

    pub(super) fn refused(&mut self, from: MemberId, session: u64, reason: Reason) {
        if self.session(from, session).is_none() {
            return;
        }
        match reason {
            Reason::Gone(collected) if !self.store.visible.covers_all(&collected) => {
                self.must_rebuild(from);
            }
            Reason::Gone(_) => {
                self.end_session(from);
                self.fail_session(from);
            }
            Reason::Busy => self.fail_session(from),
        }
    }

    /// What a source has dropped may be what would delete a row of this store.
    fn must_rebuild(&mut self, peer: MemberId) {
        self.notice(Notice::MustRebuild(peer));
        self.end_session(peer);
        self.fail_session(peer);
    }

    /// Lets a session be for a while: others are asked before it goes on.
    pub(super) fn fail_session(&mut self, peer: MemberId) {
        self.suspend_session(peer);
        let now = self.now.mono;
        if let Some(link) = self.links.get_mut(&peer) {
            link.failed_at = Some(now);
        }
    }

    /// Gives a session up: its rows are here and stay, its vector is not adopted.
    pub(super) fn end_session(&mut self, peer: MemberId) {
        if self.take_session(peer).is_some() {
            self.notice(Notice::SessionLost(peer));
        }
    }

    fn take_session(&mut self, peer: MemberId) -> Option<Session> {
        let session = self.links.get_mut(&peer)?.session.take()?;
        let is_its = |fetch: &super::Fetch| fetch.purpose == Purpose::Session(session.id);
        let ids: Vec<_> =
            self.fetches.iter().filter(|(_, fetch)| is_its(fetch)).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.discard(id));
        if let Some(link) = self.links.get_mut(&peer) {
            link.say(Message::Done { session: session.id });
        }
        Some(session)
    }

    /// A link goes down, or a session can't go on: it does later, with the burst that was being
    /// received. All bursts before it are in the store. A source needs to remember nothing for that:
    /// what it could drop meanwhile, every member has.
    pub(super) fn suspend_session(&mut self, peer: MemberId) {
        let Some(mut session) = self.take_session(peer) else { return };
        self.notice(Notice::SessionSuspended(peer));
        session.after = session.before.map_or(session.batch_after, |before| before.after);
        session.before = None;
        session.current = None;
        session.is_body_gone = false;
        (session.open, session.tries, session.redone) = (0, 0, 0);
        // Some of these bodies may be with rows of this burst that are not in the store.
        session.taken.clear();
        while self.suspended.len() >= MAX_SESSIONS
            && let Some((oldest, _)) = self.suspended.iter().min_by_key(|(_, found)| found.asked_at)
        {
            let oldest = *oldest;
            self.suspended.remove(&oldest);
        }
        self.suspended.insert(peer, session);
    }

    /// Asks again for bursts that stand still.
    pub(super) fn watch_sessions(&mut self) {
        let now = self.now.mono;
        let is_late = |session: &Session| timeout(session).is_some_and(|at| now >= at);
        let late: Vec<_> = (self.links.iter())
            .filter(|(_, link)| link.session.as_ref().is_some_and(is_late))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in late {
            let Some(session) = self.links.get_mut(&peer).and_then(|link| link.session.as_mut())
            else {
                continue;
            };
            session.tries += 1;
            if session.tries > MAX_TRIES {
                self.fail_session(peer);
                continue;
            }
            if std::mem::take(&mut session.is_body_gone) {
                // A row before the page that does not come is not here: it comes again with it.
                session.after = session.batch_after;
            }
            self.notice(Notice::SessionResumed(peer));
            self.next_batch(peer);
        }
    }
}

/// Whether a page is the next of its burst; notes it then.
fn accept(session: &mut Session, page: &Page) -> bool {
    if let Some(head) = &page.head
        && session.current.is_none()
    {
        if session.round_start.as_ref().is_some_and(|start| !head.vector.covers_all(start)) {
            // The source has gone back: what was walked may not be what it counts.
            return false;
        }
        if session.round_start.is_none() {
            session.round_start = Some(head.vector.clone());
            session.round_commit = page.commit;
        }
        session.again |= session.round_commit != page.commit;
        session.current =
            Some(Current { stamp: page.stamp, next_page: 0, head: head.clone(), ended: None });
    }
    let Some(current) = &mut session.current else { return false };
    let is_same = current.stamp == page.stamp;
    let is_over = current.ended.is_some() || current.next_page >= MAX_PAGES;
    if !is_same || is_over || current.next_page != page.index {
        return false;
    }
    current.next_page += 1;
    if let Some(last) = page.rows.last() {
        session.after = Some(last.dot);
    }
    current.ended = match page.end {
        End::Page => None,
        End::Batch(after) => Some(Some(after)),
        End::Round => Some(None),
    };
    true
}
