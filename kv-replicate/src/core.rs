//! The core: what a location does with what it hears.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use kv_core::{Dot, Hlc, OriginId, VersionVector};

use crate::{
    MemberId,
    backlog::Backlog,
    link::{Link, Session},
    wire::{Incarnations, Message, decode},
    work::{Channel, Event, Notice, Now, StoreState, Transmit, Work},
};

mod fetch;
mod hello;
mod lag;
mod live;
pub(crate) mod members;
mod pull;
mod send;
mod serve;
mod stable;
pub(crate) mod status;
mod verify;

use fetch::Fetch;
use lag::{Lag, Look};
use live::Incoming;
use members::{Digest, Joining};
use stable::Member;

/// Who a core is, and its bounds.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which cluster: links to others are refused.
    pub cluster: [u8; 16],
    /// Which member of it.
    pub member: MemberId,
    /// The origins that the store writes under.
    pub origins: [OriginId; 2],
    /// A random number, another one at each start, and not 0.
    pub incarnation: u64,
    /// How many bytes of new writes of each origin are kept in memory for peers. 8 MiB serves.
    pub backlog_bytes: usize,
    /// How many rows of a catch-up session are read at a time, where [`BATCH_BYTES`] does not end a burst
    /// before. 4,096 serves: some ten milliseconds of reading.
    ///
    /// [`BATCH_BYTES`]: crate::storage::BATCH_BYTES
    pub batch_rows: usize,
    /// How far ahead a peer's clock may be before its writes wait, in milliseconds. 500 serves.
    pub max_ahead_ms: u64,
}

/// Why a store that was restored from an old image replicates no more.
const ROLLED_BACK: &str = "a peer has writes of this store that it does not have: it went back in time, and must be emptied";

/// Why a store whose double is at work replicates no more.
const NOT_MADE: &str = "a peer has writes under this store's identity that this store did not make: it is a copy, or went back in time, and must be emptied";

/// What the answer to a [`Work`] is for.
#[derive(Debug)]
enum Pending {
    /// Live rows of an origin, of so many bytes.
    Live { peer: MemberId, origin: OriginId, bytes: usize },
    /// Rows of a session.
    Page { peer: MemberId, session: u64, batch: u32, bytes: usize },
    /// The end of a session.
    Adopt { peer: MemberId, session: u64 },
    /// Rows for a peer.
    Serve { peer: MemberId, session: u64, batch: u32 },
    /// A commit after all that was asked before, since the members are others.
    Barrier { digest: u64 },
    /// The end of the origins of those who left.
    Close,
    /// A piece of a body for a peer.
    Body { peer: MemberId, fetch: u64, offset: u64 },
}

/// One location's side of replication. See the crate's front page.
#[derive(Debug)]
pub struct Core {
    config: Config,
    now: Now,
    store: StoreState,
    backlogs: [Backlog; 2],
    links: BTreeMap<MemberId, Link>,
    members: BTreeMap<MemberId, Member>,
    digest: Digest,
    joining: Joining,
    /// Up to where this location was complete when it last had all of those who left.
    reached: Hlc,
    incoming: BTreeMap<OriginId, Incoming>,
    lag: BTreeMap<OriginId, Lag>,
    look: Look,
    /// Sessions whose links are down.
    suspended: BTreeMap<MemberId, Session>,
    fetches: BTreeMap<u64, Fetch>,
    verifications: verify::Verifications,
    pending: BTreeMap<u64, Pending>,
    work: VecDeque<Work>,
    notices: VecDeque<Notice>,
    last_id: u64,
    /// How often the store went back.
    epoch: u64,
    halted: Option<&'static str>,
}

impl Core {
    /// A core for a store that was just opened and is in this state, all of it durable.
    #[must_use]
    pub fn new(config: Config, now: Now, store: StoreState) -> Core {
        let backlogs = config
            .origins
            .map(|origin| Backlog::new(store.durable.get(origin), config.backlog_bytes));
        let mut core = Core {
            now,
            store,
            backlogs,
            links: BTreeMap::new(),
            members: BTreeMap::new(),
            digest: Digest::default(),
            joining: Joining::default(),
            reached: Hlc::ZERO,
            incoming: BTreeMap::new(),
            lag: BTreeMap::new(),
            look: Look::default(),
            suspended: BTreeMap::new(),
            fetches: BTreeMap::new(),
            verifications: verify::Verifications::default(),
            pending: BTreeMap::new(),
            work: VecDeque::new(),
            notices: VecDeque::new(),
            last_id: 0,
            epoch: 0,
            halted: None,
            config,
        };
        core.follow_members();
        core.note_rows();
        core
    }

    /// Takes in what happened. Then ask the `poll_` calls until they have no more.
    pub fn handle_event(&mut self, now: Now, event: Event) {
        self.now = now;
        if self.halted.is_some() {
            return;
        }
        match event {
            Event::Connected(peer) => {
                let before = self.links.get(&peer).map(|link| link.renewed(0)).unwrap_or_default();
                let link = Link { send_hello: true, ..before };
                self.disconnect(peer);
                self.links.insert(peer, link);
            }
            Event::Disconnected(peer) => self.disconnect(peer),
            Event::Received { from, bytes } => match decode(&bytes) {
                Ok((incarnations, message)) => self.receive(from, incarnations, message),
                Err(error) => self.close(from, error.0),
            },
            Event::Wrote(rows) => self.wrote(&rows),
            Event::Synced(state) => {
                self.set_store(state);
                self.send_members();
            }
            Event::RolledBack(state) => {
                self.epoch += 1;
                self.set_store(state);
                self.start_over();
            }
            Event::Applied { id, results, visible } => {
                self.store.visible = visible;
                self.applied(id, results);
            }
            Event::Read { id, result } => self.read(id, result),
            Event::Body { id, bytes } => self.body_read(id, bytes),
            Event::Verify(peer) => self.verify(peer),
            Event::Inspected { id, answer } => self.inspected(id, answer),
        }
        self.go_on();
    }

    /// Does what was to be done at this time.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now;
        if self.halted.is_none() {
            self.go_on();
        }
    }

    /// What follows from what changed, and from the time.
    fn go_on(&mut self) {
        self.unpark();
        self.look();
        self.watch_sessions();
        self.watch_fetches();
        self.watch_serving();
        self.watch_verify();
        self.greet();
    }

    /// When [`Core::handle_timeout`] is to be called next; none if only an event can change
    /// anything.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        if self.halted.is_some() {
            return None;
        }
        let links = self.links.values().filter_map(|link| self.link_timeout(link)).min();
        let fetches = self.fetches.values().map(Fetch::timeout).min();
        let verify = self.verifications.timeout();
        [self.look_timeout(), links, fetches, verify].into_iter().flatten().min()
    }

    /// What the store is to do next.
    pub fn poll_work(&mut self) -> Option<Work> {
        self.work.pop_front()
    }

    /// What the owner should know.
    pub fn poll_event(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// The next message to a peer. To be asked only while there is room on its way to the peer:
    /// what waits is kept here, in bounds, or made when it is asked for.
    pub fn poll_transmit(&mut self, peer: MemberId) -> Option<Transmit> {
        self.next_message(peer)
    }

    /// As [`Core::poll_transmit`], for one of the channels: to be asked only while that one has room, so
    /// that one which is full holds up none of the others.
    pub fn poll_transmit_on(&mut self, peer: MemberId, channel: Channel) -> Option<Transmit> {
        self.next_message_on(peer, channel)
    }

    /// About how many bytes the core holds, without what its owner has taken out.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let backlogs: usize = self.backlogs.iter().map(Backlog::bytes).sum();
        let links: usize = self.links.values().map(Link::weight).sum();
        let incoming: usize = self.incoming.values().map(Incoming::weight).sum();
        let suspended = self.suspended.len() * Session::MOST_BYTES;
        let fetches: usize = self.fetches.values().map(Fetch::weight).sum();
        let asked = (self.pending.len() + self.work.len() + self.notices.len()) * 256;
        backlogs + links + incoming + self.verifications.weight() + suspended + fetches + asked
    }

    /// Why this store replicates no more, if so.
    #[must_use]
    pub fn halted(&self) -> Option<&'static str> {
        self.halted
    }

    /// How many members, this one included, are known to hold a write so that it survives a crash.
    #[must_use]
    pub fn durable_copies(&self, dot: Dot) -> usize {
        usize::from(self.store.durable.covers(dot))
            + self.links.values().filter(|link| link.progress.durable.covers(dot)).count()
    }

    /// How many catch-up sessions are being received, and how many sent.
    #[must_use]
    pub fn sessions(&self) -> (usize, usize) {
        let received = self.links.values().filter(|link| link.session.is_some()).count();
        let sent = self.links.values().filter(|link| link.serving.is_some()).count();
        (received, sent)
    }

    fn receive(&mut self, from: MemberId, incarnations: Incarnations, message: Message) {
        let incarnation = self.config.incarnation;
        if !self.links.contains_key(&from) {
            return;
        }
        if self.has_left(from) {
            // Two that removed each other would tell each other so for ever.
            if !matches!(message, Message::Removed) {
                self.send_removed_to(from, incarnations);
            }
            return;
        }
        match message {
            Message::Hello(hello) => return self.hello(from, incarnations, hello),
            Message::Removed if incarnations.to == incarnation => return self.removed(from),
            _ => {}
        }
        let Some(link) = self.links.get_mut(&from) else { return };
        if link.incarnation != incarnations.from || incarnations.to != incarnation {
            // One of the two was started anew since.
            link.send_hello = true;
            return;
        }
        if link.hello.is_none() {
            return;
        }
        link.is_known = true;
        match message {
            Message::Hello(_) | Message::Removed => {}
            Message::Progress(progress) => self.progress(from, progress),
            Message::Want(numbers) => self.want(from, numbers),
            Message::Behind => self.behind(from),
            Message::Live(live) => self.live(from, live.rows),
            Message::Pull(pull) => self.pull(from, pull),
            Message::Page(page) => self.page(from, page),
            Message::Refusal { session, reason } => self.refused(from, session, reason),
            Message::GetBody(get) => self.get_body(from, get),
            Message::Piece { fetch, offset, bytes } => self.piece(from, fetch, offset, bytes),
            Message::NoBody { fetch } => self.no_body(from, fetch),
            Message::Done { session } => self.done(from, session),
            Message::Ask { verify, step, ask } if self.is_served(from) => {
                self.asked(from, verify, step, ask);
            }
            Message::Ask { .. } => {}
            Message::Answer { verify, step, answer } => self.answered(from, verify, step, answer),
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// A number that no other start of this location uses.
    fn unique_id(&mut self) -> u64 {
        self.config.incarnation ^ self.next_id().rotate_left(40)
    }

    fn notice(&mut self, notice: Notice) {
        let is_vital = matches!(notice, Notice::Halted(_) | Notice::Close { .. });
        if self.notices.len() < 1024 || is_vital {
            self.notices.push_back(notice);
        }
    }

    fn close(&mut self, peer: MemberId, reason: &'static str) {
        self.disconnect(peer);
        self.notice(Notice::Close { peer, reason });
    }

    fn disconnect(&mut self, peer: MemberId) {
        self.suspend_session(peer);
        self.leave_verify(peer);
        self.links.remove(&peer);
        let lost: Vec<_> = self.fetches_from(peer);
        lost.into_iter().for_each(|fetch| self.lose_fetch(fetch));
    }

    fn halt(&mut self, why: &'static str) {
        self.halted = Some(why);
        self.work.clear();
        let peers: Vec<_> = self.links.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.leave_verify(peer));
        self.links.clear();
        self.notice(Notice::Halted(why));
    }

    fn set_store(&mut self, state: StoreState) {
        if state == self.store {
            return;
        }
        let was_joined = self.is_joined();
        let before = std::mem::replace(&mut self.store, state);
        if before.members != self.store.members {
            self.follow_members();
        }
        if !was_joined && self.is_joined() {
            self.joined();
        }
        self.mark_news();
        self.follow_closed_timestamps();
    }

    /// The store forgot what was not durable: nothing that was under way counts.
    fn start_over(&mut self) {
        let peers: Vec<_> = self.links.keys().copied().collect();
        for peer in peers {
            self.end_session(peer);
            if let Some(link) = self.links.get_mut(&peer) {
                link.applying = 0;
            }
        }
        let fetches: Vec<_> = self.fetches.keys().copied().collect();
        fetches.into_iter().for_each(|fetch| self.lose_fetch(fetch));
        self.suspended.clear();
        self.incoming.clear();
        self.reopen_members();
    }

    fn mark_news(&mut self) {
        self.links.values_mut().for_each(|link| link.is_news = true);
    }

    fn applied(&mut self, id: u64, results: Option<Vec<kv_core::commit::Applied>>) {
        use kv_core::commit::Applied;
        let Some(pending) = self.pending.remove(&id) else { return };
        let failed = results.is_none();
        if let Pending::Barrier { digest } = pending {
            return self.barrier_passed(digest, failed);
        }
        if let Pending::Close = pending {
            return self.counted_as_closed();
        }
        let all = results.unwrap_or_default();
        if all.contains(&Applied::NotMade) {
            return self.halt(NOT_MADE);
        }
        let refusal = all.iter().find_map(|applied| match applied {
            Applied::Refused(reason) => Some(*reason),
            _ => None,
        });
        let (Pending::Live { peer, .. } | Pending::Page { peer, .. } | Pending::Adopt { peer, .. }) =
            pending
        else {
            return;
        };
        if let Some(reason) = refusal {
            self.notice(Notice::Refused { peer, reason });
            self.close(peer, reason);
        }
        let is_conflict = all.contains(&Applied::Conflict);
        if is_conflict {
            self.notice(Notice::Conflict(peer));
        }
        match pending {
            Pending::Live { peer, origin, bytes } => {
                self.release(peer, bytes);
                let is_gap = all.iter().any(|applied| matches!(applied, Applied::Gap { .. }));
                // A conflict counts as a gap: a session takes what is behind it.
                self.live_applied(origin, failed || is_gap || is_conflict || refusal.is_some());
            }
            Pending::Page { peer, session, batch, bytes } => {
                self.release(peer, bytes);
                self.page_applied(peer, (session, batch), failed);
            }
            Pending::Adopt { peer, session } => self.adopted(peer, session, failed),
            _ => {}
        }
    }

    fn release(&mut self, peer: MemberId, bytes: usize) {
        if let Some(link) = self.links.get_mut(&peer) {
            link.applying = link.applying.saturating_sub(bytes);
        }
    }

    fn session(&mut self, peer: MemberId, id: u64) -> Option<&mut Session> {
        let link = self.links.get_mut(&peer)?;
        link.session.as_mut().filter(|session| session.id == id)
    }

    fn fetches_from(&self, peer: MemberId) -> Vec<u64> {
        let is_its = |(_, fetch): &(&u64, &Fetch)| fetch.peer == peer;
        self.fetches.iter().filter(is_its).map(|(id, _)| *id).collect()
    }

    /// Whether a clock is so far ahead that its writes must wait; parks its link then.
    fn is_ahead(&mut self, peer: MemberId, latest: Option<Hlc>) -> bool {
        let latest = latest.map_or(0, Hlc::millis);
        let limit = self.now.wall_ms.saturating_add(self.config.max_ahead_ms);
        if latest <= limit {
            return false;
        }
        self.suspend_session(peer);
        if let Some(link) = self.links.get_mut(&peer) {
            link.parked_until = Some(latest - self.config.max_ahead_ms);
        }
        self.notice(Notice::Parked { peer, ahead_ms: latest - self.now.wall_ms });
        true
    }

    fn unpark(&mut self) {
        let wall_ms = self.now.wall_ms;
        let due: Vec<_> = (self.links.iter())
            .filter(|(_, link)| link.parked_until.is_some_and(|until| until <= wall_ms))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in due {
            if let Some(link) = self.links.get_mut(&peer) {
                link.parked_until = None;
            }
            self.notice(Notice::Unparked(peer));
            self.ask_live(peer);
        }
    }

    /// What this location has, or is about to have, of an origin's writes.
    fn arrived(&self, origin: OriginId) -> u64 {
        let arrived = self.incoming.get(&origin).map_or(0, |incoming| incoming.arrived);
        arrived.max(self.store.visible.get(origin))
    }

    fn visible(&self) -> VersionVector {
        self.store.visible.clone()
    }
}
