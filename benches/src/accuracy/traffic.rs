//! The traffic with which limiters are measured.

use std::ops::Range;

use crate::{data::Random, distribution};

/// A kind of traffic: when requests arrive, for a limit and a period.
#[derive(Clone, Copy, Debug)]
pub enum Traffic {
    /// Random requests, this many times the limit in a period on average.
    Poisson(f64),
    /// Random requests at ten times the limit for a twelfth of the period on average, then none for
    /// nine twelfths.
    Bursts,
    /// As many requests as the limit allows, at the start of each window.
    AtEachStart,
    /// Twice the limit in two milliseconds, half of it on either side of a window's start; then
    /// none for two windows.
    OverABoundary,
    /// The limit just before a window's start, then a request each 50 ms through that window; then
    /// none for two windows.
    BeforeABoundary,
    /// Many keys with random requests, whose rates have a log-normal distribution.
    ManyKeys,
}

/// The kinds, in the order of the table.
pub const ALL: [Traffic; 8] = [
    Traffic::Poisson(0.5),
    Traffic::Poisson(0.9),
    Traffic::Poisson(2.0),
    Traffic::Bursts,
    Traffic::AtEachStart,
    Traffic::OverABoundary,
    Traffic::BeforeABoundary,
    Traffic::ManyKeys,
];

/// The number of keys of [`Traffic::ManyKeys`].
const MANY_KEYS: u64 = 20_000;
/// The standard deviation of the logarithm of a key's rate.
const SIGMA: f64 = 1.5;
/// The median rate of a key, as a share of the limit.
const MEDIAN: f64 = 0.1;

/// A limit, and the time for which it is observed.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The number of requests allowed in a period.
    pub limit: u32,
    /// The length of the period, and of a window.
    pub period_ms: u64,
    /// The start of time, which is a window's start.
    pub start_ms: u64,
    /// The number of observed windows, for traffic with one key.
    pub windows: u64,
}

impl Traffic {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Traffic::Poisson(share) => format!("Poisson, {share} x the limit"),
            Traffic::Bursts => "bursts: about 5 s at 10 x, 45 s off".into(),
            Traffic::AtEachStart => "the limit at every window's start".into(),
            Traffic::OverABoundary => "2 x the limit in 2 ms, over a boundary".into(),
            Traffic::BeforeABoundary => "the limit before a boundary, then hammering".into(),
            Traffic::ManyKeys => format!("{MANY_KEYS} keys, log-normal rates"),
        }
    }

    /// The number of keys.
    #[must_use]
    pub fn keys(self) -> u64 {
        if matches!(self, Traffic::ManyKeys) { MANY_KEYS } else { 1 }
    }

    /// The number of observed windows: with many keys a few windows suffice.
    #[must_use]
    pub fn windows(self, span: Span) -> u64 {
        if matches!(self, Traffic::ManyKeys) { span.windows.min(30) } else { span.windows }
    }

    /// When the requests of a key arrive, in order.
    #[must_use]
    pub fn times(self, key: u64, span: Span) -> Vec<u64> {
        let Span { limit, period_ms: period, start_ms: start, .. } = span;
        let windows = self.windows(span);
        let mut random = Random::new(Random::new(key).next());
        let starts = (0..windows).map(|window| start + window * period);
        let each_third = starts.clone().skip(1).step_by(3);
        let end = start + windows * period;
        match self {
            Traffic::Poisson(share) => poisson(&mut random, share, span, start..end),
            Traffic::Bursts => bursts(&mut random, span, start..end),
            Traffic::AtEachStart => starts.flat_map(|t| (0..limit).map(move |_| t)).collect(),
            Traffic::OverABoundary => each_third
                .flat_map(|t| [t - 1, t])
                .flat_map(|t| (0..limit).map(move |_| t))
                .collect(),
            Traffic::BeforeABoundary => each_third
                .flat_map(|t| {
                    let before = (0..limit).map(move |_| t - 1);
                    // The last one arrives before the first one can leave an exact log.
                    before.chain((t..t + period - 1).step_by(50))
                })
                .collect(),
            Traffic::ManyKeys => {
                let share = distribution::log_normal(&mut random, MEDIAN, SIGMA);
                poisson(&mut random, share, span, start..end)
            }
        }
    }
}

/// Random requests during bursts of random length.
fn bursts(random: &mut Random, span: Span, within: Range<u64>) -> Vec<u64> {
    let twelfth = span.period_ms as f64 / 12.0;
    let length = |random: &mut Random, mean| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the span is a few minutes"
        )]
        let ms = distribution::exponential(random, mean) as u64;
        ms
    };
    let mut times = Vec::new();
    let mut at = within.start;
    while at < within.end {
        let until = (at + length(random, twelfth)).min(within.end);
        times.extend(poisson(random, 10.0, span, at..until));
        at = until + length(random, 9.0 * twelfth);
    }
    times
}

/// Random requests, `share` times the limit in a period.
fn poisson(random: &mut Random, share: f64, span: Span, within: Range<u64>) -> Vec<u64> {
    let mean_ms = span.period_ms as f64 / (share * f64::from(span.limit));
    let length = (within.end - within.start) as f64;
    let mut at = 0.0;
    let mut times = Vec::new();
    loop {
        at += distribution::exponential(random, mean_ms);
        if at >= length {
            return times;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a time within the span")]
        #[expect(clippy::cast_sign_loss, reason = "a time within the span")]
        times.push(within.start + at as u64);
    }
}
