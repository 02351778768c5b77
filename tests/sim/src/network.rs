//! The links between locations.

use std::collections::{BTreeMap, BTreeSet};

use kv_replicate::Channel;
use waypost_disk_tests::rng::Rng;

use crate::plan::{Plan, SPARE_NODES};

/// How many bytes wait in a stream with a rate before it takes no more, about as in a link over QUIC.
const BUFFER_BYTES: u64 = 64 << 10;

/// A direction between two locations.
pub type Way = (usize, usize);

/// The effect of a scenario on messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The messages are lost.
    Lost,
    /// Each message arrives a second time, this many milliseconds later.
    Echo(u64),
    /// The first message arrives, and then the link is cut.
    CutBehind,
    /// The first message arrives, and the later ones are lost.
    LostBehind,
}

/// The links between locations.
#[derive(Debug)]
pub struct Network {
    rng: Rng,
    latency_ms: BTreeMap<Way, u64>,
    loss: u64,
    repeat: u64,
    reorders: bool,
    /// The directions that are cut.
    pub cut: BTreeSet<Way>,
    /// The fate of the messages of a stream, as long as it has an entry here.
    pub fates: BTreeMap<(Way, Channel), Fate>,
    /// How many bytes a stream moves in a millisecond, as long as it has an entry here.
    pub rates: BTreeMap<(Way, Channel), usize>,
    /// When the last message of a stream with a rate is through.
    free_at: BTreeMap<(Way, Channel), u64>,
    /// The number of bytes sent on each stream.
    pub sent_bytes: BTreeMap<(Way, Channel), u64>,
    /// The number of messages sent on each stream.
    pub sent: BTreeMap<(Way, Channel), u64>,
    /// When the last message of a direction arrives, if messages stay in order.
    last: BTreeMap<Way, u64>,
    /// The number of messages sent.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Network {
    /// A network with the conditions of a plan.
    #[must_use]
    pub fn new(plan: &Plan, mut rng: Rng) -> Network {
        let mut latency_ms = BTreeMap::new();
        let most = plan.nodes + SPARE_NODES;
        for from in 0..most {
            for to in 0..most {
                latency_ms.insert((from, to), rng.between(1, plan.latency_ms));
            }
        }
        Network {
            rng,
            latency_ms,
            loss: plan.loss,
            repeat: plan.repeat,
            reorders: plan.reorders,
            cut: BTreeSet::new(),
            fates: BTreeMap::new(),
            rates: BTreeMap::new(),
            free_at: BTreeMap::new(),
            sent_bytes: BTreeMap::new(),
            sent: BTreeMap::new(),
            last: BTreeMap::new(),
            messages: 0,
            bytes: 0,
        }
    }

    /// Removes all faults from the network.
    pub fn heal(&mut self) {
        self.cut.clear();
        self.fates.clear();
        self.rates.clear();
        (self.loss, self.repeat, self.reorders) = (0, 0, false);
    }

    /// The arrival times of a message that is sent now: none, one or two, or more by a fate.
    pub fn send(&mut self, way: Way, channel: Channel, now: u64, bytes: usize) -> Vec<u64> {
        self.messages += 1;
        self.bytes += bytes as u64;
        *self.sent.entry((way, channel)).or_default() += 1;
        *self.sent_bytes.entry((way, channel)).or_default() += bytes as u64;
        let fate = self.fates.get(&(way, channel)).copied();
        if self.cut.contains(&way) || fate == Some(Fate::Lost) || self.rng.chance(self.loss) {
            return Vec::new();
        }
        let now = self.through(way, channel, now, bytes);
        let copies = if self.rng.chance(self.repeat) { 2 } else { 1 };
        let mut arrivals: Vec<_> = (0..copies).map(|_| self.arrival(way, now)).collect();
        match fate {
            Some(Fate::Echo(after_ms)) => arrivals.push(arrivals[0] + after_ms),
            Some(Fate::CutBehind) => {
                self.cut.insert(way);
            }
            Some(Fate::LostBehind) => {
                self.fates.insert((way, channel), Fate::Lost);
            }
            _ => {}
        }
        arrivals
    }

    /// Whether a stream takes a message: little waits to leave.
    #[must_use]
    pub fn has_room(&self, way: Way, channel: Channel, now: u64) -> bool {
        let Some(rate) = self.rates.get(&(way, channel)) else { return true };
        let waits_ms = self.frees(way, channel).unwrap_or_default().saturating_sub(now);
        waits_ms * (*rate as u64) < BUFFER_BYTES
    }

    /// When everything that a stream has taken has left, if it has a rate.
    #[must_use]
    pub fn frees(&self, way: Way, channel: Channel) -> Option<u64> {
        self.rates.get(&(way, channel))?;
        self.free_at.get(&(way, channel)).copied()
    }

    /// When the last byte of a message leaves.
    fn through(&mut self, way: Way, channel: Channel, now: u64, bytes: usize) -> u64 {
        let Some(rate) = self.rates.get(&(way, channel)) else { return now };
        let free_at = self.free_at.entry((way, channel)).or_default();
        *free_at = now.max(*free_at) + bytes.div_ceil(*rate) as u64;
        *free_at
    }

    fn arrival(&mut self, way: Way, now: u64) -> u64 {
        let latency = self.latency_ms[&way];
        let jitter = self.rng.below(latency / 2 + 2);
        let arrival = now + latency + jitter;
        if self.reorders {
            return arrival;
        }
        let last = self.last.entry(way).or_default();
        *last = arrival.max(*last);
        *last
    }
}
