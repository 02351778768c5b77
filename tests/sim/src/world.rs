//! The locations, their clients and all faults, in one thread and from one seed.

use std::collections::{BTreeMap, BinaryHeap};

use bytes::Bytes;
use kv_replicate::{CLAIM, Channel, Event as CoreEvent, FAR_AHEAD, MemberId, Notice};
use waypost_disk_tests::{hold, rng::Rng, violation::Checked};

use crate::{
    events::{Event, Events},
    later,
    model::Model,
    network::Network,
    node::{Node, index, member},
    plan::Plan,
};

mod clients;
mod clocks;
pub mod damage;
mod derived;
mod faults;
mod healing;
mod inventing;
mod lies;
mod mangling;
mod members;
mod salvage;
mod script;
mod store;
mod verifying;

/// Of how many messages one is followed by one of an unknown kind, if its sender runs a later version.
const UNKNOWN_EVERY: u64 = 50;

/// An event at some time.
#[derive(Debug, PartialEq, Eq)]
enum Happening {
    Message {
        from: usize,
        to: usize,
        bytes: Bytes,
    },
    Timer(usize),
    /// A store has done some of the work that its core requested.
    Work(usize),
    Sync(usize),
    Gc(usize),
    Verify,
    Start(usize),
    Client,
    Fault,
    /// The end of a temporary fault.
    Mend(faults::Wrong),
    /// A stream with a rate takes messages of this location again.
    Room(usize),
    /// A location whose link was taken by a copy of it dials again.
    Dial(usize, usize),
}

/// Something that will happen, ordered by when, then by when that was decided.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    at: u64,
    number: u64,
    what: Happening,
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        // The heap returns its greatest element.
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The result of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// The number of client operations.
    pub operations: u64,
    /// The number of faults.
    pub faults: u64,
    /// The events that occurred.
    pub events: Events,
    /// The trace, if it was requested.
    pub trace: Vec<String>,
    /// Virtual milliseconds from the end of all faults until all locations were equal.
    pub healed_in_ms: u64,
    /// The number of messages sent.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The greatest memory of a core with backlogs of 8 MiB each, whatever its peers do.
const MAX_MEMORY: usize = 48 << 20;

/// The simulated world; see the module.
pub struct World {
    rng: Rng,
    plan: Plan,
    now: u64,
    number: u64,
    /// The token of the last operation.
    last_token: u64,
    due: BinaryHeap<Due>,
    /// The locations.
    pub nodes: Vec<Node>,
    /// The links between them.
    pub network: Network,
    /// The location at the other end of a link, where it may be a copy of the member.
    ends: BTreeMap<(usize, MemberId), usize>,
    /// How often a location's link to another one was replaced by one of a copy of it.
    replaced: BTreeMap<(usize, usize), u32>,
    /// The locations that dial others soon.
    dialing: std::collections::BTreeSet<(usize, usize)>,
    /// The expected state.
    pub model: Model,
    report: Report,
    tracing: bool,
    verifying: verifying::Verifying,
    /// The location that is being lied to, and the liar.
    lied_to: Option<(usize, usize)>,
    /// The rows that are damaged and have not come back: the location, and the key.
    damaged: std::collections::BTreeSet<(usize, crate::node::Name)>,
    /// The store of a location holds what no correct store does.
    has_liar: bool,
    /// The percentage of messages that are changed in transit.
    mangled: u64,
    recent: mangling::Recent,
    /// Why the last attempt of an engine to recover failed.
    unrecovered: Option<String>,
    /// No more faults and no more clients.
    is_healed: bool,
}

impl World {
    /// A cluster of new locations, all of which run.
    ///
    /// # Errors
    /// If a location does not start.
    pub fn new(seed: u64, plan: Plan, tracing: bool) -> Checked<World> {
        let mut rng = Rng::new(seed ^ 0x5151);
        let network = Network::new(&plan, rng.fork());
        let mut nodes = Vec::new();
        for node in 0..plan.nodes {
            let mut new = Node::new(member(node), rng.fork());
            new.is_new = node > 0;
            nodes.push(new);
        }
        let mut world = World {
            rng,
            now: 0,
            number: 0,
            last_token: 0,
            due: BinaryHeap::new(),
            nodes,
            network,
            ends: BTreeMap::new(),
            replaced: BTreeMap::new(),
            dialing: std::collections::BTreeSet::new(),
            model: Model::default(),
            report: Report::default(),
            tracing,
            verifying: verifying::Verifying::default(),
            lied_to: None,
            damaged: std::collections::BTreeSet::new(),
            has_liar: false,
            mangled: 0,
            recent: mangling::Recent::default(),
            unrecovered: None,
            is_healed: false,
            plan,
        };
        world.trace(|| format!("seed {seed}: {:?}", Plan::mixed(&mut Rng::new(seed))));
        for node in 0..world.nodes.len() {
            world.nodes[node].skew_ms = world.some_skew();
        }
        if world.plan.steps_at_start && world.rng.chance(20) {
            let node = world.rng.index(world.nodes.len());
            world.step_clock(node);
        }
        world.found()?;
        Ok(world)
    }

    /// Runs a seed. Returns the report and the violation, if there is one.
    pub fn run(seed: u64, plan: Plan, tracing: bool) -> (Report, Checked) {
        match World::new(seed, plan, tracing) {
            Ok(mut world) => {
                let result = world.live().and_then(|()| world.heal());
                world.report.messages = world.network.messages;
                world.report.bytes = world.network.bytes;
                (world.report, result)
            }
            Err(violation) => (Report::default(), Err(violation)),
        }
    }

    /// Runs clients and faults until the plan is fulfilled.
    ///
    /// # Errors
    /// The violation.
    pub fn live(&mut self) -> Checked {
        let span = self.plan.operations * self.plan.pause_ms;
        for _ in 0..self.plan.faults {
            let after = self.rng.below(span + 1);
            self.after(after, Happening::Fault);
        }
        self.after(1, Happening::Client);
        while self.report.operations < self.plan.operations || self.report.faults < self.plan.faults
        {
            hold!(self.step()?, "no event is due");
        }
        Ok(())
    }

    /// Processes the next event; false if none is due.
    fn step(&mut self) -> Checked<bool> {
        let Some(due) = self.due.pop() else { return Ok(false) };
        self.now = self.now.max(due.at);
        match due.what {
            Happening::Message { from, to, bytes } => {
                self.receive(from, to, bytes)?;
            }
            Happening::Timer(node) => self.timer(node)?,
            Happening::Work(node) => self.work_done(node)?,
            Happening::Sync(node) => self.sync_done(node)?,
            Happening::Gc(node) => self.collect_garbage(node)?,
            Happening::Verify => self.verify_some()?,
            Happening::Start(node) => self.start(node)?,
            Happening::Client => self.client()?,
            Happening::Fault => self.fault()?,
            Happening::Mend(wrong) => self.mend(wrong)?,
            Happening::Room(node) => self.pump(node)?,
            Happening::Dial(from, to) => self.dial(from, to)?,
        }
        Ok(true)
    }

    fn after(&mut self, ms: u64, what: Happening) {
        self.number += 1;
        self.due.push(Due { at: self.now + ms, number: self.number, what });
    }

    fn trace(&mut self, line: impl FnOnce() -> String) {
        if self.tracing {
            let line = format!("{:>9} {}", self.now, line());
            self.report.trace.push(line);
        }
    }

    fn count(&mut self, event: Event) {
        self.report.events.count(event);
    }

    /// Passes an event to a core, and performs all resulting actions.
    fn tell(&mut self, node: usize, event: CoreEvent) -> Checked {
        let now = self.nodes[node].now(self.now);
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        running.core.handle_event(now, event);
        self.pump(node)
    }

    /// Delivers a message, unless its sender is no longer the other end of the link.
    fn receive(&mut self, from: usize, to: usize, bytes: Bytes) -> Checked {
        let peer = self.nodes[from].member;
        if self.end(to, peer) != from {
            return Ok(());
        }
        let bytes = if self.mangled > 0 { self.mangle(bytes) } else { bytes };
        self.tell(to, CoreEvent::Received { from: peer, bytes })
    }

    /// The location at the other end of a link to a member.
    fn end(&self, node: usize, peer: MemberId) -> usize {
        self.ends.get(&(node, peer)).copied().unwrap_or_else(|| index(peer))
    }

    /// A location gets a new link to another one. Its link to a copy of that one is closed.
    fn meet(&mut self, from: usize, to: usize) -> Checked {
        let (own, peer) = (self.nodes[from].member, self.nodes[to].member);
        let before = self.end(from, peer);
        if before != to {
            self.ends.insert((from, peer), to);
        }
        if before != to && before != from {
            self.tell(before, CoreEvent::Disconnected(own))?;
            let turns = self.replaced.entry((before, from)).or_default();
            *turns += 1;
            // As the driver waits: twice as long each time, up to 15 s.
            let most = (200 << (*turns).min(7)).min(15_000);
            let after = self.rng.between(most / 2, most);
            self.dial_later(before, from, after);
        }
        self.tell(from, CoreEvent::Connected(peer))
    }

    /// A location dials another one after a while, unless it is about to.
    fn dial_later(&mut self, from: usize, to: usize, after_ms: u64) {
        if self.dialing.insert((from, to)) {
            self.after(after_ms, Happening::Dial(from, to));
        }
    }

    /// Two running locations get new links to each other.
    fn dial(&mut self, one: usize, other: usize) -> Checked {
        self.dialing.remove(&(one, other));
        let run = |node: usize| self.nodes[node].running.is_some();
        if (!self.is_healed || self.has_twins()) && run(one) && run(other) {
            self.meet(one, other)?;
            self.meet(other, one)?;
        }
        Ok(())
    }

    /// Whether two processes of one member run.
    fn has_twins(&self) -> bool {
        let mut members: Vec<_> =
            self.running().into_iter().map(|node| self.nodes[node].member).collect();
        let all = members.len();
        members.sort_unstable();
        members.dedup();
        members.len() < all
    }

    /// A location notices that its link to another one is down.
    fn miss(&mut self, node: usize, other: usize) -> Checked {
        let peer = self.nodes[other].member;
        if self.end(node, peer) != other {
            return Ok(());
        }
        self.tell(node, CoreEvent::Disconnected(peer))
    }

    fn timer(&mut self, node: usize) -> Checked {
        let now = self.nodes[node].now(self.now);
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        if running.timer.is_none_or(|at| at > self.now) {
            // The timer was since set to another time, or belongs to an earlier start.
            return Ok(());
        }
        running.timer = None;
        running.core.handle_timeout(now);
        self.pump(node)
    }

    /// Performs the actions of a core until it has none.
    fn pump(&mut self, node: usize) -> Checked {
        self.work(node)?;
        self.send(node)?;
        self.notices(node)?;
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        let memory = running.core.memory_bytes();
        hold!(memory <= MAX_MEMORY, "a core holds {memory} bytes");
        let wanted = running.core.poll_timeout();
        let Some(at) = wanted.map(|at| u64::try_from(at.as_millis()).unwrap_or(u64::MAX)) else {
            return Ok(());
        };
        let at = at.max(self.now + 1);
        if running.timer.is_none_or(|set| set > at || set <= self.now) {
            running.timer = Some(at);
            let after = at - self.now;
            self.after(after, Happening::Timer(node));
        }
        Ok(())
    }

    fn send(&mut self, node: usize) -> Checked {
        for peer in (0..self.nodes.len()).map(member) {
            let to = self.end(node, peer);
            if to == node {
                continue;
            }
            let most = if self.nodes[node].is_slow || self.nodes[to].is_slow { 1 } else { 1000 };
            let mut is_over = false;
            for _ in 0..most {
                let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
                let is_ready = running.is_ready(peer);
                let has_room = |one: &Channel| self.network.has_room((node, to), *one, self.now);
                let mut open = Channel::ALL.into_iter().filter(has_room);
                let next = open.find_map(|one| running.core.poll_transmit_on(peer, one));
                let is_open = Channel::ALL.iter().all(has_room);
                let Some(transmit) = next else {
                    is_over = is_open;
                    break;
                };
                hold!(is_ready, "{node}: there is a message for {to}, which its core did not name");
                let is_later = self.nodes[node].runs_later();
                let bytes = if is_later { later::message(&transmit.bytes) } else { transmit.bytes };
                hold!(
                    bytes.len() <= kv_replicate::MAX_MESSAGE_BYTES,
                    "a message exceeds its size limit"
                );
                let arrivals =
                    self.network.send((node, to), transmit.channel, self.now, bytes.len());
                if let Some(at) = self.network.frees((node, to), transmit.channel) {
                    let after = at.saturating_sub(self.now);
                    self.after(after, Happening::Room(node));
                }
                match arrivals.len() {
                    0 => self.count(Event::MessageLost),
                    2 => self.count(Event::MessageRepeated),
                    _ => {}
                }
                if is_later && let Some(at) = arrivals.first() {
                    self.send_unknown((node, to), *at, &bytes);
                }
                for at in arrivals {
                    let what = Happening::Message { from: node, to, bytes: bytes.clone() };
                    let after = at - self.now;
                    self.after(after, what);
                }
                self.work(node)?;
            }
            if is_over && let Some(running) = &mut self.nodes[node].running {
                running.ready.remove(&peer);
            }
        }
        Ok(())
    }

    /// A location of a later version sends a message of an unknown kind with some of its messages. They are not chosen by
    /// chance, so that a seed still means what it meant before there were any.
    fn send_unknown(&mut self, (from, to): (usize, usize), at: u64, beside: &Bytes) {
        if self.network.messages.is_multiple_of(UNKNOWN_EVERY)
            && let Some(bytes) = later::unknown(beside)
        {
            let after = at - self.now;
            self.after(after, Happening::Message { from, to, bytes });
        }
    }

    fn notices(&mut self, node: usize) -> Checked {
        while let Some(notice) = self.nodes[node].running.as_mut().and_then(|r| r.core.poll_event())
        {
            self.trace(|| format!("{node}: {notice:?}"));
            match notice {
                Notice::SessionDone(_) => self.count(Event::SessionDone),
                Notice::SessionLost(_) => self.count(Event::SessionLost),
                Notice::SessionSuspended(_) => self.count(Event::SessionSuspended),
                Notice::SessionTakenUp(_) => self.count(Event::SessionTakenUp),
                Notice::SessionResumed(_) => self.count(Event::SessionResumed),
                Notice::Gap(_) => self.count(Event::Gap),
                Notice::SkippedMessage { .. } => self.count(Event::MessageSkipped),
                Notice::SkippedField { .. } => self.count(Event::FieldSkipped),
                Notice::BacklogLost(_) => self.count(Event::BacklogLost),
                Notice::ClockOff(_) => self.clock_off(node)?,
                Notice::ClockRight => self.count(Event::ClockRight),
                Notice::BodyLost(_) => self.count(Event::BodyLost),
                Notice::BodyReplaced(_) => self.count(Event::BodyReplaced),
                Notice::SessionBegan(peer) => self.note_relay(node, self.end(node, peer)),
                Notice::Joined => self.joined(node),
                Notice::Halted(why) => self.halted(node, why)?,
                Notice::Rebuilding(_) => self.rebuilds(node)?,
                Notice::Rebuilt => self.rebuilt(node),
                Notice::CopyRuns => {}
                // The simulation of global limits is in the tests of `ratelimit`.
                Notice::Usage { .. } | Notice::UsageWanted(_) | Notice::UsageEnded(_) => {}
                Notice::Salvage { id, rows } => self.salvage(node, id, &rows)?,
                Notice::Verifying { .. } => {}
                Notice::Verified(verdict) => self.verifying.note(node, verdict),
                Notice::Close { peer, .. }
                    if self.closed_for_a_lie(node, peer) || self.mangled > 0 =>
                {
                    self.dial_later(node, self.end(node, peer), 100);
                }
                Notice::Refused { .. } | Notice::Conflict(_) | Notice::Differs(_)
                    if self.mangled > 0 => {}
                Notice::Disowned { .. } if self.has_liar || self.mangled > 0 => {
                    self.count(Event::ClaimDisowned);
                }
                Notice::Refused { reason: CLAIM, .. } if self.has_liar => {
                    self.count(Event::ClaimNoticed);
                }
                Notice::Close { peer, reason } if self.has_liar && reason == CLAIM => {
                    self.count(Event::ClaimRefused);
                    self.dial_later(node, self.end(node, peer), 100);
                }
                // Perhaps the own clock was set back by more than a day, and nobody told this location.
                Notice::Refused { reason: FAR_AHEAD, .. } => self.count(Event::TimeRefused),
                wrong @ (Notice::Close { .. }
                | Notice::Disowned { .. }
                | Notice::Refused { .. }
                | Notice::Conflict(_)
                | Notice::Differs(_)) => {
                    hold!(false, "{node}: {wrong:?}");
                }
            }
        }
        Ok(())
    }

    /// Counts a session with a location that relays the rows of a third one.
    fn note_relay(&mut self, node: usize, peer: usize) {
        let (ours, theirs) = (self.nodes[node].vector(), self.nodes[peer].vector());
        let own = self.nodes[peer].origins();
        let is_own = |origin| own.is_some_and(|own| own.contains(&origin));
        if theirs.iter().any(|dot| !is_own(dot.origin) && !ours.covers(dot)) {
            self.count(Event::Relayed);
        }
    }

    fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].running.is_some()).collect()
    }
}
