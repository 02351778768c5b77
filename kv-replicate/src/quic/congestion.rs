//! Congestion control: CUBIC (RFC 9438), which is told only of losses that show congestion.
//!
//! CUBIC takes every loss for congestion. Over a long link that loses one packet in a hundred at random, it therefore sends
//! less than a megabit per second. Here a loss counts as congestion if the round-trip time shows that packets wait in a
//! queue, or if more packets of a round trip are lost than [`TOLERATED`], which a link without a queue, or a policer,
//! does. So this location shares a full queue with other senders as CUBIC does. In doubt a loss counts: if
//! a path has become longer, every loss does.

use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, Cubic, CubicConfig};
use quinn_proto::RttEstimator;

/// The share of the packets of a round trip that may be lost at random: that of BBRv2 and v3
/// (draft-ietf-ccwg-bbr).
const TOLERATED: f64 = 0.02;

/// By how many standard deviations the losses of a round trip must exceed that share, so that chance seldom does.
const DEVIATIONS: f64 = 3.0;

/// A queue is seen once it makes round trips longer by this share of the shortest one, or by [`LEAST_QUEUE`].
const QUEUE_SHARE: u32 = 16;

/// A shorter queue is not told from the noise of timers.
const LEAST_QUEUE: Duration = Duration::from_millis(2);

/// Makes the congestion control of connections.
#[derive(Debug, Default)]
pub(super) struct Tolerant(Arc<CubicConfig>);

impl ControllerFactory for Tolerant {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(TolerantCubic {
            cubic: Cubic::new(Arc::clone(&self.0), now, current_mtu),
            losses: Losses::new(current_mtu),
            since: now,
        })
    }
}

/// CUBIC behind a filter of losses.
#[derive(Clone, Debug)]
struct TolerantCubic {
    /// The controller that decides.
    cubic: Cubic,
    /// Decides which losses it is told of.
    losses: Losses,
    /// The beginning of time for `losses`.
    since: Instant,
}

impl TolerantCubic {
    /// A time, for `losses`.
    fn time(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.since)
    }
}

impl Controller for TolerantCubic {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.cubic.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        let at = (self.time(sent), self.time(now));
        self.losses.acknowledged(at, bytes, (rtt.min(), rtt.get()));
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.cubic.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        let at = (self.time(sent), self.time(now));
        // A mark of the network (ECN) loses no bytes.
        let is_told = is_persistent_congestion || lost_bytes == 0;
        if self.losses.is_congestion(at, lost_bytes) || is_told {
            self.losses.told(at.1);
            self.cubic.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.losses.packet_bytes = f64::from(new_mtu);
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.cubic.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.cubic.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// The losses of a round trip. Times are those since the connection began.
#[derive(Clone, Debug)]
struct Losses {
    /// The bytes of a packet.
    packet_bytes: f64,
    /// When the round trip began: it ends with the first acknowledgement of a packet that was sent later.
    began: Duration,
    /// The bytes that were acknowledged since then.
    acknowledged: u64,
    /// The bytes that were lost since then, of packets that were sent after the last congestion.
    lost: u64,
    /// The bytes of the round trip before.
    before: u64,
    /// When congestion was last seen.
    congested_at: Duration,
    /// The shortest round trip, and a mean of the latest ones.
    round_trip: (Duration, Duration),
}

impl Losses {
    /// Nothing is lost yet.
    fn new(packet_bytes: u16) -> Losses {
        Losses {
            packet_bytes: f64::from(packet_bytes),
            began: Duration::ZERO,
            acknowledged: 0,
            lost: 0,
            before: 0,
            congested_at: Duration::ZERO,
            round_trip: (Duration::ZERO, Duration::ZERO),
        }
    }

    /// Bytes that were sent at a time are acknowledged at another. `round_trip` is the shortest one, and a mean of the
    /// latest ones.
    fn acknowledged(
        &mut self,
        (sent, now): (Duration, Duration),
        bytes: u64,
        round_trip: (Duration, Duration),
    ) {
        self.round_trip = round_trip;
        if sent > self.began {
            self.before = self.acknowledged + self.lost;
            (self.acknowledged, self.lost, self.began) = (0, 0, now);
        }
        self.acknowledged += bytes;
    }

    /// Whether the loss of bytes, of which the last were sent at this time, shows congestion.
    fn is_congestion(&mut self, (sent, _now): (Duration, Duration), bytes: u64) -> bool {
        if sent <= self.congested_at {
            // It is of a window that was reduced since.
            return false;
        }
        self.lost += bytes;
        self.is_queueing() || self.lost_packets() > self.tolerated_packets()
    }

    /// Congestion was seen.
    fn told(&mut self, now: Duration) {
        self.congested_at = now;
        self.lost = 0;
    }

    /// Whether packets wait in a queue on the way.
    fn is_queueing(&self) -> bool {
        let (shortest, mean) = self.round_trip;
        mean > shortest + (shortest / QUEUE_SHARE).max(LEAST_QUEUE)
    }

    /// The packets of the round trip that are lost.
    fn lost_packets(&self) -> f64 {
        self.lost as f64 / self.packet_bytes
    }

    /// The packets of a round trip that may be lost by chance.
    fn tolerated_packets(&self) -> f64 {
        let bytes = self.before.max(self.acknowledged + self.lost);
        let mean = TOLERATED * bytes as f64 / self.packet_bytes;
        mean + DEVIATIONS * mean.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: u64 = 1200;

    /// The round trips of a link of 200 ms whose queue holds nothing, and something.
    const IDLE: (Duration, Duration) = (ms(200), ms(205));
    const QUEUEING: (Duration, Duration) = (ms(200), ms(220));

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The losses after a round trip in which so many packets were acknowledged.
    fn after(packets: u64, round_trip: (Duration, Duration)) -> Losses {
        let mut losses = Losses::new(1200);
        losses.acknowledged((ms(1), ms(201)), PACKET, round_trip);
        losses.acknowledged((ms(150), ms(350)), (packets - 1) * PACKET, round_trip);
        losses.acknowledged((ms(202), ms(402)), PACKET, round_trip);
        losses
    }

    /// How many of so many lost packets, one after the other, are taken for random losses.
    fn tolerated(mut losses: Losses, most: u64) -> u64 {
        let sent = |n| (ms(203 + n), ms(403 + n));
        (0..most).take_while(|n| !losses.is_congestion(sent(*n), PACKET)).count() as u64
    }

    #[test]
    fn a_loss_is_congestion_if_packets_wait_in_a_queue() {
        assert_eq!(tolerated(after(1000, QUEUEING), 10), 0);
    }

    #[test]
    fn without_a_queue_one_packet_in_a_hundred_may_be_lost_and_not_one_in_ten() {
        for packets in [10, 100, 1000, 10_000] {
            let tolerated = tolerated(after(packets, IDLE), packets);
            assert!(tolerated >= packets / 50, "{tolerated} of {packets}");
            assert!(tolerated <= packets / 10, "{tolerated} of {packets}");
        }
    }

    #[test]
    fn the_losses_of_a_window_that_was_reduced_are_one_congestion() {
        let mut losses = after(100, QUEUEING);
        assert!(losses.is_congestion((ms(300), ms(500)), PACKET));
        losses.told(ms(500));
        assert!(!losses.is_congestion((ms(500), ms(700)), PACKET), "it was sent before");
        assert!(losses.is_congestion((ms(501), ms(701)), PACKET));
    }

    #[test]
    fn losses_of_different_round_trips_are_not_added() {
        let mut losses = after(100, IDLE);
        for n in 1..100 {
            let (sent, now) = (ms(200 * n + 203), ms(200 * n + 403));
            losses.acknowledged((sent, now), 99 * PACKET, IDLE);
            assert!(!losses.is_congestion((sent, now), PACKET), "round {n}");
        }
    }
}
