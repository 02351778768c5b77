//! One direction of one leg: computes when a packet arrives, if it does.

use std::time::Duration;

use waypost_disk_tests::rng::Rng;

use crate::Conditions;

/// The size of the headers of UDP and IPv4, which also use a real link's rate.
const HEAD_BYTES: usize = 28;

/// One direction of one leg.
#[derive(Debug)]
pub(crate) struct Path {
    rng: Rng,
    /// When the last accepted packet leaves the queue.
    free_at: Duration,
}

/// The arrival times of a packet: none, one or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrivals {
    pub(crate) first: Option<Duration>,
    pub(crate) second: Option<Duration>,
}

impl Path {
    pub(crate) fn new(rng: Rng) -> Path {
        Path { rng, free_at: Duration::ZERO }
    }

    /// Accepts a packet of this size at `now`. Times must not decrease.
    pub(crate) fn take(
        &mut self,
        now: Duration,
        conditions: &Conditions,
        bytes: usize,
    ) -> Arrivals {
        let Some(sent_at) = self.send(now, conditions, bytes) else {
            return Arrivals { first: None, second: None };
        };
        // A packet that is lost on the way has used its share of the rate.
        let is_lost = self.chance(conditions.loss);
        let first = (!is_lost).then(|| sent_at + self.flight(conditions));
        let is_repeated = !is_lost && self.chance(conditions.duplication);
        let second = is_repeated.then(|| sent_at + self.flight(conditions));
        Arrivals { first, second }
    }

    /// When the packet leaves the queue; none if the queue is full.
    fn send(&mut self, now: Duration, conditions: &Conditions, bytes: usize) -> Option<Duration> {
        let Some(rate) = conditions.bits_per_second else { return Some(now) };
        let begin = self.free_at.max(now);
        let room = time_of(conditions.queue_bytes, rate.get());
        let end = begin + time_of(bytes + HEAD_BYTES, rate.get());
        // A packet that finds the link idle needs no space in the queue.
        if begin > now && end - now > room {
            return None;
        }
        self.free_at = end;
        Some(end)
    }

    fn flight(&mut self, conditions: &Conditions) -> Duration {
        let Conditions { delay, jitter, .. } = *conditions;
        if jitter.is_zero() {
            return delay;
        }
        let width = u64::try_from(2 * jitter.as_nanos()).unwrap_or(u64::MAX - 1);
        let offset = Duration::from_nanos(self.rng.between(0, width));
        (delay + offset).saturating_sub(jitter)
    }

    fn chance(&mut self, probability: f64) -> bool {
        // An f64 represents a number of 53 bits exactly.
        probability > 0.0 && ((self.rng.next_u64() >> 11) as f64) < probability * 2f64.powi(53)
    }
}

/// How long this many bytes take at this rate.
fn time_of(bytes: usize, bits_per_second: u64) -> Duration {
    let nanos = bytes as u128 * 8 * 1_000_000_000 / u128::from(bits_per_second);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 4))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn path(seed: u64) -> Path {
        Path::new(Rng::new(seed))
    }

    /// The arrival times of `n` packets of 1,000 bytes, one each millisecond, relative to their
    /// sending.
    fn run(
        seed: u64,
        n: u32,
        conditions: &Conditions,
    ) -> Vec<(Option<Duration>, Option<Duration>)> {
        let mut path = path(seed);
        let mut take = |number| {
            let now = MS * number;
            let arrivals = path.take(now, conditions, 1000);
            (arrivals.first.map(|at| at - now), arrivals.second.map(|at| at - now))
        };
        (0..n).map(&mut take).collect()
    }

    #[test]
    fn by_default_a_packet_arrives_once_without_delay() {
        let all = run(1, 100, &Conditions::default());
        assert!(all.iter().all(|arrivals| *arrivals == (Some(Duration::ZERO), None)));
    }

    #[test]
    fn all_packets_have_the_same_delay_and_jitter_varies_it() {
        let delayed = Conditions::delayed(20 * MS);
        assert!(run(1, 100, &delayed).iter().all(|(first, _)| *first == Some(20 * MS)));
        let jittery = Conditions { jitter: 15 * MS, ..delayed };
        let mut times: Vec<_> = run(1, 1000, &jittery).iter().map(|it| it.0.unwrap()).collect();
        assert!(times.windows(2).any(|two| two[1] + MS < two[0]), "no packet overtakes another");
        times.sort();
        assert!(times[0] >= 5 * MS && times[999] <= 35 * MS, "{:?} {:?}", times[0], times[999]);
        assert!(times[0] < 6 * MS && times[999] > 34 * MS && times[500].abs_diff(20 * MS) < 2 * MS);
        // With more jitter than delay some packets arrive at once, and none before it was sent.
        let wild = Conditions { jitter: 60 * MS, ..delayed };
        assert!(run(1, 1000, &wild).iter().any(|(first, _)| *first == Some(Duration::ZERO)));
    }

    #[test]
    fn loss_and_duplication_have_the_configured_probability() {
        let bad = Conditions { loss: 0.05, duplication: 0.1, ..Conditions::default() };
        let all = run(7, 20_000, &bad);
        let lost = all.iter().filter(|(first, _)| first.is_none()).count();
        let twice = all.iter().filter(|(_, second)| second.is_some()).count();
        // Five standard deviations around the mean.
        assert!((846..=1154).contains(&lost), "{lost} of 20,000 lost");
        assert!((1693..=2107).contains(&twice), "{twice} of 20,000 repeated");
        assert!(
            all.iter().all(|it| it.0.is_some() || it.1.is_none()),
            "a lost packet was duplicated"
        );
        let none = Conditions { loss: 1.0, ..Conditions::default() };
        assert!(run(7, 1000, &none).iter().all(|it| *it == (None, None)));
    }

    #[test]
    fn a_seed_repeats_its_choices() {
        let bad = Conditions { jitter: MS, loss: 0.3, duplication: 0.3, ..Conditions::default() };
        assert_eq!(run(3, 200, &bad), run(3, 200, &bad));
        assert_ne!(run(3, 200, &bad), run(4, 200, &bad));
    }

    #[test]
    fn a_rate_spaces_packets_and_drops_the_tail_of_a_full_queue() {
        // 1,028 bytes on the wire take 8.224 ms.
        let narrow = Conditions {
            delay: MS,
            bits_per_second: NonZeroU64::new(1_000_000),
            queue_bytes: 3_100,
            ..Conditions::default()
        };
        let one = Duration::from_micros(8_224);
        let mut path = path(1);
        let burst: Vec<_> = (0..5).map(|_| path.take(MS, &narrow, 1000).first).collect();
        let at = |n: u32| Some(2 * MS + one * n);
        assert_eq!(burst, [at(1), at(2), at(3), None, None]);
        // After one packet has left the queue there is space for one.
        let later = path.take(MS + one, &narrow, 1000).first;
        assert_eq!(later, at(4));
        assert_eq!(path.take(MS + one, &narrow, 1000).first, None);
        // An idle link accepts even a packet that is larger than its queue.
        let idle = Conditions { queue_bytes: 0, ..narrow };
        assert_eq!(path.take(100 * MS, &idle, 1000).first, Some(101 * MS + one));
    }
}
