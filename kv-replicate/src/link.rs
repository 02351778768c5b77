//! What a core knows of one peer while a link to it is up.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use kv_core::{Dot, Hlc, VersionVector};

use crate::wire::{GetBody, Hello, Message, PageHead, Progress, Pull, Reason};

/// Requests and answers that wait to be sent to a peer; more are dropped and asked for again.
pub(crate) const MAX_CONTROL: usize = 64;

/// A peer, while a link to it is up.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// The random number of its start; 0 before its hello.
    pub(crate) incarnation: u64,
    pub(crate) hello: Option<Hello>,
    /// It has our hello.
    pub(crate) is_known: bool,
    /// A hello is to be sent now.
    pub(crate) send_hello: bool,
    /// It was removed, and is to be told when it says hello.
    pub(crate) send_removed: bool,
    pub(crate) hello_at: Duration,
    /// The last heads that came.
    pub(crate) progress: Progress,
    /// Progress are to be sent: something changed since the last.
    pub(crate) is_news: bool,
    pub(crate) send_progress: bool,
    pub(crate) progress_at: Duration,
    pub(crate) control: VecDeque<Message>,
    /// The next number of each of our origins to be sent live; none while it catches up.
    pub(crate) cursor: [Option<u64>; 2],
    /// When live was last asked for.
    pub(crate) want_at: Option<Duration>,
    /// Bytes of its rows that the store has not applied yet.
    pub(crate) applying: usize,
    /// Its clock is ahead: until our wall shows this, nothing of it is applied.
    pub(crate) parked_until: Option<u64>,
    pub(crate) session: Option<Session>,
    /// When a session with it last failed.
    pub(crate) failed_at: Option<Duration>,
    pub(crate) serving: Option<Serving>,
    /// The store reads rows for it; the last request that came since.
    pub(crate) is_reading: bool,
    pub(crate) next_pull: Option<Pull>,
    /// Pages of the burst that it asked for.
    pub(crate) pages: VecDeque<Message>,
    /// Pieces of bodies that it asked for.
    pub(crate) bodies: VecDeque<GetBody>,
    pub(crate) pieces: VecDeque<Message>,
    pub(crate) is_reading_body: bool,
}

impl Link {
    /// Puts a request or answer in line; drops it if too many wait, as a network might.
    pub(crate) fn say(&mut self, message: Message) {
        if self.control.len() < MAX_CONTROL {
            self.control.push_back(message);
        }
    }

    pub(crate) fn is_parked(&self) -> bool {
        self.parked_until.is_some()
    }

    /// Whether rows can come from it.
    pub(crate) fn is_ready(&self) -> bool {
        self.hello.is_some() && !self.is_parked()
    }

    /// A link to a peer in the place of this one, as far as the store is still at work for this one.
    pub(crate) fn renewed(&self, incarnation: u64) -> Link {
        let (applying, is_reading_body) = (self.applying, self.is_reading_body);
        Link {
            incarnation,
            applying,
            is_reading: self.is_reading,
            is_reading_body,
            ..Link::default()
        }
    }

    /// About how many bytes wait here for the peer or for the store.
    pub(crate) fn weight(&self) -> usize {
        let of = |messages: &VecDeque<Message>| messages.iter().map(weight).sum::<usize>();
        let session = if self.session.is_some() { Session::MOST_BYTES } else { 0 };
        let bodies = self.bodies.len() * 640;
        of(&self.pages) + of(&self.pieces) + of(&self.control) + self.applying + session + bodies
    }
}

fn weight(message: &Message) -> usize {
    match message {
        Message::Page(page) => page.rows.iter().map(crate::Row::weight).sum(),
        Message::Piece { bytes, .. } => bytes.len(),
        Message::Pull(pull) => 64 + 24 * pull.since.iter().count(),
        Message::Refusal { reason: Reason::Gone(vector), .. } => 64 + 24 * vector.iter().count(),
        _ => 640,
    }
}

/// A session in which rows are received.
///
/// A *pass* is one walk over all that is missing; a *burst* is a part of it, read in one snapshot of
/// the source. A pass that took more than one snapshot is followed by another, over what came since
/// the first of them; one whose bursts all were of one ends the session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) since: VersionVector,
    pub(crate) after: Option<Dot>,
    pub(crate) batch: u32,
    /// After which dot the burst begins that is being received.
    pub(crate) batch_after: Option<Dot>,
    pub(crate) asked_at: Duration,
    pub(crate) tries: u32,
    /// What the first snapshot of this pass counted.
    pub(crate) round_start: Option<VersionVector>,
    /// The number of that snapshot.
    pub(crate) round_commit: u64,
    /// Writes whose bodies came in this session: a later pass names them again.
    pub(crate) taken: BTreeSet<Dot>,
    /// More than one snapshot was read in this pass.
    pub(crate) again: bool,
    /// Bodies are fetched for this burst.
    pub(crate) has_bodies: bool,
    /// A body of this burst was gone: the burst is to come again.
    pub(crate) is_body_gone: bool,
    /// How often it was asked for again for that.
    pub(crate) redone: u32,
    pub(crate) current: Option<Current>,
    /// Commits and bodies of this burst that are under way.
    pub(crate) open: usize,
    /// The burst before this one, while some of it is on its way to the store.
    pub(crate) before: Option<Before>,
    /// What the peer counted when the session was begun.
    pub(crate) target: VersionVector,
    /// The members of which this end and the other knew when it was begun.
    pub(crate) members: (u64, u64),
}

impl Session {
    /// About the most bytes that one takes: its vectors, and the writes that it remembers.
    pub(crate) const MOST_BYTES: usize = 256 << 10;
}

/// A burst whose pages all came, while the next is on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before {
    /// After which dot it began.
    pub(crate) after: Option<Dot>,
    /// Its commits that are under way.
    pub(crate) open: usize,
}

/// The burst that is being received.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) stamp: u64,
    pub(crate) next_page: u16,
    pub(crate) head: PageHead,
    /// All pages came: where to go on, or none at the end of the pass.
    pub(crate) ended: Option<Option<Dot>>,
}

/// A session in which rows are sent. It has next to no state: each request says all.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) id: u64,
    /// Our clock when it began: no tombstone newer than this goes before it ends.
    pub(crate) started: Hlc,
    pub(crate) heard_at: Duration,
    pub(crate) batch: u32,
}
