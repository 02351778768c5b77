//! A location with two other members, for the tests of the machines.

use std::{sync::Arc, time::Duration};

use kv_core::{
    Dot, Features, Hlc, Lane, Member, Members, NamespaceId, OriginEntry, OriginId, OriginInfo,
    VersionVector,
};

use super::{
    actions::{Actions, Context, Effect},
    announced::Sent,
    config::Config,
    handshake::Handshake,
    local::Local,
    peers::{Peer, Peers},
    reported::Progress,
};
use crate::{
    Content, MemberId, Row, Work,
    wire::{Hello, Incarnations, Message, WIRE_VERSION},
    work::{Now, StoreState},
};

pub(super) const US: MemberId = MemberId([1; 16]);
pub(super) const PEER: MemberId = MemberId([2; 16]);
pub(super) const THIRD: MemberId = MemberId([3; 16]);
const INCARNATION: u64 = 11;

pub(super) fn origins(member: MemberId) -> [OriginId; 2] {
    [OriginId([member.0[0]; 16]), OriginId([member.0[0] + 100; 16])]
}

/// A write of [`PEER`].
pub(super) fn dot(seq: u64) -> Dot {
    Dot { origin: origins(PEER)[0], seq }
}

/// Counts this many writes of [`PEER`].
pub(super) fn vector(seq: u64) -> VersionVector {
    (seq > 0).then_some(dot(seq)).into_iter().collect()
}

pub(super) fn row_of(member: MemberId, seq: u64) -> Row {
    Row {
        dot: Dot { origin: origins(member)[0], seq },
        hlc: Hlc(seq),
        prev: None,
        namespace: NamespaceId([9; 16]),
        key: kv_core::Key::new(format!("key {seq}")).unwrap(),
        metadata: None,
        expires_at: None,
        content: Content::Deleted,
    }
}

pub(super) fn large_row_of(member: MemberId, seq: u64) -> Row {
    Row { content: Content::Large { len: 100_000, digest: [1; 32] }, ..row_of(member, seq) }
}

pub(super) fn hello(member: MemberId) -> Hello {
    Hello {
        versions: (WIRE_VERSION, WIRE_VERSION),
        features: Features::NONE,
        cluster: [5; 16],
        member,
        software: None,
    }
}

pub(super) fn config() -> Config {
    let config = Config::new([5; 16], US, INCARNATION);
    Config { backlog_bytes: 1 << 20, ..config }
}

/// A location with two other members, some of which were removed.
fn members(removed: &[MemberId]) -> Arc<Members> {
    let member = |id: MemberId| Member {
        id,
        name: "place".into(),
        addresses: Vec::new(),
        removed: removed.contains(&id),
        software: None,
    };
    Arc::new([US, PEER, THIRD].map(member).into_iter().collect())
}

/// The store of a member that has no rows yet.
pub(super) fn joining_store() -> StoreState {
    StoreState { members: members(&[]), rebuilding: true, ..StoreState::default() }
}

/// What a machine works with, and what it puts out.
pub(super) struct Fixture {
    local: Local,
    peers: Peers,
    out: Actions,
    now: Now,
    store: StoreState,
    entries: Vec<OriginEntry>,
}

impl Fixture {
    /// A member that has joined.
    pub(super) fn new() -> Fixture {
        let mut fixture = Fixture::joining();
        fixture.store(|store| store.rebuilding = false);
        fixture.open(US);
        fixture.store(|store| store.origins = Some(origins(US)));
        fixture
    }

    /// A member that has no rows yet.
    pub(super) fn joining() -> Fixture {
        let mut fixture = Fixture {
            local: Local::new(config(), Now::default(), StoreState::default()),
            peers: Peers::default(),
            out: Actions::new(INCARNATION),
            now: Now::default(),
            store: StoreState { rebuilding: true, ..StoreState::default() },
            entries: Vec::new(),
        };
        fixture.members(&[]);
        fixture
    }

    pub(super) fn members(&mut self, removed: &[MemberId]) {
        let members = members(removed);
        self.store(|store| store.members = members);
    }

    /// The store learns that a member was removed.
    pub(super) fn remove(&mut self, member: MemberId) {
        self.members(&[member]);
    }

    /// The store knows the origins of a member.
    pub(super) fn open(&mut self, member: MemberId) {
        let [small, large] = origins(member);
        let info = |id, partner, lane| {
            OriginEntry::Opened(OriginInfo {
                id,
                member,
                lane,
                partner,
                closes: Arc::new([]),
                opened: Hlc(1),
            })
        };
        self.entries.extend([info(small, large, Lane::Small), info(large, small, Lane::Large)]);
        self.register();
    }

    /// The store knows the origins of a member, and that a later process of it has closed them.
    pub(super) fn supersede(&mut self, member: MemberId) {
        self.open(member);
        self.entries.extend(origins(member).map(|id| OriginEntry::Closed { id, member }));
        self.register();
    }

    fn register(&mut self) {
        let registry = Arc::new(self.entries.iter().cloned().collect());
        self.store(|store| store.registry = registry);
    }

    pub(super) fn store(&mut self, change: impl FnOnce(&mut StoreState)) {
        change(&mut self.store);
        self.local.replace_store(self.store.clone());
    }

    /// A peer connects, and both ends accept each other.
    pub(super) fn connect(&mut self, peer: MemberId) {
        let mut handshake = Handshake::wait();
        let incarnations = Incarnations { from: 22, to: INCARNATION };
        handshake.accept(incarnations, hello(peer), INCARNATION);
        let mut state = Peer::new(handshake);
        let origins = Some(origins(peer));
        state.report(Progress { number: 1, origins, ..Progress::default() });
        self.peers.insert(peer, state);
        self.out.connect(peer);
    }

    /// A peer sends its progress.
    pub(super) fn progress(&mut self, peer: MemberId, change: impl FnOnce(&mut Progress)) {
        let peer = self.peers.get_mut(peer).unwrap();
        let mut progress = peer.progress().clone();
        progress.number += 1;
        change(&mut progress);
        peer.report(progress);
    }

    /// A peer has taken in a progress message of this location.
    pub(super) fn acknowledge(&mut self, peer: MemberId, sent: Sent) {
        let peer = self.peers.get_mut(peer).unwrap();
        peer.announced.sent(sent);
        peer.announced.acknowledged(Some(sent.number));
    }

    /// More of an origin was counted than its writer has made.
    pub(super) fn doubt(&mut self, origin: OriginId) {
        self.peers.doubt(origin);
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now.mono += time;
        self.local.set_now(self.now);
    }

    pub(super) fn at_wall(&mut self, wall_ms: u64) {
        self.now.wall_ms = wall_ms;
        self.local.set_now(self.now);
    }

    /// Time passes, also on the wall clock.
    pub(super) fn pass(&mut self, ms: u64) {
        self.now.wall_ms += ms;
        self.wait(Duration::from_millis(ms));
    }

    /// The time that a clock shows which showed 1_700_000_000_000 at the start.
    pub(super) fn true_ms(&self) -> u64 {
        1_700_000_000_000 + u64::try_from(self.now.mono.as_millis()).unwrap()
    }

    pub(super) fn context(&mut self) -> Context<'_> {
        Context { local: &self.local, peers: &self.peers, out: &mut self.out }
    }

    pub(super) fn local(&self) -> &Local {
        &self.local
    }

    pub(super) fn peers(&self) -> &Peers {
        &self.peers
    }

    pub(super) fn out(&mut self) -> &mut Actions {
        &mut self.out
    }

    pub(super) fn poll_work(&mut self) -> Option<Work> {
        self.out.poll_work()
    }

    /// The requests and responses that were sent to a peer.
    pub(super) fn sent(&mut self, peer: MemberId) -> Vec<Message> {
        std::iter::from_fn(|| self.out.next_message(peer)).collect()
    }

    /// Whether the next effect closes the link to a peer.
    pub(super) fn is_closed(&mut self, peer: MemberId) -> bool {
        matches!(self.out.poll_effect(), Some(Effect::Close { peer: closed, .. }) if closed == peer)
    }
}
