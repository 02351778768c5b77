//! The exchange of what locations have allowed of global limits: which pieces go to which location, and how old is what
//! is known of each. It does no I/O: `serve` carries the pieces.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use kv_core::MemberId;
use ratelimit::{Limiter, StateCursor};

use crate::metrics::GlobalGauges;

/// The pieces of everything that are sent to one location at a time: about 1 MB/s at 50 times a second.
const STATE_PIECES: usize = 3;
/// How old the counts of a location usually are that a link is up to: the wait for the next report, and the way.
const LINKED_AGE_MS: u64 = 100;
/// The time over which rates are averaged, in milliseconds.
const RATE_MS: u64 = 10_000;

/// The pieces to send, each to one location or to all.
pub type Pieces = Vec<(Option<MemberId>, Bytes)>;

/// The exchange of a location with the others.
#[derive(Debug)]
pub struct Exchange {
    /// The counters.
    limiter: Arc<Limiter>,
    /// What is known of the other locations.
    peers: Mutex<BTreeMap<MemberId, Peer>>,
}

/// What is known of another location.
#[derive(Debug, Default)]
struct Peer {
    /// How far it has been sent everything; none once it has, or without a link.
    cursor: Option<StateCursor>,
    /// Pieces of everything that wait.
    waiting: Vec<Vec<u8>>,
    /// Since when there is no link; none while there is one.
    unlinked_ms: Option<u64>,
    /// What it has allowed in the last seconds, in requests of cost 1.
    rate: Rate,
    /// Whether an error in what it sends was logged.
    is_logged: bool,
}

/// A sum that decays.
#[derive(Debug, Default)]
struct Rate {
    /// The sum, as of `at_ms`.
    sum: f64,
    /// When it was last changed.
    at_ms: u64,
}

impl Rate {
    /// Adds a cost.
    fn add(&mut self, now_ms: u64, cost: u64) {
        self.sum = self.at(now_ms) + approximate(cost);
        self.at_ms = now_ms;
    }

    /// The sum at a time.
    fn at(&self, now_ms: u64) -> f64 {
        let passed = approximate(now_ms.saturating_sub(self.at_ms));
        self.sum * (-passed / approximate(RATE_MS)).exp()
    }

    /// What comes in so many milliseconds.
    fn within(&self, now_ms: u64, ms: u64) -> f64 {
        self.at(now_ms) * approximate(ms) / approximate(RATE_MS)
    }
}

/// A number as a float.
#[expect(clippy::cast_precision_loss, reason = "for estimates")]
fn approximate(number: u64) -> f64 {
    number as f64
}

impl Exchange {
    /// The exchange of these counters.
    pub(super) fn new(limiter: Arc<Limiter>) -> Exchange {
        Exchange { limiter, peers: Mutex::default() }
    }

    /// Locks what is known of the others.
    fn peers(&self) -> MutexGuard<'_, BTreeMap<MemberId, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A location needs everything that is known here: a link to it has come up, or it has missed something.
    pub fn wanted(&self, peer: MemberId) {
        let mut peers = self.peers();
        let peer = peers.entry(peer).or_default();
        (peer.cursor, peer.unlinked_ms) = (Some(StateCursor::default()), None);
        peer.waiting.clear();
    }

    /// The link to a location has ended.
    pub fn ended(&self, peer: MemberId) {
        let now_ms = self.limiter.now_ms();
        let mut peers = self.peers();
        let peer = peers.entry(peer).or_default();
        (peer.cursor, peer.unlinked_ms) = (None, Some(now_ms));
        peer.waiting.clear();
    }

    /// A location has sent a piece.
    pub fn received(&self, from: MemberId, piece: &[u8]) {
        let now_ms = self.limiter.now_ms();
        let merged = self.limiter.merge_usage_at(now_ms, piece);
        let mut peers = self.peers();
        let peer = peers.entry(from).or_default();
        match merged {
            Ok(merged) => peer.rate.add(now_ms, merged.cost),
            Err(error) if !peer.is_logged => {
                peer.is_logged = true;
                tracing::warn!(%from, "a location sends counts of global limits that are ignored: {error}");
            }
            Err(_) => {}
        }
    }

    /// The pieces that are due now, in a cluster of so many locations. Call it about every 20 ms.
    pub fn next(&self, locations: u32) -> Pieces {
        let changes = self.limiter.global_changes(locations);
        let mut pieces: Pieces =
            changes.into_iter().map(|piece| (None, Bytes::from(piece))).collect();
        for (id, peer) in self.peers().iter_mut() {
            while peer.waiting.is_empty()
                && let Some(cursor) = &mut peer.cursor
            {
                match self.limiter.global_state(cursor) {
                    Some(mut state) => peer.waiting.append(&mut state),
                    None => peer.cursor = None,
                }
            }
            let some = peer.waiting.len().min(STATE_PIECES);
            pieces.extend(peer.waiting.drain(..some).map(|piece| (Some(*id), piece.into())));
        }
        pieces
    }

    /// The state that the metrics export, if the counters are shared. Locations that have left the cluster, which these
    /// are not among, do not count any more.
    #[must_use]
    pub fn gauges(&self, is_member: impl Fn(MemberId) -> bool) -> Option<GlobalGauges> {
        if !self.limiter.is_global() {
            return None;
        }
        let (now_ms, stats) = (self.limiter.now_ms(), self.limiter.global_stats());
        let (mut oldest_ms, mut overshoot) = (0, 0.0);
        let mut peers = self.peers();
        peers.retain(|id, _| is_member(*id));
        for peer in peers.values() {
            let unlinked = peer.unlinked_ms.map(|since| now_ms.saturating_sub(since));
            let age = unlinked.unwrap_or(0) + LINKED_AGE_MS;
            oldest_ms = age.max(oldest_ms);
            overshoot += peer.rate.within(now_ms - unlinked.unwrap_or(0), age);
        }
        Some(GlobalGauges {
            keys: stats.keys,
            others: stats.others,
            oldest_ms: if stats.keys == 0 { 0 } else { oldest_ms },
            overshoot,
            evictions: stats.evictions,
            refused: stats.refused,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratelimit::{Limit, Request};

    use super::*;

    const FRA: MemberId = MemberId([1; 16]);
    const AMS: MemberId = MemberId([2; 16]);

    fn exchange() -> Exchange {
        let builder = Limiter::builder().memory_bytes(1 << 16).global([9; 16]);
        Exchange::new(Arc::new(builder.build().unwrap()))
    }

    fn used(exchange: &Exchange, keys: u32) -> u32 {
        let limit = Limit::fixed(1, Duration::from_secs(86_400)).and_then(|it| it.global(true));
        let denied = |key: &u32| {
            let key = key.to_be_bytes();
            !exchange.limiter.peek(&Request::new("n", &key, limit.unwrap())).allowed
        };
        u32::try_from((0..keys).filter(denied).count()).unwrap()
    }

    fn use_up(exchange: &Exchange, keys: u32) {
        let limit = Limit::fixed(1, Duration::from_secs(86_400)).and_then(|it| it.global(true));
        for key in 0..keys {
            let key = key.to_be_bytes();
            assert!(exchange.limiter.check(&Request::new("n", &key, limit.unwrap())).allowed);
        }
    }

    #[test]
    fn a_location_that_links_is_sent_everything_and_then_only_changes() {
        let (one, other) = (exchange(), exchange());
        use_up(&one, 50);
        assert!(one.next(2).iter().all(|(to, _)| to.is_none()), "there is no link yet");
        one.wanted(AMS);
        loop {
            let pieces = one.next(2);
            if pieces.is_empty() {
                break;
            }
            assert!(pieces.iter().all(|(to, _)| *to == Some(AMS)));
            pieces.iter().for_each(|(_, piece)| other.received(FRA, piece));
        }
        assert_eq!(used(&other, 50), 50);
        use_up(&one, 0);
        assert!(one.next(2).is_empty(), "nothing has changed");
    }

    #[test]
    fn the_age_of_counts_grows_without_a_link_and_ends_with_the_member() {
        let exchange = exchange();
        use_up(&exchange, 1);
        exchange.wanted(AMS);
        let gauges = |exchange: &Exchange| exchange.gauges(|_| true).unwrap();
        assert_eq!(gauges(&exchange).oldest_ms, LINKED_AGE_MS);
        exchange.ended(AMS);
        assert!(gauges(&exchange).oldest_ms >= LINKED_AGE_MS);
        exchange.peers().get_mut(&AMS).unwrap().unlinked_ms = Some(0);
        assert!(gauges(&exchange).oldest_ms > 1_000_000);
        assert_eq!(exchange.gauges(|_| false).unwrap().oldest_ms, 0);
    }

    #[test]
    fn what_is_no_usage_is_ignored() {
        let exchange = exchange();
        exchange.received(AMS, b"\x01\xff\xff");
        exchange.received(AMS, b"");
        let gauges = exchange.gauges(|_| true).unwrap();
        assert_eq!((gauges.keys, gauges.others), (0, 0));
    }
}
