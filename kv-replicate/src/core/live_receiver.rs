//! Receives the new writes of peers, in the order of their sequence numbers.
//!
//! Large bodies are fetched beside each other, and their rows are applied in order. If a body was overwritten before
//! it could be fetched, the source names and sends the later write of its key. That one is applied like a row of a
//! session, and the writes that it replaces are counted without their rows, so that an origin whose values are
//! rewritten faster than they can be fetched does not stall.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use kv_core::OriginId;

use super::{
    actions::{Context, MAX_APPLYING, Pending},
    body_fetcher::{BodyFetcher, Fetched, Purpose},
    local::Local,
    peers::Peer,
};
use crate::{
    MemberId, Row,
    notice::Notice,
    wire::{Message, Want},
    work::{How, ToApply},
};

mod passed;
mod queue;
#[cfg(test)]
mod tests;
mod wanted;

use passed::Passed;
use queue::Queue;
use wanted::Wanted;

/// The live writes of one origin that are not applied yet.
#[derive(Debug, Default)]
struct Incoming {
    /// The last sequence number that arrived in order: all up to it are here, with the store, or queued.
    arrived: u64,
    /// The writes that wait for bodies, and those behind them.
    queue: Queue,
}

/// The live streams of all origins.
#[derive(Debug, Default)]
pub(super) struct LiveReceiver {
    /// The streams by origin. An origin without arrived writes has no entry.
    incoming: BTreeMap<OriginId, Incoming>,
    /// The last request for writes to each peer.
    wanted: BTreeMap<MemberId, Wanted>,
    /// The later writes that were taken lately instead of those that they replaced.
    passed: Passed,
    /// The origins with a late write. A session must show whether it was deleted: until one has ended, no live
    /// write of them is taken.
    late: BTreeSet<OriginId>,
    /// The origins whose arrived writes were dropped since the last call of `take_forgotten`.
    forgotten: BTreeSet<OriginId>,
}

impl LiveReceiver {
    /// The last write of an origin that is here or about to be.
    pub(super) fn arrived(&self, local: &Local, origin: OriginId) -> u64 {
        let arrived = self.incoming.get(&origin).map_or(0, |incoming| incoming.arrived);
        arrived.max(local.visible().get(origin))
    }

    /// Requests a peer's writes behind those that have arrived, unless they were requested and may be on their way.
    pub(super) fn want(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        let now = cx.local.mono();
        if !cx.local.is_joined() {
            return;
        }
        let ready = cx.peers.get(peer).filter(|state| state.is_ready());
        let Some(origins) = ready.and_then(Peer::origins) else { return };
        match self.wanted.entry(peer) {
            Entry::Vacant(place) => {
                place.insert(Wanted::new(now));
            }
            Entry::Occupied(mut wanted) if wanted.get().is_due(now) => wanted.get_mut().again(now),
            Entry::Occupied(_) => return,
        }
        let numbers = origins.map(|origin| self.arrived(cx.local, origin));
        cx.out.send(peer, Message::Want(Want { origins, numbers }));
    }

    /// Allows a request to a peer at once, because a session with it is done.
    pub(super) fn want_soon(&mut self, peer: MemberId) {
        self.wanted.remove(&peer);
    }

    /// Writes of a peer arrived. Returns those that are new, the next of their origin first.
    pub(super) fn receive(
        &mut self,
        cx: &mut Context<'_>,
        from: MemberId,
        rows: Vec<Row>,
    ) -> Vec<Row> {
        let Some(peer) = cx.peers.get(from) else { return Vec::new() };
        let Some(first) = rows.first().map(|row| row.dot) else { return Vec::new() };
        if !peer.writes(first.origin) {
            // Its progress, which announces its origins, comes in a moment; or the pair has ended.
            return Vec::new();
        }
        let is_full = cx.out.applying(from) > MAX_APPLYING;
        if !cx.local.is_joined() || is_full || self.late.contains(&first.origin) {
            self.dropped(from);
            return Vec::new();
        }
        let arrived = self.arrived(cx.local, first.origin);
        let wanted = self.wanted.get_mut(&from);
        if first.seq > arrived.saturating_add(1) {
            wanted.into_iter().for_each(Wanted::gap);
            cx.out.notice(Notice::Gap(from));
            self.want(cx, from);
            return Vec::new();
        }
        wanted.into_iter().for_each(|wanted| wanted.in_order(cx.local.mono()));
        rows.into_iter().filter(|row| row.dot.seq > arrived).collect()
    }

    /// Queues new writes of an origin, and applies those that need no fetch.
    pub(super) fn queue(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        from: MemberId,
        rows: Vec<Row>,
    ) {
        let Some(origin) = rows.first().map(|row| row.dot.origin) else { return };
        let incoming = self.incoming.entry(origin).or_default();
        for row in rows {
            if !incoming.queue.has_room_for(&row) {
                // The peer resends it on request.
                self.wanted.get_mut(&from).into_iter().for_each(Wanted::dropped);
                break;
            }
            incoming.arrived = row.dot.seq;
            let is_passed = self.passed.covers(&row);
            incoming.queue.push(from, row, is_passed);
        }
        self.proceed(cx, bodies, origin);
    }

    /// Applies what waits for nothing any more, and begins to fetch the bodies that others wait for.
    fn proceed(&mut self, cx: &mut Context<'_>, bodies: &mut BodyFetcher, origin: OriginId) {
        let Some(incoming) = self.incoming.get_mut(&origin) else { return };
        if let Some((from, rows)) = incoming.queue.take_ready() {
            apply(cx, from, origin, rows);
        }
        let mut sender = None;
        incoming.queue.fetch(|from, row| {
            sender = Some(from);
            bodies.begin(cx, from, row, Purpose::Live(origin))
        });
        if let Some(sender) = sender {
            bodies.request_queued(cx, sender);
        }
    }

    /// A row that was fetched is here: a queued one, or a later write of its key that replaced it at its source.
    pub(super) fn fetched(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        origin: OriginId,
        (id, fetched): (u64, Fetched),
    ) {
        let Fetched { peer, row, fetch, .. } = fetched;
        let incoming = self.incoming.get_mut(&origin);
        let waits = |incoming: &mut Incoming| incoming.queue.waits_for(id);
        let Some((wanted, incoming)) = incoming.and_then(|one| Some((waits(one)?, one))) else {
            return bodies.discard(cx.out, id);
        };
        if row.dot == wanted {
            incoming.queue.fetched(id, row, fetch);
        } else {
            self.passed.insert(&row);
            incoming.queue.pass(id, &row);
            let is_here = cx.local.visible().covers(row.dot) && fetch.is_none();
            if !is_here {
                // It must be there before the writes that it replaces are counted.
                apply(cx, peer, origin, vec![ToApply { row, how: How::Row, fetch }]);
            }
        }
        self.proceed(cx, bodies, origin);
    }

    /// A commit of live writes was made, or has failed.
    pub(super) fn applied(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        origin: OriginId,
        failed: bool,
    ) {
        if failed {
            // A later write may not be in the store after all.
            self.passed = Passed::default();
        }
        let have = cx.local.visible().get(origin);
        let is_over = self
            .incoming
            .get(&origin)
            .is_some_and(|incoming| incoming.queue.is_empty() && incoming.arrived <= have);
        if failed {
            self.forget(cx, bodies, origin);
        } else if is_over {
            self.incoming.remove(&origin);
        }
    }

    /// A live write of an origin was late.
    pub(super) fn was_late(&mut self, origin: OriginId) {
        self.late.insert(origin);
    }

    /// A session has ended: what was late before it may be here.
    pub(super) fn session_done(&mut self) {
        self.late.clear();
    }

    /// Drops what arrived of an origin and is not applied: it is requested again, or a session
    /// brings it.
    pub(super) fn forget(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        origin: OriginId,
    ) {
        let Some(incoming) = self.incoming.remove(&origin) else { return };
        self.forgotten.insert(origin);
        for fetch in incoming.queue.fetches() {
            bodies.discard(cx.out, fetch);
        }
    }

    /// Takes the origins whose arrived writes were dropped.
    pub(super) fn take_forgotten(&mut self) -> BTreeSet<OriginId> {
        std::mem::take(&mut self.forgotten)
    }

    /// Forgets everything, because a rollback of the store lost the writes on their way to it.
    pub(super) fn rolled_back(&mut self) {
        self.forgotten.extend(std::mem::take(&mut self.incoming).into_keys());
        self.passed = Passed::default();
    }

    /// Writes of a peer were dropped here.
    fn dropped(&mut self, peer: MemberId) {
        self.wanted.get_mut(&peer).into_iter().for_each(Wanted::dropped);
    }

    /// Forgets the requests on a link that is down. Writes that arrived are kept.
    pub(super) fn disconnect(&mut self, peer: MemberId) {
        self.wanted.remove(&peer);
    }

    /// About how many bytes all queues take.
    pub(super) fn memory_bytes(&self) -> usize {
        let queues: usize = self.incoming.values().map(|incoming| incoming.queue.bytes()).sum();
        queues + self.passed.memory_bytes()
    }
}

/// Requests a commit of an origin's next writes.
fn apply(cx: &mut Context<'_>, peer: MemberId, origin: OriginId, rows: Vec<ToApply>) {
    let bytes = rows.iter().map(|to_apply| to_apply.row.weight()).sum();
    cx.out.apply(Pending::Live { peer, origin, bytes }, rows);
}
