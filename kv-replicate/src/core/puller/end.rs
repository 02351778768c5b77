//! How sessions end: they fail, are suspended, or are given up.

use std::time::Duration;

use kv_core::commit::Applied;

use super::{Puller, session::Session};
use crate::{
    MemberId,
    core::{actions::Context, body_fetcher::BodyFetcher},
    notice::Notice,
    wire::Message,
};

/// For how much longer the source of a session is avoided whose vectors can't be adopted.
const AVOIDED_FOR: Duration = Duration::from_secs(55);

impl Puller {
    /// Suspends a session that failed, and avoids its source for a while if another one can serve.
    pub(super) fn fail(&mut self, cx: &mut Context<'_>, bodies: &mut BodyFetcher, peer: MemberId) {
        self.suspend(cx, bodies, peer);
        if cx.peers.contains(peer) {
            self.failed.insert(peer, cx.local.mono());
        }
    }

    /// Suspends a session because its source could not read more rows than this store can record, or has collected
    /// tombstones of a time that is far ahead. What there was room for is fetched from others by name, which takes a while.
    pub(in crate::core) fn avoid(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        peer: MemberId,
        session: u64,
    ) {
        if self.session(peer, session).is_some() {
            self.fail(cx, bodies, peer);
            self.failed.insert(peer, cx.local.mono() + AVOIDED_FOR);
        }
    }

    /// Takes note of rows of a session that the disk had no room for. It goes on, because the deletes behind them make room.
    pub(in crate::core) fn note_room(&mut self, peer: MemberId, session: u64, results: &[Applied]) {
        if results.contains(&Applied::Full)
            && let Some(session) = self.session(peer, session)
        {
            session.untaken().lack_room();
        }
    }

    /// Gives a session up that has brought everything but values which the disk has no room for. Nothing is counted: what one
    /// of these values has replaced is in no row of the session.
    pub(super) fn try_later(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        peer: MemberId,
    ) {
        self.end(cx, bodies, peer);
        self.failed.insert(peer, cx.local.mono() + AVOIDED_FOR);
    }

    /// Gives a session up. The rows that it brought stay; its vector is not adopted.
    pub(in crate::core) fn end(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        peer: MemberId,
    ) {
        if self.take(cx, bodies, peer).is_some() {
            cx.out.notice(Notice::SessionLost(peer));
        }
    }

    /// Removes a session, drops its fetches, and reports its end to the source.
    fn take(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        peer: MemberId,
    ) -> Option<Session> {
        let session = self.sessions.remove(&peer)?;
        bodies.discard_session(cx.out, session.id());
        cx.out.send(peer, Message::Done { session: session.id() });
        Some(session)
    }

    /// Suspends a session that can't continue now: it continues later with the batch that is being
    /// received. All batches before it are in the store.
    pub(in crate::core) fn suspend(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        peer: MemberId,
    ) {
        let Some(mut session) = self.take(cx, bodies, peer) else { return };
        cx.out.notice(Notice::SessionSuspended(peer));
        session.suspend();
        self.suspended.insert(peer, session);
    }

    /// Drops the suspended sessions, because the store was rolled back or is rebuilt: it may count less than when they
    /// began.
    pub(in crate::core) fn rolled_back(&mut self) {
        self.suspended.clear();
    }

    /// Drops the suspended sessions with a peer that was removed from the cluster.
    pub(in crate::core) fn forget(&mut self, peer: MemberId) {
        self.suspended.forget(peer);
    }

    /// Ends the session on a link that is down. Its failures do not count for the next link.
    pub(in crate::core) fn disconnect(&mut self, peer: MemberId) {
        self.sessions.remove(&peer);
        self.failed.remove(&peer);
    }
}
