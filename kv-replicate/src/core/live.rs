//! New writes, from the rings of those who make them to those who lack them.

use std::{collections::VecDeque, time::Duration};

use kv_core::OriginId;

use super::{Core, Pending, lag::MAX_SESSIONS};
use crate::{
    Content, MemberId, Row,
    link::MAX_CONTROL,
    wire::{Message, encode_row},
    work::{How, Notice, ToApply, Work},
};

/// How often a peer is asked to send again.
const WANT_EVERY: Duration = Duration::from_millis(200);

/// How many bytes of a peer's rows may wait for the store: two bursts of a session, and live ones.
pub(super) const MAX_APPLYING: usize = 6 << 20;

/// How many writes of an origin may wait behind one whose body is being fetched.
const MAX_QUEUE: usize = 256;
const MAX_QUEUE_BYTES: usize = 1 << 20;

/// The live writes of one origin that are not applied yet.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    /// The last number that came in order: those before it are here, with the store, or queued.
    pub(super) arrived: u64,
    /// The first of these has a large body, which is being fetched.
    queue: VecDeque<(MemberId, Row)>,
    fetch: Option<u64>,
}

impl Incoming {
    pub(crate) fn weight(&self) -> usize {
        self.queue.iter().map(|(_, row)| row.weight()).sum()
    }
}

impl Core {
    /// The store made these writes: they go into the rings.
    pub(super) fn wrote(&mut self, rows: &[Row]) {
        for row in rows {
            let lane = self.config.origins.iter().position(|origin| *origin == row.dot.origin);
            if let Some(lane) = lane {
                self.backlogs[lane].push(row.dot.seq, encode_row(row));
            }
        }
    }

    /// A peer wants our writes from behind these numbers.
    pub(super) fn want(&mut self, from: MemberId, numbers: [u64; 2]) {
        if !self.is_served(from) {
            return;
        }
        let reached: Vec<_> = (self.backlogs.iter().zip(numbers))
            .map(|(backlog, number)| number.checked_add(1).filter(|next| backlog.reaches(*next)))
            .collect();
        let Some(link) = self.links.get_mut(&from) else { return };
        link.cursor = [reached[0], reached[1]];
        if link.cursor.contains(&None) {
            self.left_behind(from);
        }
    }

    /// A peer wants what the ring no longer has. What it has still goes out.
    pub(super) fn left_behind(&mut self, peer: MemberId) {
        if let Some(link) = self.links.get_mut(&peer) {
            link.say(Message::Behind);
        }
        self.notice(Notice::BacklogLost(peer));
    }

    /// Asks a peer to send live from what has arrived, unless that was asked a moment ago.
    pub(super) fn ask_live(&mut self, peer: MemberId) {
        let now = self.now.mono;
        if !self.is_joined() {
            return;
        }
        let Some(link) = self.links.get(&peer) else { return };
        let Some(hello) = &link.hello else { return };
        if link.is_parked() || link.want_at.is_some_and(|at| now < at + WANT_EVERY) {
            return;
        }
        let numbers = hello.origins.map(|origin| self.arrived(origin));
        if let Some(link) = self.links.get_mut(&peer) {
            link.want_at = Some(now);
            link.say(Message::Want(numbers));
        }
    }

    /// A peer's ring does not reach back to what is missing of its writes. Whoever has them may bring
    /// them: after a long cut many peers say this at once, and each has what the others wrote too.
    pub(super) fn behind(&mut self, from: MemberId) {
        let Some(link) = self.links.get(&from) else { return };
        let Some(hello) = &link.hello else { return };
        let sessions = || self.links.values().filter_map(|link| link.session.as_ref());
        let comes = |origin: &OriginId| {
            let most = link.progress.durable.get(*origin);
            most > 0 && sessions().any(|session| session.target.get(*origin) >= most)
        };
        // One that failed a moment ago would fail again; what is missing is looked for later.
        let is_free = self.can_be_asked(link) && sessions().count() < MAX_SESSIONS;
        if is_free && !hello.origins.iter().any(comes) {
            self.begin_session(from);
        }
    }

    pub(super) fn live(&mut self, from: MemberId, rows: Vec<Row>) {
        let Some(link) = self.links.get(&from) else { return };
        let Some(first) = rows.first().map(|row| row.dot) else { return };
        if !link.hello.as_ref().is_some_and(|hello| hello.origins.contains(&first.origin)) {
            return self.close(from, "it sends live what it did not write");
        }
        if !self.is_joined() || link.is_parked() || link.applying > MAX_APPLYING {
            return;
        }
        let arrived = self.arrived(first.origin);
        if first.seq > arrived.saturating_add(1) {
            self.notice(Notice::Gap(from));
            self.ask_live(from);
            return;
        }
        let new: Vec<_> = rows.into_iter().filter(|row| row.dot.seq > arrived).collect();
        if new.is_empty() || self.is_ahead(from, new.iter().map(|row| row.hlc).max()) {
            return;
        }
        self.queue(from, first.origin, new);
    }

    fn queue(&mut self, from: MemberId, origin: OriginId, rows: Vec<Row>) {
        let incoming = self.incoming.entry(origin).or_default();
        let mut bytes = incoming.weight();
        for row in rows {
            bytes += row.weight();
            let is_full = incoming.queue.len() >= MAX_QUEUE || bytes > MAX_QUEUE_BYTES;
            if incoming.fetch.is_some() && is_full {
                // It comes again when it is asked for.
                break;
            }
            incoming.arrived = row.dot.seq;
            incoming.queue.push_back((from, row));
        }
        self.drain(origin);
    }

    /// Hands to the store what needs no fetching, and begins to fetch what comes then.
    fn drain(&mut self, origin: OriginId) {
        let Some(incoming) = self.incoming.get_mut(&origin) else { return };
        if incoming.fetch.is_some() {
            return;
        }
        let mut rows = Vec::new();
        let mut sender = None;
        while let Some((from, row)) = incoming.queue.pop_front() {
            if matches!(row.content, Content::Large { .. }) {
                incoming.queue.push_front((from, row));
                break;
            }
            sender = Some(from);
            rows.push(ToApply { row, how: How::Next, fetch: None });
        }
        let next = incoming.queue.front().cloned();
        if let Some(from) = sender {
            self.apply_live(from, origin, rows);
        }
        let Some((from, row)) = next else { return };
        let fetch = self.begin_fetch(from, row, None);
        if let Some(incoming) = self.incoming.get_mut(&origin) {
            incoming.fetch = Some(fetch);
        }
    }

    fn apply_live(&mut self, peer: MemberId, origin: OriginId, rows: Vec<ToApply>) {
        let bytes = rows.iter().map(|to_apply| to_apply.row.weight()).sum();
        if let Some(link) = self.links.get_mut(&peer) {
            link.applying += bytes;
        }
        let id = self.next_id();
        self.pending.insert(id, Pending::Live { peer, origin, bytes });
        self.work.push_back(Work::Apply { id, epoch: self.epoch, rows });
    }

    /// The body of the first write in the queue is here.
    pub(super) fn live_fetched(&mut self, origin: OriginId, fetch: u64) {
        let Some(incoming) = self.incoming.get_mut(&origin) else { return };
        if incoming.fetch != Some(fetch) {
            return;
        }
        incoming.fetch = None;
        if let Some((from, row)) = incoming.queue.pop_front() {
            self.apply_live(
                from,
                origin,
                vec![ToApply { row, how: How::Next, fetch: Some(fetch) }],
            );
        }
        self.drain(origin);
    }

    pub(super) fn live_applied(&mut self, origin: OriginId, failed: bool) {
        let have = self.store.visible.get(origin);
        let is_over = self.incoming.get(&origin).is_some_and(|incoming| {
            incoming.queue.is_empty() && incoming.fetch.is_none() && incoming.arrived <= have
        });
        if failed || is_over {
            self.forget_incoming(origin);
        }
    }

    /// What came of an origin and is not applied is let go: it is asked for again, or caught up on.
    pub(super) fn forget_incoming(&mut self, origin: OriginId) {
        if let Some(incoming) = self.incoming.remove(&origin)
            && let Some(fetch) = incoming.fetch
        {
            self.discard(fetch);
        }
    }

    /// The next live message to a peer, if it follows us.
    pub(super) fn next_live(
        &mut self,
        peer: MemberId,
    ) -> Option<(kv_core::Dot, Vec<bytes::Bytes>)> {
        for lane in 0..2 {
            let link = self.links.get_mut(&peer)?;
            let Some(seq) = link.cursor[lane] else { continue };
            let backlog = &self.backlogs[lane];
            if !backlog.reaches(seq) {
                link.cursor[lane] = None;
                if link.control.len() < MAX_CONTROL {
                    self.left_behind(peer);
                }
                continue;
            }
            let rows = backlog.batch(seq, 512);
            if !rows.is_empty() {
                link.cursor[lane] = Some(seq + rows.len() as u64);
                let origin = self.config.origins[lane];
                return Some((kv_core::Dot { origin, seq }, rows));
            }
        }
        None
    }
}
