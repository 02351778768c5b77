//! The outbox of the machines: everything that a core wants done leaves through [`Actions`].

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use kv_core::{DamagedKey, Dot, Hlc, OriginId, VersionVector};

use super::{local::Local, peers::Peers, weight};
use crate::{
    MemberId,
    inspect::Place,
    notice::Notice,
    wire::{Message, PageHead},
    work::{MAX_BATCH_BYTES, Settled, ToApply, Work},
};

/// The most requests and responses that wait to be sent to a peer. More are dropped, as a network might
/// drop them; the machine that needs one repeats it.
const MAX_CONTROL: usize = 64;

/// How many bytes of a peer's rows may wait for the store: two batches of a session, and live ones.
pub(super) const MAX_APPLYING: usize = 2 * MAX_BATCH_BYTES + (2 << 20);

/// The most notices that wait for the owner, except for vital ones.
const MAX_NOTICES: usize = 1024;

/// The most portions of salvaged rows that the owner has not answered for, so that these take some 120 MiB at most.
const MAX_SALVAGES: usize = 2;

/// The surroundings of a machine: it reads the location and its peers, and puts out actions.
pub(super) struct Context<'a> {
    /// This location. Only the router changes it.
    pub(super) local: &'a Local,
    /// The peers that a link is up to. Only the router changes them.
    pub(super) peers: &'a Peers,
    /// The outbox that all machines share.
    pub(super) out: &'a mut Actions,
}

/// The purpose of a piece of [`Work`]: which machine its result is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pending {
    /// A commit of live rows of an origin, and how many bytes they take.
    Live { peer: MemberId, origin: OriginId, bytes: usize },
    /// A commit of rows of a session, and how many bytes they take; or of one row that replaced a row of the session,
    /// with this dot.
    Page { peer: MemberId, session: u64, batch: u32, bytes: usize, successor: Option<Dot> },
    /// The adoption of the vectors at the end of a session.
    Adopt { peer: MemberId, session: u64 },
    /// A read of rows for a peer.
    Serve { peer: MemberId, session: u64, batch: u32 },
    /// A commit behind all work that was requested before the search for uncounted writes.
    Search,
    /// The commit that begins or ends a rebuild, or drops rows for it.
    Rebuild,
    /// A commit that counts an origin from its opening row on again.
    Disown { origin: OriginId },
    /// A read of rows that a rebuild is about to drop, for the owner.
    Salvage,
    /// A commit of rows that were found by name: of one key of a round, or of all whose bodies came with them.
    Found { round: u64, key: Option<usize> },
    /// A read of a piece of a body for a peer.
    Body { peer: MemberId, piece: PieceName },
    /// A read of the member row of a removed peer, for the notice of its removal.
    Farewell { peer: MemberId },
    /// A commit of this location's member row, from a peer's notice of its removal.
    Removal { peer: MemberId },
}

/// A piece of a body that a peer requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PieceName {
    /// The peer's fetch.
    pub(super) fetch: u64,
    /// The write that the body belongs to.
    pub(super) dot: Dot,
    /// Where it begins in the body, in bytes.
    pub(super) offset: u64,
}

/// An action on a whole link or on the whole core. The router carries it out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Close the link to a peer that violated the protocol.
    Close { peer: MemberId, reason: &'static str },
    /// Rebuild the store: the peer has dropped these tombstones, some of which this store lacks.
    Rebuild { peer: MemberId, collected: VersionVector },
}

/// The part of a peer's state that is kept when its link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Nothing: the link is gone, and results for the peer are dropped.
    Nothing,
    /// The account of the work that the store still does for the peer, because a new link follows.
    StoreWork,
}

/// Messages to a connected peer, and the account of its rows.
#[derive(Debug, Default)]
struct Lane {
    /// Requests and responses that wait to be sent, the oldest first.
    control: VecDeque<Message>,
    /// Bytes of the peer's rows that the store has not applied yet.
    applying: usize,
}

/// The outbox. Numbers every action, so that results find their way back.
#[derive(Debug)]
pub(super) struct Actions {
    /// The random number of this start of the process.
    incarnation: u64,
    /// The last number that was given out.
    last_id: u64,
    /// How often the store was rolled back.
    epoch: u64,
    /// Work for the store, in the order in which it was requested.
    work: VecDeque<Work>,
    /// The purpose of each piece of work whose result has not arrived, by the number of the work.
    pending: BTreeMap<u64, Pending>,
    /// The peers that messages are kept for.
    lanes: BTreeMap<MemberId, Lane>,
    /// The peers that there may be messages for, here or at a machine.
    ready: BTreeSet<MemberId>,
    /// Notices for the owner, the oldest first.
    notices: VecDeque<Notice>,
    /// Effects for the router, which takes them when the machine has returned.
    effects: VecDeque<Effect>,
}

impl Actions {
    /// Creates an empty outbox. `incarnation` makes its unique numbers differ from those of other starts.
    pub(super) fn new(incarnation: u64) -> Actions {
        Actions {
            incarnation,
            last_id: 0,
            epoch: 0,
            work: VecDeque::new(),
            pending: BTreeMap::new(),
            lanes: BTreeMap::new(),
            ready: BTreeSet::new(),
            notices: VecDeque::new(),
            effects: VecDeque::new(),
        }
    }

    /// A number that this core has not used before.
    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// A number that no other start of this location uses either.
    pub(super) fn unique_id(&mut self) -> u64 {
        self.incarnation ^ self.next_id().rotate_left(40)
    }

    // Links.

    /// A link to a peer is up: from here on, [`Actions::send`] keeps messages to it.
    pub(super) fn connect(&mut self, peer: MemberId) {
        self.lanes.entry(peer).or_default();
    }

    /// The link to a peer is down: its messages are dropped, and the account of its rows unless it is kept.
    pub(super) fn disconnect(&mut self, peer: MemberId, keep: Keep) {
        match keep {
            Keep::Nothing => drop(self.lanes.remove(&peer)),
            Keep::StoreWork => self.lanes.entry(peer).or_default().control.clear(),
        }
    }

    /// Puts a request or response in line. Drops it if too many wait, or without a link.
    pub(super) fn send(&mut self, peer: MemberId, message: Message) {
        if let Some(lane) = self.lanes.get_mut(&peer)
            && lane.control.len() < MAX_CONTROL
        {
            lane.control.push_back(message);
            self.ready.insert(peer);
        }
    }

    /// There may be messages for a peer from now on.
    pub(super) fn wake(&mut self, peer: MemberId) {
        self.ready.insert(peer);
    }

    /// Takes the next peer that there may be messages for.
    pub(super) fn poll_ready(&mut self) -> Option<MemberId> {
        self.ready.pop_first()
    }

    /// Whether [`Actions::send`] would keep a message.
    pub(super) fn can_send(&self, peer: MemberId) -> bool {
        self.lanes.get(&peer).is_some_and(|lane| lane.control.len() < MAX_CONTROL)
    }

    /// Whether many requests can be sent and others still find room.
    pub(super) fn has_room_for_requests(&self, peer: MemberId) -> bool {
        self.lanes.get(&peer).is_none_or(|lane| lane.control.len() < MAX_CONTROL / 2)
    }

    /// Takes the next request or response to a peer.
    pub(super) fn next_message(&mut self, peer: MemberId) -> Option<Message> {
        self.lanes.get_mut(&peer)?.control.pop_front()
    }

    // Work for the store.

    /// Requests a commit of rows that are not of a session.
    pub(super) fn apply(&mut self, purpose: Pending, rows: Vec<ToApply>) {
        self.apply_from(purpose, rows, None);
    }

    /// Requests a commit of rows. Those of a session were read from a snapshot that counts `basis`.
    pub(super) fn apply_from(
        &mut self,
        purpose: Pending,
        rows: Vec<ToApply>,
        basis: Option<Arc<VersionVector>>,
    ) {
        if let Pending::Live { peer, bytes, .. } | Pending::Page { peer, bytes, .. } = purpose
            && let Some(lane) = self.lanes.get_mut(&peer)
        {
            lane.applying += bytes;
        }
        let (id, epoch) = (self.next_id(), self.epoch);
        self.request(id, purpose, Work::Apply { id, epoch, rows, basis });
    }

    /// Requests a commit that drops rows which the source of a rebuild counts and does not have, and that adopts its
    /// collected vector, with the time that no tombstone of it is later than.
    pub(super) fn drop_deleted(
        &mut self,
        rows: Vec<(Place, Dot)>,
        collected: VersionVector,
        (floor, resolved_by_most): (Hlc, Hlc),
    ) {
        if rows.is_empty() {
            return;
        }
        let ((id, epoch), uncount) = (self.next_commit(), None);
        let work = Work::Drop { id, epoch, rows, collected, floor, resolved_by_most, uncount };
        self.request(id, Pending::Rebuild, work);
    }

    /// Requests a commit that drops rows which the source of a rebuild neither counts nor has, and that counts no more
    /// than it. The owner has them.
    pub(super) fn drop_unknown(&mut self, rows: Vec<(Place, Dot)>, source: Arc<VersionVector>) {
        let ((id, epoch), collected) = (self.next_commit(), VersionVector::default());
        let (floor, resolved_by_most, uncount) = (Hlc::ZERO, Hlc::ZERO, Some(source));
        let work = Work::Drop { id, epoch, rows, collected, floor, resolved_by_most, uncount };
        self.request(id, Pending::Rebuild, work);
    }

    /// Requests to read rows for the owner which the source of a rebuild neither counts nor has. While it has not
    /// answered for many, the rows are left for the next comparison.
    pub(super) fn salvage(&mut self, rows: Vec<(Place, Dot)>, vector: Arc<VersionVector>) {
        let is_salvage = |pending: &&Pending| **pending == Pending::Salvage;
        let under_way = self.pending.values().filter(is_salvage).count();
        if !rows.is_empty() && under_way < MAX_SALVAGES {
            let id = self.next_id();
            self.request(id, Pending::Salvage, Work::Salvage { id, rows, vector });
        }
    }

    /// The number of the next commit, and the number of rollbacks that it may follow.
    pub(super) fn next_commit(&mut self) -> (u64, u64) {
        (self.next_id(), self.epoch)
    }

    /// Requests to forget keys for which every member has answered, behind all work that was requested before.
    pub(super) fn settle(&mut self, keys: Vec<Settled>) {
        self.work.push_back(Work::Settle { epoch: self.epoch, keys });
    }

    /// Requests a commit that adopts the vectors of a source, and the keys that it could not read, behind all work
    /// that was requested before.
    pub(super) fn adopt(
        &mut self,
        purpose: Pending,
        (head, resolved_by_most): (PageHead, Hlc),
        damaged: Vec<DamagedKey>,
    ) {
        let PageHead { vector, collected, floor, .. } = head;
        let (id, epoch) = (self.next_id(), self.epoch);
        let work = Work::Adopt { id, epoch, vector, collected, floor, resolved_by_most, damaged };
        self.request(id, purpose, work);
    }

    /// Requests work whose result comes back under this number, for this purpose.
    pub(super) fn request(&mut self, id: u64, purpose: Pending, work: Work) {
        self.pending.insert(id, purpose);
        self.work.push_back(work);
    }

    /// Requests work whose result, if it has one, its machine recognizes by itself.
    pub(super) fn work(&mut self, work: Work) {
        self.work.push_back(work);
    }

    /// The purpose of finished work; none if it was not requested. Each is returned once.
    pub(super) fn finished(&mut self, id: u64) -> Option<Pending> {
        let purpose = self.pending.remove(&id)?;
        if let Pending::Live { peer, bytes, .. } | Pending::Page { peer, bytes, .. } = purpose
            && let Some(lane) = self.lanes.get_mut(&peer)
        {
            lane.applying = lane.applying.saturating_sub(bytes);
        }
        Some(purpose)
    }

    /// Whether work for this purpose was requested and has no result yet.
    pub(super) fn is_pending(&self, purpose: Pending) -> bool {
        self.pending.values().any(|pending| *pending == purpose)
    }

    /// Bytes of a peer's rows that the store has not applied yet.
    pub(super) fn applying(&self, peer: MemberId) -> usize {
        self.lanes.get(&peer).map_or(0, |lane| lane.applying)
    }

    /// The store was rolled back: from here on, work names the new epoch.
    pub(super) fn begin_epoch(&mut self) {
        self.epoch += 1;
    }

    /// The store has dropped all rows that were on their way to it.
    pub(super) fn forget_rows(&mut self) {
        self.lanes.values_mut().for_each(|lane| lane.applying = 0);
    }

    // For the owner and the router.

    /// Reports something to the owner. Drops it if too much waits, unless the owner must act on it.
    pub(super) fn notice(&mut self, notice: Notice) {
        let is_vital =
            matches!(notice, Notice::Halted(_) | Notice::Close { .. } | Notice::Salvage { .. });
        if self.notices.len() < MAX_NOTICES || is_vital {
            self.notices.push_back(notice);
        }
    }

    /// Closes the link to a peer that violated this rule, once the machine has returned.
    pub(super) fn close(&mut self, peer: MemberId, reason: &'static str) {
        self.effects.push_back(Effect::Close { peer, reason });
    }

    /// Rebuilds the store, once the machine has returned.
    pub(super) fn rebuild(&mut self, peer: MemberId, collected: VersionVector) {
        self.effects.push_back(Effect::Rebuild { peer, collected });
    }

    /// Drops everything that has not left yet, except for notices.
    pub(super) fn clear(&mut self) {
        self.work.clear();
        self.effects.clear();
        self.lanes.clear();
        self.ready.clear();
    }

    /// Takes the next effect, for the router.
    pub(super) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Takes the next work, for the store.
    pub(super) fn poll_work(&mut self) -> Option<Work> {
        self.work.pop_front()
    }

    /// Takes the next notice, for the owner.
    pub(super) fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// About how many bytes wait here, and how many of the peers' rows wait for the store.
    pub(super) fn memory_bytes(&self) -> usize {
        let lane = |lane: &Lane| {
            lane.applying + lane.control.iter().map(weight::of_message).sum::<usize>()
        };
        let lanes: usize = self.lanes.values().map(lane).sum();
        let notices: usize = self.notices.iter().map(weight::of_notice).sum();
        lanes + notices + (self.pending.len() + self.work.len()) * 256
    }
}
