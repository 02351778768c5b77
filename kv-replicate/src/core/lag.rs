//! Noticing what is missing and does not come, and getting it another way.
//!
//! What an origin's writer says, or any peer, tells what is there. What does not come by itself is
//! asked for: first of its writer, from its ring; then of anyone who has it, in a catch-up session.

use std::time::Duration;

use kv_core::OriginId;

use super::Core;
use crate::MemberId;

/// How often is looked while something is missing, and how often when it has been for longer.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LOOK_LATER: Duration = Duration::from_millis(500);

/// How often at most: a look goes through all links and all that they have.
const LOOK_APART: Duration = Duration::from_millis(10);

/// How long the live stream has for what a peer says is there.
const ASK_AFTER: Duration = Duration::from_millis(250);

/// How long the writer's ring has.
const CATCH_UP_AFTER: Duration = Duration::from_millis(750);

/// How long a peer whose session failed is not asked, if others can be.
const AVOID_FOR: Duration = Duration::from_secs(5);

/// How many sessions may be received at once.
pub(super) const MAX_SESSIONS: usize = 2;

/// An origin of which a peer has more than this location.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lag {
    /// What was here when it was last seen to move.
    have: u64,
    since: Duration,
}

/// When was looked for what is missing.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Not before.
    next: Duration,
    /// Something happened since.
    is_due: bool,
}

impl Core {
    /// Looks at what is missing, and at who left; not at every event.
    pub(super) fn look(&mut self) {
        self.look.is_due = self.now.mono < self.look.next;
        if self.look.is_due {
            return;
        }
        self.look.next = self.now.mono + LOOK_APART;
        self.watch_lag();
        self.watch_closing();
        self.note_reached();
    }

    /// When is looked again.
    pub(super) fn look_timeout(&self) -> Option<Duration> {
        if self.look.is_due {
            return Some(self.look.next);
        }
        let youngest = self.lag.values().map(|lag| lag.since).max()?;
        let is_young = self.now.mono <= youngest + 2 * CATCH_UP_AFTER;
        Some(self.now.mono + if is_young { LOOK_AGAIN } else { LOOK_LATER })
    }

    /// Looks for what is missing and has not moved for a while.
    pub(super) fn watch_lag(&mut self) {
        let now = self.now.mono;
        let mut ahead = std::collections::BTreeMap::new();
        for link in self.links.values().filter(|link| link.is_ready()) {
            for dot in link.progress.durable.iter() {
                let most = ahead.entry(dot.origin).or_insert(0);
                *most = dot.seq.max(*most);
            }
        }
        ahead.retain(|origin, most| {
            *most > self.arrived(*origin) && !self.config.origins.contains(origin)
        });
        self.lag.retain(|origin, _| ahead.contains_key(origin));
        for origin in ahead.keys() {
            let have = self.arrived(*origin);
            let lag = self.lag.entry(*origin).or_insert(Lag { have, since: now });
            if lag.have != have {
                *lag = Lag { have, since: now };
            }
        }
        let late: Vec<_> =
            self.lag.iter().map(|(origin, lag)| (*origin, now - lag.since)).collect();
        for (origin, late) in late {
            if self.is_coming(origin) {
                continue;
            }
            if late >= ASK_AFTER {
                self.ask_writer(origin);
            }
            if late >= CATCH_UP_AFTER || !self.is_joined() {
                self.catch_up(origin);
            }
        }
    }

    /// For how long nothing of an origin came although more of it is there; none if nothing is missing.
    pub(super) fn late(&self, origin: OriginId) -> Option<Duration> {
        self.lag.get(&origin).map(|lag| self.now.mono.saturating_sub(lag.since))
    }

    fn ask_writer(&mut self, origin: OriginId) {
        let writes = |link: &crate::link::Link| {
            link.hello.as_ref().is_some_and(|hello| hello.origins.contains(&origin))
        };
        let writer = self.links.iter().find(|(_, link)| writes(link)).map(|(peer, _)| *peer);
        if let Some(writer) = writer {
            self.ask_live(writer);
        }
    }

    /// Whether a session is under way that brings more of this origin.
    fn is_coming(&self, origin: OriginId) -> bool {
        let have = self.arrived(origin);
        let mut sessions = self.links.values().filter_map(|link| link.session.as_ref());
        sessions.any(|session| session.target.get(origin) > have)
    }

    /// Begins a session with someone who has more of this origin.
    fn catch_up(&mut self, origin: OriginId) {
        if self.sessions().0 < MAX_SESSIONS
            && let Some(peer) = self.source_of(origin, self.arrived(origin))
        {
            self.begin_session(peer);
        }
    }

    /// Whether a session can be begun with a peer.
    pub(super) fn can_be_asked(&self, link: &crate::link::Link) -> bool {
        let now = self.now.mono;
        link.is_ready()
            && link.session.is_none()
            && link.failed_at.is_none_or(|at| now >= at + AVOID_FOR)
    }

    /// Who has more of an origin and can be asked: one with whom a session waits to go on, else the
    /// one whose last session failed longest ago.
    fn source_of(&self, origin: OriginId, have: u64) -> Option<MemberId> {
        (self.links.iter())
            .filter(|(_, link)| self.can_be_asked(link))
            .filter(|(_, link)| link.progress.durable.get(origin) > have)
            .min_by_key(|(peer, link)| (!self.suspended.contains_key(peer), link.failed_at))
            .map(|(peer, _)| *peer)
    }
}
