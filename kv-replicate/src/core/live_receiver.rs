//! Receives the new writes of peers, in the order of their sequence numbers.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use kv_core::OriginId;

use super::{
    actions::{Context, MAX_APPLYING, Pending},
    body_fetcher::{BodyFetcher, Purpose},
    local::Local,
    peers::Peer,
};
use crate::{
    Content, MemberId, Row,
    notice::Notice,
    wire::{Message, Want},
    work::{How, ToApply},
};

/// The shortest time between two requests to a peer to resend.
const WANT_EVERY: Duration = Duration::from_millis(200);

/// How many writes of an origin may wait behind one whose body is being fetched.
const MAX_QUEUE: usize = 256;
/// The bytes of writes of an origin that may wait behind one whose body is being fetched.
const MAX_QUEUE_BYTES: usize = 1 << 20;

/// The live writes of one origin that are not applied yet.
#[derive(Debug, Default)]
struct Incoming {
    /// The last sequence number that arrived in order: all up to it are here, with the store, or queued.
    arrived: u64,
    /// The writes that wait, with the peer that sent them.
    queue: VecDeque<(MemberId, Row)>,
    /// The fetch of the large body of the first of them; none if nothing is queued.
    fetch: Option<u64>,
}

impl Incoming {
    /// About how many bytes the queue takes.
    fn memory_bytes(&self) -> usize {
        self.queue.iter().map(|(_, row)| row.weight()).sum()
    }

    /// Takes the writes from the front that need no fetch, with the last one's sender.
    fn take_ready(&mut self) -> Option<(MemberId, Vec<ToApply>)> {
        let is_ready = |(_, row): &(MemberId, Row)| !matches!(row.content, Content::Large { .. });
        let count = self.queue.iter().take_while(|queued| is_ready(queued)).count();
        let sender = self.queue.get(count.checked_sub(1)?)?.0;
        let to_apply = |(_, row)| ToApply { row, how: How::Next, fetch: None };
        Some((sender, self.queue.drain(..count).map(to_apply).collect()))
    }
}

/// The live streams of all origins.
#[derive(Debug, Default)]
pub(super) struct LiveReceiver {
    /// The streams by origin. An origin of which nothing has arrived has no entry.
    incoming: BTreeMap<OriginId, Incoming>,
    /// The time of the last request for writes to each peer.
    wanted: BTreeMap<MemberId, Duration>,
    /// The origins of which a write was late. A session must show whether it was deleted: until one has ended, no live
    /// write of them is taken.
    late: BTreeSet<OriginId>,
}

impl LiveReceiver {
    /// The last write of an origin that is here or about to be.
    pub(super) fn arrived(&self, local: &Local, origin: OriginId) -> u64 {
        let arrived = self.incoming.get(&origin).map_or(0, |incoming| incoming.arrived);
        arrived.max(local.visible().get(origin))
    }

    /// Requests a peer's writes behind those that have arrived, unless they were requested a moment ago.
    pub(super) fn want(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        let now = cx.local.mono();
        if !cx.local.is_joined() {
            return;
        }
        let ready = cx.peers.get(peer).filter(|state| state.is_ready());
        let Some(origins) = ready.and_then(Peer::origins) else { return };
        if self.wanted.get(&peer).is_some_and(|at| now < *at + WANT_EVERY) {
            return;
        }
        self.wanted.insert(peer, now);
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
            return Vec::new();
        }
        let arrived = self.arrived(cx.local, first.origin);
        if first.seq > arrived.saturating_add(1) {
            cx.out.notice(Notice::Gap(from));
            self.want(cx, from);
            return Vec::new();
        }
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
        let mut bytes = incoming.memory_bytes();
        for row in rows {
            bytes += row.weight();
            let is_full = incoming.queue.len() >= MAX_QUEUE || bytes > MAX_QUEUE_BYTES;
            if incoming.fetch.is_some() && is_full {
                // The peer resends it on request.
                break;
            }
            incoming.arrived = row.dot.seq;
            incoming.queue.push_back((from, row));
        }
        self.drain(cx, bodies, origin);
    }

    /// Applies what needs no fetch, and begins to fetch the body that comes then.
    fn drain(&mut self, cx: &mut Context<'_>, bodies: &mut BodyFetcher, origin: OriginId) {
        let Some(incoming) = self.incoming.get_mut(&origin) else { return };
        if incoming.fetch.is_some() {
            return;
        }
        if let Some((from, rows)) = incoming.take_ready() {
            apply(cx, from, origin, rows);
        }
        if let Some((from, row)) = incoming.queue.front().cloned() {
            incoming.fetch = Some(bodies.begin(cx, from, row, Purpose::Live(origin)));
        }
    }

    /// Continues once the body of the first queued write is here.
    pub(super) fn fetched(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        origin: OriginId,
        fetch: u64,
    ) {
        let Some(incoming) = self.incoming.get_mut(&origin) else { return };
        if incoming.fetch != Some(fetch) {
            return;
        }
        incoming.fetch = None;
        if let Some((from, row)) = incoming.queue.pop_front() {
            let rows = vec![ToApply { row, how: How::Next, fetch: Some(fetch) }];
            apply(cx, from, origin, rows);
        }
        self.drain(cx, bodies, origin);
    }

    /// A commit of live writes was made, or has failed.
    pub(super) fn applied(
        &mut self,
        cx: &mut Context<'_>,
        bodies: &mut BodyFetcher,
        origin: OriginId,
        failed: bool,
    ) {
        let have = cx.local.visible().get(origin);
        let is_over = self.incoming.get(&origin).is_some_and(|incoming| {
            incoming.queue.is_empty() && incoming.fetch.is_none() && incoming.arrived <= have
        });
        if failed || is_over {
            self.forget(cx, bodies, origin);
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
        if let Some(fetch) = self.incoming.remove(&origin).and_then(|incoming| incoming.fetch) {
            bodies.discard(cx.out, fetch);
        }
    }

    /// Forgets everything, because a rollback of the store lost the writes on their way to it.
    pub(super) fn rolled_back(&mut self) {
        self.incoming.clear();
    }

    /// Forgets the requests on a link that is down. Writes that arrived are kept.
    pub(super) fn disconnect(&mut self, peer: MemberId) {
        self.wanted.remove(&peer);
    }

    /// About how many bytes all queues take.
    pub(super) fn memory_bytes(&self) -> usize {
        self.incoming.values().map(Incoming::memory_bytes).sum()
    }
}

/// Requests a commit of an origin's next writes.
fn apply(cx: &mut Context<'_>, peer: MemberId, origin: OriginId, rows: Vec<ToApply>) {
    let bytes = rows.iter().map(|to_apply| to_apply.row.weight()).sum();
    cx.out.apply(Pending::Live { peer, origin, bytes }, rows);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Work,
        core::testing::{Fixture, PEER, THIRD, large_row_of, origins, row_of},
    };

    fn receive(
        fixture: &mut Fixture,
        receiver: &mut LiveReceiver,
        bodies: &mut BodyFetcher,
        rows: Vec<Row>,
    ) {
        let new = receiver.receive(&mut fixture.context(), PEER, rows);
        receiver.queue(&mut fixture.context(), bodies, PEER, new);
    }

    /// The sequence numbers of the writes in each commit that was requested.
    fn commits(fixture: &mut Fixture) -> Vec<Vec<u64>> {
        std::iter::from_fn(|| fixture.poll_work())
            .filter_map(|work| match work {
                Work::Apply { rows, .. } => Some(rows.iter().map(|row| row.row.dot.seq).collect()),
                _ => None,
            })
            .collect()
    }

    fn connected() -> (Fixture, LiveReceiver, BodyFetcher) {
        let mut fixture = Fixture::new();
        fixture.connect(PEER);
        (fixture, LiveReceiver::default(), BodyFetcher::default())
    }

    #[test]
    fn writes_are_applied_in_order_and_once() {
        let (mut fixture, mut receiver, mut bodies) = connected();
        for (seqs, applied) in [(1..3, vec![vec![1, 2]]), (1..4, vec![vec![3]]), (2..4, vec![])] {
            let rows = seqs.map(|seq| row_of(PEER, seq)).collect();
            receive(&mut fixture, &mut receiver, &mut bodies, rows);
            assert_eq!(commits(&mut fixture), applied);
        }
    }

    #[test]
    fn after_a_gap_the_missing_writes_are_requested() {
        let (mut fixture, mut receiver, mut bodies) = connected();
        receive(&mut fixture, &mut receiver, &mut bodies, vec![row_of(PEER, 3)]);
        assert_eq!(commits(&mut fixture), Vec::<Vec<u64>>::new());
        let want = Want { origins: origins(PEER), numbers: [0, 0] };
        assert_eq!(fixture.sent(PEER), [Message::Want(want)]);
        receive(&mut fixture, &mut receiver, &mut bodies, vec![row_of(PEER, 4)]);
        assert_eq!(fixture.sent(PEER), [], "it was asked a moment ago");
    }

    #[test]
    fn writes_behind_a_large_body_wait_for_it() {
        let (mut fixture, mut receiver, mut bodies) = connected();
        let rows = vec![row_of(PEER, 1), large_row_of(PEER, 2), row_of(PEER, 3)];
        receive(&mut fixture, &mut receiver, &mut bodies, rows);
        assert_eq!(commits(&mut fixture), [[1]]);
        let origin = origins(PEER)[0];
        let fetch = receiver.incoming[&origin].fetch.unwrap();
        receiver.fetched(&mut fixture.context(), &mut bodies, origin, fetch);
        assert_eq!(commits(&mut fixture), [[2], [3]]);
    }

    #[test]
    fn writes_of_origins_that_the_peer_has_not_announced_are_ignored() {
        let (mut fixture, mut receiver, mut bodies) = connected();
        receive(&mut fixture, &mut receiver, &mut bodies, vec![row_of(THIRD, 1)]);
        assert_eq!(commits(&mut fixture), Vec::<Vec<u64>>::new());
    }
}
