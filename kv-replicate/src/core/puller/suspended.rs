//! Sessions that can't continue now, because their links are down or they failed.

use std::collections::BTreeMap;

use super::session::Session;
use crate::MemberId;

/// How many sessions may be suspended.
const MAX_SUSPENDED: usize = 2;

/// The suspended sessions, one a peer and at most [`MAX_SUSPENDED`].
#[derive(Debug, Default)]
pub(super) struct Suspended {
    sessions: BTreeMap<MemberId, Session>,
}

impl Suspended {
    /// About how many bytes they take.
    pub(super) fn memory_bytes(&self) -> usize {
        self.sessions.values().map(Session::memory_bytes).sum()
    }

    /// Whether the session with a peer is suspended.
    pub(super) fn contains(&self, peer: MemberId) -> bool {
        self.sessions.contains_key(&peer)
    }

    /// Adds the session with a peer. Without room for it, the one that has not moved for longest is dropped.
    pub(super) fn insert(&mut self, peer: MemberId, session: Session) {
        while self.sessions.len() >= MAX_SUSPENDED
            && let Some(oldest) = self.oldest()
        {
            self.sessions.remove(&oldest);
        }
        self.sessions.insert(peer, session);
    }

    /// Takes the session with a peer out, to continue or to drop it.
    pub(super) fn take(&mut self, peer: MemberId) -> Option<Session> {
        self.sessions.remove(&peer)
    }

    /// Drops all sessions.
    pub(super) fn clear(&mut self) {
        self.sessions.clear();
    }

    fn oldest(&self) -> Option<MemberId> {
        let oldest = self.sessions.iter().min_by_key(|(_, session)| session.moved_at());
        oldest.map(|(peer, _)| *peer)
    }
}
