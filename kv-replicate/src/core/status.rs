//! What a core's owner may want to see of a peer.

use std::time::Duration;

use kv_core::{Dot, VersionVector};

use super::{Core, members::CLOSED};
use crate::{MemberId, link::Session};

/// A peer with whom there is a link, as this location sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerState {
    /// Each has heard who the other is.
    pub is_known: bool,
    /// How many writes this location holds durably that the peer does not, as far as it has said.
    pub behind: u64,
    /// How many writes the peer holds durably that have not come here.
    pub ahead: u64,
    /// For how long nothing has come of the writes of which this location lacks some: the longest over
    /// the origins that the peer has more of.
    pub late: Duration,
    /// A catch-up session from the peer, and how far it is.
    pub receiving: Option<SessionProgress>,
    /// A catch-up session to the peer.
    pub is_sending: bool,
    /// The peer's clock is ahead: until the wall clock here shows this many milliseconds, its writes wait.
    pub parked_until_ms: Option<u64>,
}

/// How far a catch-up session is, in numbers of writes; those that were overwritten since count too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionProgress {
    /// Those that were passed in this walk.
    pub walked: u64,
    /// All that were missing when the session was begun or taken up.
    pub of: u64,
}

impl Core {
    /// What is known of a peer; none while there is no link to it.
    #[must_use]
    pub fn peer_state(&self, peer: MemberId) -> Option<PeerState> {
        let link = self.links.get(&peer)?;
        let theirs = &link.progress.durable;
        let more = theirs.iter().filter(|dot| dot.seq < CLOSED);
        let more = more.filter(|dot| dot.seq > self.arrived(dot.origin));
        let (mut ahead, mut late) = (0_u64, Duration::ZERO);
        for dot in more {
            ahead = ahead.saturating_add(dot.seq - self.arrived(dot.origin));
            late = late.max(self.late(dot.origin).unwrap_or_default());
        }
        Some(PeerState {
            is_known: link.is_known && link.hello.is_some(),
            behind: missing(&self.store.durable, theirs),
            ahead,
            late,
            receiving: link.session.as_ref().map(progress),
            is_sending: link.serving.is_some(),
            parked_until_ms: link.parked_until,
        })
    }
}

/// How many writes of one vector another lacks, without those of origins that are closed.
fn missing(here: &VersionVector, there: &VersionVector) -> u64 {
    let open = here.iter().filter(|dot| dot.seq < CLOSED);
    open.map(|dot| dot.seq.saturating_sub(there.get(dot.origin))).fold(0, u64::saturating_add)
}

fn progress(session: &Session) -> SessionProgress {
    let mut progress = SessionProgress::default();
    for Dot { origin, seq } in session.target.iter().filter(|dot| dot.seq < CLOSED) {
        let since = session.since.get(origin);
        let walked = match session.after {
            Some(after) if after.origin > origin => seq,
            Some(after) if after.origin == origin => after.seq.min(seq),
            _ => since,
        };
        progress.of = progress.of.saturating_add(seq.saturating_sub(since));
        progress.walked = progress.walked.saturating_add(walked.saturating_sub(since));
    }
    progress
}
