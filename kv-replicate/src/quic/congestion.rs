//! Congestion control: CUBIC (RFC 9438), which sees only losses that show congestion.
//!
//! CUBIC takes every loss for congestion. Over a long link that loses one packet in a hundred at random, it therefore
//! sends less than a megabit per second, and a short burst of losses costs it ten seconds. Here a loss counts as
//! congestion in three cases:
//!
//! - Even the fastest packets of a round trip have waited in a queue. The mean of the round trips does not show one: where
//!   processors are busy, most packets wait for them.
//! - More than [`TOLERATED`] are lost in two round trips one after the other, as by a link without a queue, or by a policer.
//! - More than [`BURST`] are lost in one.
//!
//! So this location yields to other senders where a queue grows by an eighth of the round trip, as on most links. Where
//! queues are shorter, it sees the losses of a full one only once they are more than the tolerated share by three
//! standard deviations, about 6 % of a hundred packets, and CUBIC flows beside it get less of such a link; how much less
//! was not measured. [`Tuning::catch_up_bytes_per_second`](super::Tuning::catch_up_bytes_per_second) bounds what catch-up
//! takes. In doubt a loss counts: if a path has become longer, every loss does.
//!
//! A loss without a queue is taken for a random one since TCP Veno (Fu and Liew, 2003). BBR decides without losses too;
//! quinn's is of its first version, and marked as experimental.

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

/// The share of the packets of a round trip whose loss is more than a passing burst.
const BURST: f64 = 0.25;

/// A queue is seen once it makes round trips longer by this share of the shortest one, and by [`LEAST_QUEUE`].
const QUEUE_SHARE: u32 = 8;

/// A shorter queue can't be distinguished from the noise of timers.
const LEAST_QUEUE: Duration = Duration::from_millis(5);

/// The first congestion window, of 32 packets; RFC 9002 recommends 10. A value of 64 KiB takes two round trips at first,
/// and not three.
const FIRST_WINDOW: u64 = 32 * 1200;

/// Makes the congestion control of connections.
#[derive(Debug)]
pub(super) struct Tolerant(Arc<CubicConfig>);

impl Default for Tolerant {
    fn default() -> Tolerant {
        let mut cubic = CubicConfig::default();
        cubic.initial_window(FIRST_WINDOW);
        Tolerant(Arc::new(cubic))
    }
}

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
    /// Decides which losses it sees.
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
        self.losses.acknowledged(at, bytes);
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
        let is_certain = is_persistent_congestion || lost_bytes == 0;
        if self.losses.is_congestion(at, lost_bytes) || is_certain {
            self.losses.reduced(at.1);
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
    /// Whether more of them were lost than is tolerated.
    lost_before: bool,
    /// When congestion was last seen.
    congested_at: Duration,
    /// The shortest time from the sending of a packet to its acknowledgement.
    shortest: Duration,
    /// The shortest such times of this round trip and of the one before.
    recent: [Duration; 2],
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
            lost_before: false,
            congested_at: Duration::ZERO,
            shortest: Duration::MAX,
            recent: [Duration::MAX; 2],
        }
    }

    /// Bytes that were sent at a time are acknowledged at another.
    fn acknowledged(&mut self, (sent, now): (Duration, Duration), bytes: u64) {
        if sent > self.began {
            self.lost_before = self.lost_packets() > self.tolerated_packets();
            self.before = self.acknowledged + self.lost;
            (self.acknowledged, self.lost, self.began) = (0, 0, now);
            self.recent = [Duration::MAX, self.recent[0]];
        }
        self.acknowledged += bytes;
        let took = now.saturating_sub(sent);
        self.shortest = self.shortest.min(took);
        self.recent[0] = self.recent[0].min(took);
    }

    /// Whether a loss shows congestion. `sent` is when the last lost bytes were sent.
    fn is_congestion(&mut self, (sent, now): (Duration, Duration), bytes: u64) -> bool {
        if sent <= self.congested_at {
            // It is of a window that was reduced since.
            return false;
        }
        self.lost += bytes;
        let lost = self.lost_packets();
        let is_lasting = self.lost_before && lost > self.tolerated_packets();
        let most = self.tolerated_packets().max(BURST * self.packets());
        is_lasting || lost > most || self.is_queueing(now)
    }

    /// The window was reduced because of congestion.
    fn reduced(&mut self, now: Duration) {
        self.congested_at = now;
        (self.lost, self.lost_before) = (0, false);
    }

    /// Whether packets wait in a queue on the way. At the beginning of a round trip the one before shows it too.
    fn is_queueing(&self, now: Duration) -> bool {
        let [this, before] = self.recent;
        let is_young = now.saturating_sub(self.began) < self.shortest / 4;
        let recent = if is_young { this.min(before) } else { this };
        let least = (self.shortest / QUEUE_SHARE).max(LEAST_QUEUE);
        recent < Duration::MAX && recent > self.shortest.saturating_add(least)
    }

    /// The packets of the round trip that are lost.
    fn lost_packets(&self) -> f64 {
        self.lost as f64 / self.packet_bytes
    }

    /// The packets of a round trip.
    fn packets(&self) -> f64 {
        self.before.max(self.acknowledged + self.lost) as f64 / self.packet_bytes
    }

    /// The packets of a round trip that may be lost by chance.
    fn tolerated_packets(&self) -> f64 {
        let mean = TOLERATED * self.packets();
        mean + DEVIATIONS * mean.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: u64 = 1200;

    /// The round trip of a link, and that through a queue.
    const IDLE: Duration = ms(200);
    const QUEUEING: Duration = ms(230);

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The losses on a link after two round trips in which packets took so long. So many were acknowledged in the
    /// last one.
    fn after(packets: u64, took: Duration) -> Losses {
        let mut losses = Losses::new(1200);
        losses.acknowledged((ms(1), ms(1) + IDLE), PACKET);
        for sent in [ms(300), ms(600)] {
            losses.acknowledged((sent, sent + took), PACKET);
            losses.acknowledged((sent, sent + 2 * took), (packets - 1) * PACKET);
        }
        losses.acknowledged((ms(900), ms(900) + took), PACKET);
        losses
    }

    /// How many of so many lost packets, one after the other, are not taken for congestion.
    fn tolerated(mut losses: Losses, most: u64) -> u64 {
        let sent = |n| (ms(901), ms(1200) + Duration::from_micros(n));
        (0..most).take_while(|n| !losses.is_congestion(sent(*n), PACKET)).count() as u64
    }

    #[test]
    fn a_loss_is_congestion_if_all_packets_wait_in_a_queue() {
        assert_eq!(tolerated(after(1000, QUEUEING), 10), 0);
        let mut losses = after(1000, QUEUEING);
        losses.acknowledged((ms(900), ms(900) + IDLE), PACKET);
        assert!(tolerated(losses, 10) > 5, "one packet waited for nothing");
    }

    #[test]
    fn a_round_trip_that_has_just_begun_with_late_packets_shows_no_queue() {
        let mut losses = after(1000, IDLE);
        losses.acknowledged((ms(1000), ms(1200)), 999 * PACKET);
        losses.acknowledged((ms(1101), ms(1101) + QUEUEING), PACKET);
        assert!(!losses.is_congestion((ms(1101), ms(1101) + QUEUEING), PACKET));
    }

    #[test]
    fn without_a_queue_a_burst_of_losses_is_not_congestion_unless_much_is_lost() {
        for packets in [10, 100, 1000, 10_000] {
            let tolerated = tolerated(after(packets, IDLE), packets);
            assert!(
                (packets / 5..=packets * 2 / 5).contains(&tolerated),
                "{tolerated} of {packets}"
            );
        }
    }

    /// Whether losing so many packets in a hundred, in two round trips one after the other, is congestion.
    fn lasting(percent: u64) -> bool {
        let mut losses = after(1000, IDLE);
        let mut is_congestion = false;
        for n in 0..2 {
            let sent = ms(1200 + 300 * n);
            losses.acknowledged((sent, sent + IDLE), (1000 - 10 * percent) * PACKET);
            let last = (sent + ms(1), sent + ms(1) + IDLE);
            is_congestion = losses.is_congestion(last, 10 * percent * PACKET);
        }
        is_congestion
    }

    #[test]
    fn one_packet_in_a_hundred_may_be_lost_all_the_time_and_not_one_in_twenty() {
        assert!(!lasting(1) && lasting(5));
    }

    #[test]
    fn the_losses_of_a_window_that_was_reduced_are_one_congestion() {
        let mut losses = after(100, QUEUEING);
        assert!(losses.is_congestion((ms(1000), ms(1220)), PACKET));
        losses.reduced(ms(1220));
        assert!(!losses.is_congestion((ms(1220), ms(1440)), PACKET), "it was sent before");
        assert!(losses.is_congestion((ms(1221), ms(1441)), PACKET));
    }
}
