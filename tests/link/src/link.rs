//! All legs of one proxy: accepts packets, and returns them when they are due. Uses neither sockets
//! nor a clock.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    net::SocketAddr,
    time::Duration,
};

use bytes::Bytes;
use waypost_disk_tests::rng::Rng;

use crate::{Conditions, Counts, Way, Ways, path::Path, rules::Rules};

/// A packet in flight on a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The peer whose leg it is.
    pub peer: SocketAddr,
    /// The direction.
    pub way: Way,
    /// The datagram.
    pub bytes: Bytes,
}

/// The legs of a proxy.
#[derive(Debug)]
pub struct Link {
    rng: Rng,
    rules: Rules,
    legs: BTreeMap<SocketAddr, Leg>,
    /// The counters of forgotten legs.
    forgotten: Counts,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    /// Orders packets that are due at the same time.
    number: u64,
}

#[derive(Debug)]
struct Leg {
    to: Path,
    from: Path,
    counts: Counts,
}

#[derive(Debug)]
struct UnderWay {
    due: Duration,
    number: u64,
    packet: Packet,
}

impl Link {
    /// A link without legs. A peer gets a leg with its first packet.
    #[must_use]
    pub fn new(conditions: Conditions, seed: u64) -> Link {
        let mut rules = Rules::default();
        rules.set(Ways::Both, conditions);
        Link {
            rng: Rng::new(seed),
            rules,
            legs: BTreeMap::new(),
            forgotten: Counts::default(),
            under_way: BinaryHeap::new(),
            number: 0,
        }
    }

    /// Accepts a packet that arrives at `now`. Times must not decrease.
    pub fn handle_packet(&mut self, now: Duration, packet: Packet) {
        let Packet { peer, way, .. } = packet;
        let rng = &mut self.rng;
        let leg = self.legs.entry(peer).or_insert_with(|| Leg {
            to: Path::new(rng.fork()),
            from: Path::new(rng.fork()),
            counts: Counts::default(),
        });
        if self.rules.is_cut(peer, way) {
            return leg.counts.of(way).drop(packet.bytes.len());
        }
        let path = match way {
            Way::To => &mut leg.to,
            Way::From => &mut leg.from,
        };
        let conditions = self.rules.conditions(peer, way);
        let arrivals = path.take(now, &conditions, packet.bytes.len());
        let Some(first) = arrivals.first else {
            return leg.counts.of(way).drop(packet.bytes.len());
        };
        if let Some(second) = arrivals.second {
            self.send_off(second, packet.clone());
        }
        self.send_off(first, packet);
    }

    fn send_off(&mut self, due: Duration, packet: Packet) {
        self.number += 1;
        self.under_way.push(Reverse(UnderWay { due, number: self.number, packet }));
    }

    /// Returns the next packet that is due at `now`.
    pub fn poll_transmit(&mut self, now: Duration) -> Option<Packet> {
        while self.poll_timeout().is_some_and(|due| due <= now) {
            let Reverse(UnderWay { packet, .. }) = self.under_way.pop()?;
            // A cut also drops packets in flight.
            if !self.rules.is_cut(packet.peer, packet.way) {
                self.counts_mut(packet.peer).of(packet.way).pass(packet.bytes.len());
                return Some(packet);
            }
            self.counts_mut(packet.peer).of(packet.way).drop(packet.bytes.len());
        }
        None
    }

    /// When the next packet is due, if one is in flight.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.under_way.peek().map(|Reverse(next)| next.due)
    }

    /// Forgets a peer's leg. Its packets in flight still arrive.
    pub fn forget(&mut self, peer: SocketAddr) {
        if let Some(leg) = self.legs.remove(&peer) {
            self.forgotten += leg.counts;
        }
    }

    fn counts_mut(&mut self, peer: SocketAddr) -> &mut Counts {
        self.legs.get_mut(&peer).map_or(&mut self.forgotten, |leg| &mut leg.counts)
    }

    /// The counters of all legs.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut all = self.forgotten;
        self.legs.values().for_each(|leg| all += leg.counts);
        all
    }

    /// The counters of one peer's leg.
    #[must_use]
    pub fn counts_of(&self, peer: SocketAddr) -> Counts {
        self.legs.get(&peer).map(|leg| leg.counts).unwrap_or_default()
    }

    pub(crate) fn rules(&mut self) -> &mut Rules {
        &mut self.rules
    }
}

impl Ord for UnderWay {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for UnderWay {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for UnderWay {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Count;

    const MS: Duration = Duration::from_millis(1);

    fn packet(port: u16, way: Way, bytes: &'static [u8]) -> Packet {
        let peer = SocketAddr::from(([127, 0, 0, 1], port));
        Packet { peer, way, bytes: Bytes::from_static(bytes) }
    }

    fn all_due(link: &mut Link, now: Duration) -> Vec<Packet> {
        std::iter::from_fn(|| link.poll_transmit(now)).collect()
    }

    #[test]
    fn packets_leave_in_order_when_they_are_due() {
        let mut link = Link::new(Conditions::delayed(5 * MS), 1);
        let [a, b, c] =
            [packet(1, Way::To, b"a"), packet(2, Way::To, b"b"), packet(1, Way::From, b"c")];
        for (at, packet) in [(0, &a), (0, &b), (2, &c)] {
            link.handle_packet(MS * at, packet.clone());
        }
        assert_eq!(link.poll_timeout(), Some(5 * MS));
        assert_eq!(all_due(&mut link, 4 * MS), []);
        assert_eq!(all_due(&mut link, 5 * MS), [a.clone(), b]);
        assert_eq!(link.poll_timeout(), Some(7 * MS));
        assert_eq!(all_due(&mut link, 9 * MS), [c]);
        assert_eq!(link.poll_timeout(), None);
        let one = Count { packets: 1, bytes: 1, ..Count::default() };
        assert_eq!(link.counts_of(a.peer), Counts { to: one, from: one });
        link.forget(a.peer);
        let two = Count { packets: 2, bytes: 2, ..Count::default() };
        assert_eq!(link.counts(), Counts { to: two, from: one });
    }

    #[test]
    fn a_cut_drops_packets_in_flight_and_later_ones_in_its_direction() {
        let mut link = Link::new(Conditions::delayed(5 * MS), 1);
        let (to, from) = (packet(1, Way::To, b"to"), packet(1, Way::From, b"from"));
        link.handle_packet(MS, to.clone());
        link.handle_packet(MS, from.clone());
        link.rules().cut(to.peer, Ways::To);
        link.handle_packet(2 * MS, to.clone());
        assert_eq!(all_due(&mut link, 10 * MS), [from]);
        let cut = Count { dropped_packets: 2, dropped_bytes: 4, ..Count::default() };
        assert_eq!(link.counts().to, cut);
        link.rules().heal();
        link.handle_packet(11 * MS, to.clone());
        assert_eq!(all_due(&mut link, 20 * MS), [to]);
    }

    #[test]
    fn a_lost_packet_is_counted_as_dropped_and_a_duplicated_one_twice() {
        let lossy = Conditions { loss: 1.0, ..Conditions::default() };
        let mut link = Link::new(lossy, 1);
        let lost = packet(1, Way::To, b"lost");
        link.handle_packet(MS, lost.clone());
        assert_eq!(all_due(&mut link, MS), []);
        assert_eq!((link.counts().to.dropped_packets, link.counts().to.dropped_bytes), (1, 4));
        link.rules().set(Ways::To, Conditions { duplication: 1.0, ..Conditions::default() });
        link.handle_packet(2 * MS, lost.clone());
        assert_eq!(all_due(&mut link, 2 * MS), [lost.clone(), lost]);
        assert_eq!((link.counts().to.packets, link.counts().to.bytes), (2, 8));
    }
}
