//! How long requests took.

use std::time::Duration;

/// Each power of two has so many buckets: a percentile is at most 1/64 too large.
const PARTS: u64 = 64;

/// Counts times in buckets whose width is 1/64 of their value.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    /// How many times are in each bucket.
    buckets: Vec<u64>,
    /// How many times there are.
    count: u64,
    /// The longest.
    longest: Duration,
}

/// The bucket of a time in microseconds.
///
/// Times below [`PARTS`] have a bucket each.
fn bucket(us: u64) -> usize {
    if us < PARTS {
        return usize::try_from(us).unwrap_or(usize::MAX);
    }
    let shift = us.ilog2() - PARTS.ilog2();
    let index = u64::from(shift) * PARTS + (us >> shift);
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The longest time of a bucket, in microseconds.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PARTS {
        return bucket;
    }
    let shift = bucket / PARTS - 1;
    ((bucket - shift * PARTS + 1) << shift) - 1
}

impl Histogram {
    /// Counts a time.
    pub(super) fn add(&mut self, time: Duration) {
        let bucket = bucket(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
        self.longest = self.longest.max(time);
    }

    /// Counts the times of another one.
    pub(super) fn merge(&mut self, other: &Histogram) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (count, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *count += more;
        }
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }

    /// How many times there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The longest time.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    /// The time that so many of 1000 requests do not exceed.
    ///
    /// It is the upper end of a bucket, and never more than the longest time; zero if no time was counted.
    pub(super) fn permille(&self, permille: u64) -> Duration {
        let rank = (self.count * permille).div_ceil(1000).max(1);
        let mut below = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            below += count;
            if below >= rank {
                return Duration::from_micros(upper(bucket)).min(self.longest);
            }
        }
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_a_bucket_that_is_hardly_larger() {
        for us in (0..2000).chain([4095, 4096, 1_000_000, 60_000_000, u64::MAX / 2]) {
            let upper = upper(bucket(us));
            assert!(us <= upper && upper - us <= us / PARTS, "{us} {upper}");
        }
    }

    #[test]
    fn percentiles_are_those_of_all_times() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        for ms in 1..=1000 {
            let histogram = if ms % 2 == 0 { &mut one } else { &mut other };
            histogram.add(Duration::from_millis(ms));
        }
        one.merge(&other);
        assert_eq!((one.count(), one.longest()), (1000, Duration::from_secs(1)));
        for permille in [500, 900, 990, 999, 1000] {
            let found = one.permille(permille).as_secs_f64() * 1000.0;
            let expected = f64::from(u32::try_from(permille).unwrap());
            assert!(found >= expected && found <= expected * 1.016, "{permille}: {found}");
        }
        assert_eq!(Histogram::default().permille(500), Duration::ZERO);
    }
}
