//! Large bodies: asked for piece by piece by who lacks them.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use kv_core::{OriginId, limits::CHUNK_BYTES};

use super::{Core, Pending};
use crate::{
    Content, MemberId, Row,
    wire::{GetBody, MAX_ASKED_BYTES, Message},
    work::{How, Notice, ToApply, Work},
};

/// How long a piece may be under way before it is asked for again; twice as long each time.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it is asked for before the body is given up.
const MAX_TRIES: u32 = 4;

/// How many requests of one peer for bodies wait here.
const MAX_BODIES: usize = 16;

/// How many bodies of a session are fetched from one peer at a time.
const MAX_AT_ONCE: usize = 8;

/// How many pieces wait for a peer to take them.
const MAX_PIECES: usize = 2;

/// What a body is fetched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The next write of an origin.
    Live(OriginId),
    /// A row of a session.
    Session(u64),
}

/// A body that is being fetched.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) peer: MemberId,
    pub(super) purpose: Purpose,
    row: Row,
    len: u64,
    received: u64,
    /// Up to where was asked; 0 if it waits for others.
    asked: u64,
    asked_at: Duration,
    tries: u32,
}

impl Fetch {
    pub(super) fn weight(&self) -> usize {
        128 + self.row.weight()
    }

    pub(super) fn timeout(&self) -> Duration {
        self.asked_at + PATIENCE * (1 << self.tries)
    }
}

impl Core {
    /// Begins to fetch the body of a row, for a session if one is named, else for the live stream.
    pub(super) fn begin_fetch(&mut self, peer: MemberId, row: Row, session: Option<u64>) -> u64 {
        let id = self.unique_id();
        let len = match row.content {
            Content::Large { len, .. } => len,
            _ => 0,
        };
        let purpose = session.map_or(Purpose::Live(row.dot.origin), Purpose::Session);
        let (received, asked, tries) = (0, 0, 0);
        let asked_at = self.now.mono;
        let fetch = Fetch { peer, purpose, row, len, received, asked, asked_at, tries };
        self.fetches.insert(id, fetch);
        self.ask_bodies(peer);
        id
    }

    /// Asks for the bodies that a peer may be asked for now.
    fn ask_bodies(&mut self, peer: MemberId) {
        let of_peer = || self.fetches.iter().filter(|(_, fetch)| fetch.peer == peer);
        let asked = of_peer().filter(|(_, fetch)| fetch.asked > 0).count();
        let room = MAX_AT_ONCE.saturating_sub(asked);
        let is_live = |fetch: &Fetch| matches!(fetch.purpose, Purpose::Live(_));
        let mut waiting: Vec<_> = of_peer()
            .filter(|(_, fetch)| fetch.asked == 0)
            .map(|(id, fetch)| (!is_live(fetch), *id))
            .collect();
        waiting.sort_unstable();
        for (_, id) in waiting.into_iter().take(room) {
            self.ask_body(id);
        }
    }

    /// Asks for the next pieces of a body.
    fn ask_body(&mut self, id: u64) {
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        let len = (fetch.len - fetch.received).min(u64::from(MAX_ASKED_BYTES));
        fetch.asked = fetch.received + len;
        fetch.asked_at = self.now.mono;
        let get = GetBody {
            fetch: id,
            namespace: fetch.row.namespace,
            dot: fetch.row.dot,
            offset: fetch.received,
            len: u32::try_from(len).unwrap_or(MAX_ASKED_BYTES),
            key: fetch.row.key.clone(),
        };
        if let Some(link) = self.links.get_mut(&fetch.peer) {
            link.say(Message::GetBody(get));
        }
    }

    pub(super) fn piece(&mut self, from: MemberId, id: u64, offset: u64, bytes: Bytes) {
        let Some(fetch) = self.fetches.get_mut(&id).filter(|fetch| fetch.peer == from) else {
            return;
        };
        if offset != fetch.received {
            return;
        }
        let expected = (fetch.len - fetch.received).min(CHUNK_BYTES as u64);
        if bytes.len() as u64 != expected {
            return self.close(from, "a piece of a body has another length");
        }
        fetch.received += expected;
        fetch.tries = fetch.tries.saturating_sub(1);
        fetch.asked_at = self.now.mono;
        let (is_whole, is_all) = (fetch.received == fetch.len, fetch.received == fetch.asked);
        self.work.push_back(Work::Stage { fetch: id, bytes });
        if is_whole {
            self.fetched(id);
            self.ask_bodies(from);
        } else if is_all {
            self.ask_body(id);
        }
    }

    fn fetched(&mut self, id: u64) {
        let Some(fetch) = self.fetches.remove(&id) else { return };
        match fetch.purpose {
            Purpose::Live(origin) => self.live_fetched(origin, id),
            Purpose::Session(session) => {
                let row = ToApply { row: fetch.row, how: How::Row, fetch: Some(id) };
                self.session_fetched(fetch.peer, session, Some(row));
            }
        }
    }

    pub(super) fn no_body(&mut self, from: MemberId, id: u64) {
        if self.fetches.get(&id).is_some_and(|fetch| fetch.peer == from) {
            self.lose_fetch(id);
            self.ask_bodies(from);
        }
    }

    /// A body can't be had: it was overwritten at its source, or the link is gone.
    pub(super) fn lose_fetch(&mut self, id: u64) {
        let Some(fetch) = self.fetches.get(&id) else { return };
        let (peer, purpose) = (fetch.peer, fetch.purpose);
        self.notice(Notice::BodyLost(peer));
        self.discard(id);
        match purpose {
            // What came since is more, and has this row or its successor: a session brings it.
            Purpose::Live(origin) => {
                self.forget_incoming(origin);
                self.behind(peer);
            }
            Purpose::Session(session) => self.session_fetched(peer, session, None),
        }
    }

    pub(super) fn discard(&mut self, id: u64) {
        if self.fetches.remove(&id).is_some() {
            self.work.push_back(Work::Discard { fetch: id });
        }
    }

    /// Asks again for pieces that do not come.
    pub(super) fn watch_fetches(&mut self) {
        let now = self.now.mono;
        let late: Vec<_> = (self.fetches.iter())
            .filter(|(_, fetch)| now >= fetch.timeout())
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            let Some(fetch) = self.fetches.get_mut(&id) else { continue };
            if fetch.asked == 0 {
                fetch.asked_at = now;
                let peer = fetch.peer;
                self.ask_bodies(peer);
                continue;
            }
            fetch.tries += 1;
            if fetch.tries > MAX_TRIES {
                self.lose_fetch(id);
            } else {
                self.ask_body(id);
            }
        }
    }

    /// A peer asks for bytes of a body.
    pub(super) fn get_body(&mut self, from: MemberId, get: GetBody) {
        if !self.is_served(from) {
            return;
        }
        let Some(link) = self.links.get_mut(&from) else { return };
        // It asks again: the answer to what it asked before is no longer waited for.
        link.bodies.retain(|waiting| waiting.fetch != get.fetch);
        if link.bodies.len() < MAX_BODIES {
            link.bodies.push_back(get);
        }
        self.read_body(from);
    }

    /// Asks the store for the next piece that a peer waits for.
    pub(super) fn read_body(&mut self, peer: MemberId) {
        let id = self.next_id();
        let Some(link) = self.links.get_mut(&peer) else { return };
        if link.is_reading_body || link.pieces.len() >= MAX_PIECES {
            return;
        }
        let Some(get) = link.bodies.front() else { return };
        link.is_reading_body = true;
        let (fetch, offset) = (get.fetch, get.offset);
        let (namespace, key, dot) = (get.namespace, get.key.clone(), get.dot);
        self.pending.insert(id, Pending::Body { peer, fetch, offset });
        self.work.push_back(Work::ReadBody { id, namespace, key, dot, offset });
    }

    pub(super) fn body_read(&mut self, id: u64, bytes: Option<Bytes>) {
        let Some(Pending::Body { peer, fetch, offset }) = self.pending.remove(&id) else { return };
        let Some(link) = self.links.get_mut(&peer) else { return };
        link.is_reading_body = false;
        answer(&mut link.bodies, &mut link.pieces, (fetch, offset), bytes);
        self.read_body(peer);
    }
}

/// Puts a piece in line, and moves its request on; in a circle, so that a long body holds up no
/// short one.
fn answer(
    bodies: &mut VecDeque<GetBody>,
    pieces: &mut VecDeque<Message>,
    (fetch, offset): (u64, u64),
    bytes: Option<Bytes>,
) {
    let asked = |get: &GetBody| get.fetch == fetch && get.offset == offset;
    let Some(at) = bodies.iter().position(asked) else { return };
    let Some(mut get) = bodies.remove(at) else { return };
    let Some(bytes) = bytes else {
        return pieces.push_back(Message::NoBody { fetch });
    };
    let len = bytes.len() as u64;
    get.offset += len;
    get.len = get.len.saturating_sub(u32::try_from(len).unwrap_or(u32::MAX));
    if get.len > 0 {
        bodies.push_back(get);
    }
    pieces.push_back(Message::Piece { fetch, offset, bytes });
}
