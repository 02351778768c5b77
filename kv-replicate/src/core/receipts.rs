//! How many of a peer's own writes are durable here, and how many of this location's there, between progress messages.
//!
//! In a cluster of many locations progress is sent seldom. The origin of a write, which may wait for copies of it, learns
//! of its writes as soon as in a small one.

use std::time::Duration;

use kv_core::{Dot, OriginId, VersionVector};

/// The shortest time between two receipts to a peer.
const APART: Duration = Duration::from_millis(20);

/// Whether a receipt is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Due {
    /// Nothing has changed.
    #[default]
    Never,
    /// At this time.
    At(Duration),
    /// With the next message.
    Now,
}

/// The receipts that a peer was sent for its own writes, and those that it has sent for this location's.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    /// The peer's open origins, and the count of each in the last receipt to it.
    sent: Option<[Dot; 2]>,
    /// When the last receipt was sent.
    sent_at: Duration,
    /// Whether a receipt is due.
    due: Due,
    /// The greatest counts of this location's origins in its receipts.
    held: [Option<Dot>; 2],
}

impl Receipts {
    /// More of the peer's own writes are durable here.
    pub(super) fn changed(&mut self) {
        if self.due == Due::Never {
            self.due = Due::At(self.sent_at + APART);
        }
    }

    /// Makes a receipt due if its time has come.
    pub(super) fn watch(&mut self, now: Duration) {
        if self.timeout().is_some_and(|at| now >= at) {
            self.due = Due::Now;
        }
    }

    /// Whether the next message to the peer is a receipt.
    pub(super) fn is_due(&self) -> bool {
        self.due == Due::Now
    }

    /// When the next receipt becomes due; none if one is due already.
    pub(super) fn timeout(&self) -> Option<Duration> {
        match self.due {
            Due::At(at) => Some(at),
            Due::Never | Due::Now => None,
        }
    }

    /// Progress with these counts is sent to the peer, which writes under these origins.
    pub(super) fn progress_sent(&mut self, durable: &VersionVector, pair: Option<[OriginId; 2]>) {
        self.sent = pair.map(|pair| pair.map(|origin| count(durable, origin)));
        self.due = Due::Never;
    }

    /// The next count for a receipt, if one is due; then it counts as sent.
    pub(super) fn take(
        &mut self,
        now: Duration,
        durable: &VersionVector,
        pair: Option<[OriginId; 2]>,
    ) -> Option<Dot> {
        let pair = pair.filter(|_| self.is_due())?;
        let sent = self.sent.get_or_insert(pair.map(|origin| Dot { origin, seq: 0 }));
        for (sent, origin) in sent.iter_mut().zip(pair) {
            let count = count(durable, origin);
            if *sent != count {
                (*sent, self.sent_at) = (count, now);
                return Some(count);
            }
        }
        self.due = Due::Never;
        None
    }

    /// The peer holds a write of this location, which writes under these origins, and all before it.
    pub(super) fn received(&mut self, pair: Option<[OriginId; 2]>, dot: Dot) {
        let lane = pair.and_then(|pair| pair.iter().position(|origin| *origin == dot.origin));
        let Some(held) = lane.and_then(|lane| self.held.get_mut(lane)) else { return };
        if held.is_none_or(|held| held.origin != dot.origin || held.seq < dot.seq) {
            *held = Some(dot);
        }
    }

    /// The peer has sent its progress, which counts what its receipts have counted before, or less.
    pub(super) fn reported(&mut self) {
        self.held = Default::default();
    }

    /// How many writes of an origin of this location the peer's receipts count; 0 if none.
    pub(super) fn held(&self, origin: OriginId) -> u64 {
        let mut held = self.held.iter().flatten();
        held.find(|held| held.origin == origin).map_or(0, |held| held.seq)
    }
}

/// How many writes of an origin a vector counts.
fn count(durable: &VersionVector, origin: OriginId) -> Dot {
    Dot { origin, seq: durable.get(origin) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{PEER, THIRD, US, dot, origins, vector};

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn pair() -> Option<[OriginId; 2]> {
        Some(origins(PEER))
    }

    fn taken(receipts: &mut Receipts, now: u64, seq: u64) -> Option<Dot> {
        receipts.watch(ms(now));
        receipts.take(ms(now), &vector(seq), pair())
    }

    #[test]
    fn what_a_peer_has_acknowledged_holds_until_its_next_progress() {
        let mut receipts = Receipts::default();
        receipts.received(pair(), dot(10));
        assert_eq!(receipts.held(dot(1).origin), 10);
        receipts.reported();
        assert_eq!(receipts.held(dot(1).origin), 0);
    }

    #[test]
    fn a_writer_gets_a_receipt_at_once_and_then_at_most_every_20_ms() {
        let mut receipts = Receipts::default();
        receipts.progress_sent(&vector(3), pair());
        receipts.changed();
        assert_eq!(taken(&mut receipts, 500, 4), Some(dot(4)));
        assert_eq!(taken(&mut receipts, 500, 4), None);
        receipts.changed();
        assert_eq!(receipts.timeout(), Some(ms(520)));
        assert_eq!(taken(&mut receipts, 519, 5), None);
        assert_eq!(taken(&mut receipts, 520, 5), Some(dot(5)));
    }

    #[test]
    fn a_writer_gets_no_receipt_for_what_progress_has_reported() {
        let mut receipts = Receipts::default();
        receipts.changed();
        receipts.progress_sent(&vector(3), pair());
        assert_eq!(receipts.timeout(), None);
        receipts.changed();
        assert_eq!(taken(&mut receipts, 500, 3), None);
    }

    #[test]
    fn only_counts_of_own_open_origins_are_taken() {
        let (own, own_dot) = (Some(origins(US)), |seq| Dot { origin: origins(US)[0], seq });
        let mut receipts = Receipts::default();
        receipts.received(own, own_dot(4));
        receipts.received(own, own_dot(3));
        receipts.received(own, Dot { origin: origins(THIRD)[0], seq: 9 });
        assert_eq!(receipts.held(origins(US)[0]), 4);
        assert_eq!(receipts.held(origins(THIRD)[0]), 0);
    }
}
