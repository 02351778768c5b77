//! The peers that a link is up to, as the machines see them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kv_core::{Dot, Hlc, OriginId, OriginRegistry};

use super::{
    announced::Announced,
    handshake::Handshake,
    local::Local,
    progress::Announcing,
    receipts::Receipts,
    reported::{Progress, Reported, Taken},
};
use crate::{
    MemberId,
    wire::{Echo, Hello, Incarnations, ProgressDelta},
};

/// How long a peer's report of its own writes counts as current: it reports every three seconds.
const CURRENT_FOR: Duration = Duration::from_secs(5);

/// A peer, while a link to it is up.
#[derive(Debug)]
pub(super) struct Peer {
    /// How far the handshake is. Nothing else of the peer counts before its hello was accepted.
    pub(super) handshake: Handshake,
    /// When this location's progress is sent to it.
    pub(super) announcing: Announcing,
    /// What it was sent of this location's progress.
    pub(super) announced: Announced,
    /// The receipts that it and this location have sent each other for their writes.
    pub(super) receipts: Receipts,
    /// What it has reported.
    reported: Reported,
}

impl Peer {
    /// The state of a link that was just made.
    pub(super) fn new(handshake: Handshake) -> Peer {
        Peer {
            handshake,
            announcing: Announcing::default(),
            announced: Announced::default(),
            receipts: Receipts::default(),
            reported: Reported::default(),
        }
    }

    /// Its hello, once it was accepted.
    pub(super) fn hello(&self) -> Option<&Hello> {
        self.handshake.hello()
    }

    /// The origins that it writes under, as it last announced them.
    pub(super) fn origins(&self) -> Option<[OriginId; 2]> {
        self.progress().origins
    }

    /// Whether an origin is one of its own.
    pub(super) fn writes(&self, origin: OriginId) -> bool {
        self.origins().is_some_and(|origins| origins.contains(&origin))
    }

    /// The last progress that it sent; empty before the first.
    pub(super) fn progress(&self) -> &Progress {
        self.reported.progress()
    }

    /// Whether rows can come from it.
    pub(super) fn is_ready(&self) -> bool {
        self.hello().is_some()
    }

    /// Its hello was accepted: this location's progress is the next message to it.
    pub(super) fn greeted(&mut self) {
        self.announcing.due();
    }

    /// Whether its last progress is current.
    fn is_current(&self, now: Duration) -> bool {
        self.is_ready() && self.has_reported() && now <= self.reported.taken_at() + CURRENT_FOR
    }

    /// Whether it has sent its progress.
    pub(super) fn has_reported(&self) -> bool {
        self.progress().number > 0
    }

    /// Takes in its progress. Returns the counts that have changed; none if the message does not count.
    ///
    /// # Errors
    /// The rule that it has violated.
    pub(super) fn progressed(
        &mut self,
        now: Duration,
        delta: ProgressDelta,
    ) -> Result<Option<Vec<Dot>>, &'static str> {
        let is_later = self.reported.arrived(delta.number);
        if is_later && self.announced.acknowledged(delta.echo.map(|echo| echo.number)) {
            // This end continues, and the other one has begun again.
            self.announcing.urgent();
        }
        match self.reported.take(now, delta)? {
            Taken::Changed(changes) => {
                self.receipts.reported();
                return Ok(Some(changes));
            }
            // The echo in this location's progress makes the peer send everything.
            Taken::Baseless => self.announcing.urgent(),
            Taken::Stale => {}
        }
        Ok(None)
    }

    /// The echo that goes with this location's own progress.
    pub(super) fn echo(&self, now: Duration) -> Option<Echo> {
        self.reported.echo(now)
    }

    /// Up to which sequence number the peer holds all writes of an origin durably, as far as it has reported.
    pub(super) fn holds(&self, origin: OriginId) -> u64 {
        self.progress().durable.get(origin).max(self.receipts.held(origin))
    }

    /// Makes the hello and the progress due whose time has come. `pace` is how often progress is sent at most. Returns
    /// whether something is due.
    pub(super) fn watch(&mut self, now: Duration, pace: Duration) -> bool {
        self.handshake.watch(now);
        if self.hello().is_some() {
            self.announcing.watch(now, pace);
            self.receipts.watch(now);
        }
        let is_due = self.announcing.is_due() || self.receipts.is_due();
        self.handshake.is_due() || (self.hello().is_some() && is_due)
    }

    /// When something is due for this peer.
    pub(super) fn timeout(&self, pace: Duration) -> Option<Duration> {
        let announcing = self.hello().and_then(|_| self.announcing.timeout(pace));
        let receipts = self.hello().and_then(|_| self.receipts.timeout());
        [self.handshake.timeout(), announcing, receipts].into_iter().flatten().min()
    }

    /// Sets what it has reported.
    #[cfg(test)]
    pub(super) fn report(&mut self, progress: Progress) {
        self.reported.set(progress);
    }
}

/// All peers that a link is up to.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// By member.
    all: BTreeMap<MemberId, Peer>,
    /// The peers that may have changed since they were last watched.
    touched: BTreeSet<MemberId>,
    /// The origins of which a member has claimed more than there was.
    doubted: BTreeSet<OriginId>,
    /// When something is due for one of the others, or before; none if nothing is.
    due: Option<Duration>,
    /// How often progress was sent at most when they were last watched.
    pace: Duration,
}

impl Peers {
    /// A link to a peer is up; it replaces the former one.
    pub(super) fn insert(&mut self, peer: MemberId, state: Peer) {
        self.touched.insert(peer);
        self.all.insert(peer, state);
    }

    /// The link to a peer is down.
    pub(super) fn remove(&mut self, peer: MemberId) {
        self.all.remove(&peer);
    }

    /// All links are dropped.
    pub(super) fn clear(&mut self) {
        self.all.clear();
    }

    /// Whether a link to a peer is up.
    pub(super) fn contains(&self, peer: MemberId) -> bool {
        self.all.contains_key(&peer)
    }

    /// The state of a peer; none without a link.
    pub(super) fn get(&self, peer: MemberId) -> Option<&Peer> {
        self.all.get(&peer)
    }

    /// The same, for the router.
    pub(super) fn get_mut(&mut self, peer: MemberId) -> Option<&mut Peer> {
        self.touched.insert(peer);
        self.all.get_mut(&peer)
    }

    /// Makes due what the time has come for. `pace` is how often progress is sent at most. Returns the peers that
    /// something is due for. Looks at all peers only if the time of one has come.
    pub(super) fn watch(&mut self, now: Duration, pace: Duration) -> Vec<MemberId> {
        if self.pace != pace || self.due.is_some_and(|at| now >= at) {
            (self.pace, self.due) = (pace, None);
            self.touched.extend(self.all.keys());
        }
        let mut ready = Vec::new();
        for id in std::mem::take(&mut self.touched) {
            let Some(peer) = self.all.get_mut(&id) else { continue };
            if peer.watch(now, pace) {
                ready.push(id);
            }
            self.due = self.due.into_iter().chain(peer.timeout(pace)).min();
        }
        ready
    }

    /// When [`Peers::watch`] must be called next.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let touched = self.touched.iter().filter_map(|id| self.all.get(id)?.timeout(self.pace));
        touched.chain(self.due).min()
    }

    /// All peers, in the order of their ids.
    pub(super) fn ids(&self) -> Vec<MemberId> {
        self.all.keys().copied().collect()
    }

    /// All peers with their states, in the order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (MemberId, &Peer)> {
        self.all.iter().map(|(peer, state)| (*peer, state))
    }

    /// The same, for the router.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (MemberId, &mut Peer)> {
        self.touched.extend(self.all.keys());
        self.all.iter_mut().map(|(peer, state)| (*peer, state))
    }

    /// The open origins of the peers, each with its writer and how many writes of it that one has reported; without peers
    /// whose last report is old, because others may have more of their writes, and without those that may count less than
    /// they have made: they rebuild, or another process has taken their place.
    pub(super) fn open_counts(&self, local: &Local) -> BTreeMap<OriginId, (MemberId, u64)> {
        let now = local.mono();
        let current =
            self.iter().filter(|(_, state)| state.is_current(now) && !state.progress().rebuilding);
        let counts = current.flat_map(|(peer, state)| {
            let durable = &state.progress().durable;
            let origins = state.origins().into_iter().flatten();
            let open = origins.filter(move |origin| local.is_open_of(*origin, peer));
            open.map(move |origin| (origin, (peer, durable.get(origin))))
        });
        counts.collect()
    }

    /// The time that more than half of the other members have resolved, as they have reported over their links;
    /// [`Hlc::ZERO`] if so many have not.
    pub(super) fn resolved_by_most(&self, local: &Local) -> Hlc {
        let own = local.config().member;
        let others = local.members().current().filter(|member| member.id != own);
        let mut times: Vec<_> = others
            .map(|member| self.get(member.id).map_or(Hlc::ZERO, |peer| peer.progress().resolved))
            .collect();
        times.sort_unstable_by(|one, other| other.cmp(one));
        times.get(times.len() / 2).copied().unwrap_or(Hlc::ZERO)
    }

    /// More of an origin was counted here than its writer has made, because a member had claimed it.
    pub(super) fn doubt(&mut self, origin: OriginId) {
        let writers: BTreeSet<_> = self.all.values().filter_map(Peer::origins).flatten().collect();
        self.doubted.retain(|doubted| writers.contains(doubted));
        self.doubted.insert(origin);
    }

    /// The origins of [`Peers::open_counts`] of which a member has claimed more than there was. What others count of one of
    /// these does not matter as long as its writer reports.
    pub(super) fn doubted_counts(&self, local: &Local) -> BTreeMap<OriginId, (MemberId, u64)> {
        if self.doubted.is_empty() {
            return BTreeMap::new();
        }
        let mut counts = self.open_counts(local);
        counts.retain(|origin, _| self.doubted.contains(origin));
        counts
    }

    /// The writer of an origin of [`Peers::doubted_counts`]; none for another origin.
    pub(super) fn doubted_by(&self, local: &Local, origin: OriginId) -> Option<MemberId> {
        if !self.doubted.contains(&origin) {
            return None;
        }
        self.open_counts(local).get(&origin).map(|(writer, _)| *writer)
    }

    /// The peer that writes under an origin. If the origin's opening row is here, its member is the only one to look at.
    pub(super) fn writer_of(
        &self,
        registry: &OriginRegistry,
        origin: OriginId,
    ) -> Option<MemberId> {
        let writes = |peer: &MemberId| self.get(*peer).is_some_and(|state| state.writes(origin));
        let known = registry.get(origin).map(|info| info.member).filter(writes);
        known.or_else(|| self.all.keys().copied().find(writes))
    }

    /// Checks a hello against this location.
    ///
    /// # Errors
    /// The reason to close the link.
    pub(super) fn check_hello(
        local: &Local,
        from: MemberId,
        incarnations: Incarnations,
        hello: &Hello,
    ) -> Result<(), &'static str> {
        if hello.cluster != local.config().cluster {
            return Err("the peer belongs to another cluster");
        }
        if hello.member != from || incarnations.from == 0 {
            return Err("the peer names another member than its certificate");
        }
        Ok(())
    }
}
