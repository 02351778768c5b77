//! Sessions that can't continue now, because their links are down or they failed.
//!
//! A session continues only with the process that it began with. Two processes of one member, on copies of a directory,
//! may replace each other's link again and again, and a session with each may last longer than a link.

use std::collections::BTreeMap;

use super::session::Session;
use crate::MemberId;

/// How many sessions may be suspended: with both processes of two members.
const MAX_SUSPENDED: usize = 4;

/// The suspended sessions, by member and the incarnation of its process: at most [`MAX_SUSPENDED`].
#[derive(Debug, Default)]
pub(super) struct Suspended {
    sessions: BTreeMap<(MemberId, u64), Session>,
}

impl Suspended {
    /// About how many bytes they take.
    pub(super) fn memory_bytes(&self) -> usize {
        self.sessions.values().map(Session::memory_bytes).sum()
    }

    /// Whether the session with a process of a peer is suspended.
    pub(super) fn contains(&self, peer: MemberId, incarnation: u64) -> bool {
        self.sessions.contains_key(&(peer, incarnation))
    }

    /// Adds the session with a peer. Without room for it, the one that has not moved for longest is dropped.
    pub(super) fn insert(&mut self, peer: MemberId, session: Session) {
        let name = (peer, session.source());
        while self.sessions.len() >= MAX_SUSPENDED
            && !self.sessions.contains_key(&name)
            && let Some(oldest) = self.oldest()
        {
            self.sessions.remove(&oldest);
        }
        self.sessions.insert(name, session);
    }

    /// Takes the session with a process of a peer out, to continue it.
    pub(super) fn take(&mut self, peer: MemberId, incarnation: u64) -> Option<Session> {
        self.sessions.remove(&(peer, incarnation))
    }

    /// Drops the sessions with a peer.
    pub(super) fn forget(&mut self, peer: MemberId) {
        self.sessions.retain(|(of, _), _| *of != peer);
    }

    /// Drops all sessions.
    pub(super) fn clear(&mut self) {
        self.sessions.clear();
    }

    fn oldest(&self) -> Option<(MemberId, u64)> {
        let oldest = self.sessions.iter().min_by_key(|(_, session)| session.moved_at());
        oldest.map(|(name, _)| *name)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kv_core::VersionVector;

    use super::*;
    use crate::core::testing::{PEER, THIRD};

    fn session(source: u64, at: u64) -> Session {
        let vector = VersionVector::default();
        Session::new((source, source), vector.clone(), vector, Duration::from_secs(at))
    }

    #[test]
    fn a_session_continues_with_the_process_that_it_began_with_though_another_one_came_between() {
        let mut suspended = Suspended::default();
        suspended.insert(PEER, session(1, 1));
        suspended.insert(PEER, session(2, 2));
        assert!(suspended.contains(PEER, 1) && suspended.take(PEER, 1).is_some());
        assert!(!suspended.contains(PEER, 1) && suspended.contains(PEER, 2));
        suspended.forget(PEER);
        assert!(!suspended.contains(PEER, 2));
    }

    #[test]
    fn without_room_the_session_that_has_not_moved_for_longest_is_dropped() {
        let mut suspended = Suspended::default();
        (1..=5).for_each(|source| suspended.insert(THIRD, session(source, source)));
        assert!(!suspended.contains(THIRD, 1));
        assert!((2..=5).all(|source| suspended.contains(THIRD, source)));
    }
}
