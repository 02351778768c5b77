//! The core: a router between events, private state machines, and actions.
//!
//! Each concern is a machine of its own, with private state and tests: see [`machines`]. A machine reads
//! the location ([`local`]) and its peers ([`peers`]) and puts out [`actions`]: messages, work for the
//! store, and notices for the owner. The router takes in an [`Event`], hands it to the machines that it
//! concerns, carries results from one to another, and fixes the order in which they run.
//!
//! | concern | machine |
//! |---|---|
//! | identities, incarnations | [`handshake`] |
//! | versions and features of the two ends | [`compatibility`] |
//! | messages and fields of later versions | [`skipped`] |
//! | when progress is sent, and what of it | [`progress`], [`counts`], [`announced`] |
//! | what peers have reported | [`reported`], [`receipts`] |
//! | writes that peers claim to hold and that were never made | [`claims`] |
//! | the clocks of the members, cluster time | [`clocks`] |
//! | new writes, sent and received | [`live_sender`], [`live_receiver`] |
//! | what is missing and does not arrive | [`lag`] |
//! | catch-up sessions, received and served | [`puller`], [`session_source`] |
//! | large bodies, received and served | [`body_fetcher`], [`body_source`] |
//! | rows by name, received and served | [`row_fetcher`], [`row_source`] |
//! | joining a cluster, and rebuilding a store that lacks old deletions | [`rebuild`] |
//! | removed members, and the notice of a removal | [`membership`], [`removal`] |
//! | closed, resolved and stable timestamps | [`stability`] |
//! | what remains of processes that have ended | [`ended`], [`uncounted`] |
//! | comparing two stores | [`verifier`] |
//! | what locations report of themselves | [`reports`] |
//! | usage of global limits, for the owner | [`usage`] |

use std::{collections::BTreeMap, time::Duration};

use kv_core::{ClusterClock, Dot, Hlc};

use crate::{
    ClockState, HaltReason, MemberId,
    inspect::Place,
    notice::Notice,
    work::{Channel, Event, Now, StoreState, Transmit, Work},
};

mod actions;
mod announced;
mod backlog;
mod body_fetcher;
mod body_source;
mod claims;
mod clocks;
mod compatibility;
mod config;
mod counts;
mod ended;
mod handshake;
mod lag;
mod links;
mod live_receiver;
mod live_sender;
mod local;
mod machines;
mod membership;
mod observe;
mod patience;
mod peers;
mod progress;
mod puller;
mod rebuild;
mod receipts;
mod removal;
mod reported;
mod reports;
mod results;
mod route;
mod row_fetcher;
mod row_source;
mod session_source;
mod skipped;
mod stability;
mod status;
#[cfg(test)]
mod testing;
mod transmit;
mod uncounted;
mod usage;
mod verifier;
mod weight;

use actions::{Actions, Context};
use local::Local;
use machines::Machines;
use peers::Peers;

pub use claims::CLAIM;
pub use config::{Config, PINNED_BYTES};
pub use results::FAR_AHEAD;
pub use skipped::Skipped;
pub use status::{PeerState, SessionProgress, StableState};

/// One location's side of replication. See the crate's front page.
#[derive(Debug)]
pub struct Core {
    /// The location: its configuration, the time, and the state of its store.
    local: Local,
    /// The peers that a link is up to.
    peers: Peers,
    /// The actions that the machines have put out and the owner has not taken yet.
    out: Actions,
    /// The machines, one for each concern.
    machines: Machines,
    /// What was skipped of messages.
    skipped: skipped::SkipCounter,
    /// Why this store no longer replicates. Once set, the core ignores every event.
    halted: Option<HaltReason>,
}

impl Core {
    /// Creates a core for a store that was just opened and is in this state, all of it durable.
    #[must_use]
    pub fn new(config: Config, now: Now, store: StoreState) -> Core {
        let out = Actions::new(config.incarnation);
        let local = Local::new(config, now, store);
        let machines = Machines::new(&local);
        let (peers, skipped) = (Peers::default(), skipped::SkipCounter::default());
        let mut core = Core { local, peers, out, machines, skipped, halted: None };
        core.follow_members();
        let (machines, cx) = core.split();
        machines.rows.follow(&cx);
        core
    }

    /// Handles an event. Afterwards, call the `poll_` functions until they return none.
    pub fn handle_event(&mut self, now: Now, event: Event) {
        self.local.set_now(now);
        if self.halted.is_some() {
            return;
        }
        self.wake(&event);
        self.dispatch(event);
        self.settle();
        self.proceed();
    }

    /// Does what is due at this time.
    pub fn handle_timeout(&mut self, now: Now) {
        self.local.set_now(now);
        self.proceed();
    }

    /// Does what follows from an event, and what is due.
    fn proceed(&mut self) {
        if self.halted.is_some() {
            return;
        }
        self.check_lag();
        let (machines, mut cx) = self.split();
        machines.clocks.watch(&mut cx);
        machines.puller.watch(&mut cx, &mut machines.fetcher);
        self.watch_fetches();
        let (machines, mut cx) = self.split();
        machines.rows.watch(&mut cx, &mut machines.fetcher);
        machines.sessions.watch(&mut cx);
        machines.bodies.watch(&mut cx);
        machines.verifier.watch(&mut cx);
        let (now, pace) = (self.local.mono(), self.local.pace());
        let ready = self.peers.watch(now, pace);
        ready.into_iter().for_each(|peer| self.out.wake(peer));
        self.follow_ended();
        self.settle();
    }

    /// Assesses what remains of ended origins, and moves a rebuild on.
    fn follow_ended(&mut self) {
        let (machines, mut cx) = self.split();
        let is_quiet = machines.puller.count() == 0;
        machines.uncounted.watch(&mut cx, is_quiet);
        let digest = machines.uncounted.digest();
        machines.stability.assess(cx.local, &machines.receiver, digest);
        machines.rebuild.watch(&mut cx, &machines.puller);
    }

    /// Returns the time, on the monotonic clock, at which [`Core::handle_timeout`] must be called next; none if only an
    /// event can change anything.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        if self.halted.is_some() {
            return None;
        }
        let machines = self.machines.timeout(self.local.mono());
        self.peers.timeout().into_iter().chain(machines).min()
    }

    /// Returns the next work for the store.
    pub fn poll_work(&mut self) -> Option<Work> {
        self.out.poll_work()
    }

    /// Returns the next notice for the owner.
    pub fn poll_event(&mut self) -> Option<Notice> {
        self.out.poll_notice()
    }

    /// Returns the next peer that there may be messages for, which have come up since the peer was last returned. Take
    /// them with [`Core::poll_transmit_on`]. A peer whose channels have no room for all of them is not returned again
    /// because of those: remember it until there is room.
    pub fn poll_ready(&mut self) -> Option<MemberId> {
        self.out.poll_ready()
    }

    /// Returns the next message to a peer. Call it only while there is room on the way to the peer: what
    /// waits is kept here, in bounds, or made on request.
    pub fn poll_transmit(&mut self, peer: MemberId) -> Option<Transmit> {
        Channel::ALL.into_iter().find_map(|channel| self.poll_transmit_on(peer, channel))
    }

    /// Returns the next message to a peer on one of the channels. Call it only while that channel has
    /// room, so that a full one holds up none of the others.
    pub fn poll_transmit_on(&mut self, peer: MemberId, channel: Channel) -> Option<Transmit> {
        self.next_message(peer, channel)
    }

    /// Returns about how many bytes the core holds, without what its owner has taken out.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.out.memory_bytes() + self.machines.memory_bytes()
    }

    /// Returns why this store does not replicate any more, if so.
    #[must_use]
    pub fn halted(&self) -> Option<HaltReason> {
        self.halted
    }

    /// Returns how many members, this one included, are known to hold a write so that it survives a crash.
    #[must_use]
    pub fn durable_copies(&self, dot: Dot) -> usize {
        let has = self.peers.iter().filter(|(_, peer)| peer.holds(dot.origin) >= dot.seq).count();
        has + usize::from(self.local.durable().covers(dot))
    }

    /// Returns how many catch-up sessions are being received, and how many are served.
    #[must_use]
    pub fn sessions(&self) -> (usize, usize) {
        (self.machines.puller.count(), self.machines.sessions.count())
    }

    /// Whether this location takes part: it is a member and holds everything that its first source held.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.local.is_joined()
    }

    /// Whether everything that remains of processes that have ended, and of removed members, is at every member.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.machines.stability.is_finished()
    }

    /// Whether the store is rebuilt in place, or joins: it serves no peer.
    #[must_use]
    pub fn is_rebuilding(&self) -> bool {
        self.local.is_rebuilding()
    }

    /// Whether another process of this location, which started later, has closed the origins of this one.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        self.local.store().superseded
    }

    /// Returns the time before which every member, reachable or not, durably holds every write, and nothing
    /// older is being sent to anyone. Tombstones and expired tombstones before it may be dropped, as
    /// [`GcLimits`] wants it. [`Hlc::ZERO`] as long as a member has not reported.
    ///
    /// [`GcLimits`]: kv_core::commit::GcLimits
    #[must_use]
    pub fn stable(&self) -> Hlc {
        self.machines.stability.stable(&self.local, self.machines.sessions.started())
    }

    /// Returns the cluster's clock, measured against the monotonic clock that the core is given. The owner
    /// passes it to the store: [`Store::set_clock`](kv_core::Store::set_clock). A core that has halted does not
    /// follow it any more.
    #[must_use]
    pub fn clock(&self) -> ClusterClock {
        if self.halted.is_some() {
            return ClusterClock::default();
        }
        self.machines.clocks.clock(&self.local)
    }

    /// Returns the state of this location's clock.
    #[must_use]
    pub fn clock_state(&self) -> ClockState {
        self.machines.clocks.state(&self.local)
    }

    /// Returns the first keys whose rows are fetched by name, at most `most`, each with the members whose answers it
    /// waits for.
    #[must_use]
    pub fn awaited(&self, most: usize) -> BTreeMap<Place, Vec<MemberId>> {
        let wanted = self.local.store().wanted.iter().take(most);
        wanted
            .map(|place| (place.clone(), self.machines.rows.awaited(&self.local, place)))
            .collect()
    }

    /// Returns the state of a peer; none while there is no link to it.
    #[must_use]
    pub fn peer_state(&self, peer: MemberId) -> Option<PeerState> {
        let Machines { receiver, lag, puller, sessions, clocks, reports, verifier, .. } =
            &self.machines;
        let state = self.peers.get(peer)?;
        let theirs = &state.progress().durable;
        let (mut ahead, mut late) = (0_u64, Duration::ZERO);
        for dot in theirs.iter() {
            let arrived = receiver.arrived(&self.local, dot.origin);
            if dot.seq > arrived {
                ahead = ahead.saturating_add(dot.seq - arrived);
                late = late.max(lag.late(self.local.mono(), dot.origin).unwrap_or_default());
            }
        }
        Some(PeerState {
            is_known: state.handshake.is_mutual(),
            ahead,
            late,
            receiving: puller.progress(peer),
            is_sending: sessions.serves(peer),
            sending: reports.sending(peer).filter(|_| sessions.serves(peer)),
            verifying: verifier.progress(self.local.mono(), peer),
            clock_ahead_ms: clocks.ahead_ms(&self.local, peer),
        })
    }

    /// The machines, and what they work with.
    fn split(&mut self) -> (&mut Machines, Context<'_>) {
        let Core { local, peers, out, machines, .. } = self;
        (machines, Context { local, peers, out })
    }
}
