//! Random numbers with the distributions of real traffic.
//!
//! A few lines each: the crates for them would bring a second generator beside [`Random`], whose
//! sequences never change.

use std::f64::consts::TAU;

use crate::data::Random;

/// A number from 0, exclusive, to 1.
fn unit(random: &mut Random) -> f64 {
    // A float holds 53 bits exactly.
    ((random.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

/// A number with the exponential distribution of this mean: the time between two arrivals of a
/// Poisson process.
pub fn exponential(random: &mut Random, mean: f64) -> f64 {
    -mean * unit(random).ln()
}

/// A number whose logarithm has a normal distribution with deviation `sigma`, with this median (Box
/// and Muller: "A Note on the Generation of Random Normal Deviates", 1958).
pub fn log_normal(random: &mut Random, median: f64, sigma: f64) -> f64 {
    let radius = (-2.0 * unit(random).ln()).sqrt();
    let normal = radius * (TAU * unit(random)).cos();
    median * (sigma * normal).exp()
}

/// Ranks from 0, where rank `r` has a probability proportional to `1 / (r + 1)^exponent`, like the
/// popularity of keys.
pub struct Zipf(Vec<f64>);

impl Zipf {
    /// A distribution over this many ranks, at least one.
    #[must_use]
    pub fn new(ranks: u32, exponent: f64) -> Zipf {
        let mut sum = 0.0;
        let weigh = |rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        };
        Zipf((1..=ranks).map(weigh).collect())
    }

    /// The next rank.
    pub fn next(&self, random: &mut Random) -> usize {
        let sum = self.0.last().copied().unwrap_or_default();
        let at = unit(random) * sum;
        self.0.partition_point(|&up_to| up_to < at).min(self.0.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u32 = 200_000;

    /// The mean of many numbers, and the share of them below `bound`.
    fn sample(bound: f64, draw: impl Fn(&mut Random) -> f64) -> (f64, f64) {
        let mut random = Random::new(1);
        let (mut sum, mut below) = (0.0, 0);
        for _ in 0..DRAWS {
            let number = draw(&mut random);
            sum += number;
            below += u32::from(number < bound);
        }
        (sum / f64::from(DRAWS), f64::from(below) / f64::from(DRAWS))
    }

    #[test]
    fn exponential_numbers_have_their_mean_and_a_median_of_ln_2() {
        let (mean, below) = sample(7.0 * 2_f64.ln(), |random| exponential(random, 7.0));
        assert!((mean - 7.0).abs() < 0.1, "{mean}");
        assert!((below - 0.5).abs() < 0.01, "{below}");
    }

    #[test]
    fn log_normal_numbers_have_their_median_and_mean() {
        let (mean, below) = sample(3.0, |random| log_normal(random, 3.0, 1.0));
        assert!((mean - 3.0 * 0.5_f64.exp()).abs() < 0.1, "{mean}");
        assert!((below - 0.5).abs() < 0.01, "{below}");
    }

    #[test]
    fn ranks_have_the_probability_of_the_exponent() {
        let zipf = Zipf::new(4, 1.0);
        for (rank, share) in [(0, 0.48), (1, 0.24), (2, 0.16), (3, 0.12)] {
            let is_rank = |random: &mut Random| f64::from(u8::from(zipf.next(random) == rank));
            let (mean, _) = sample(0.5, is_rank);
            assert!((mean - share).abs() < 0.01, "rank {rank}: {mean}");
        }
    }
}
