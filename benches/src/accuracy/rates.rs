//! The admitted requests of keys, grouped by their rate.

use super::{
    chart::{Axis, Panel},
    traffic::{Span, Traffic},
};

/// Keys grouped by the ratio of their requests to their limit: two groups per doubling, from a
/// sixteenth to sixteen times. The outer groups include all lower and higher ratios.
#[derive(Debug)]
pub struct Rates {
    /// The number of requests that the limit allows a key in all windows.
    allowed: f64,
    /// For each group, the number of requests that each side admitted, the exact log first.
    groups: [[u64; 5]; GROUPS],
}

const GROUPS: usize = 17;
/// The group of keys with as many requests as the limit allows.
const AT_LIMIT: f64 = 8.0;
const PER_DOUBLING: f64 = 2.0;

impl Rates {
    /// No keys yet.
    #[must_use]
    pub fn new(traffic: Traffic, span: Span) -> Rates {
        let allowed = f64::from(span.limit) * traffic.windows(span) as f64;
        Rates { allowed, groups: [[0; 5]; GROUPS] }
    }

    /// Adds a key with this many requests, and the requests that each side admitted.
    pub fn add(&mut self, requests: usize, sides: &[Vec<u64>]) {
        let group = PER_DOUBLING * (requests as f64 / self.allowed).log2() + AT_LIMIT;
        #[expect(clippy::cast_possible_truncation, reason = "clamped to the groups")]
        #[expect(clippy::cast_sign_loss, reason = "clamped to the groups")]
        let group = group.round().clamp(0.0, (GROUPS - 1) as f64) as usize;
        for (sum, side) in self.groups[group].iter_mut().zip(sides) {
            *sum += side.len() as u64;
        }
    }

    /// Draws, for each group, how much more than the exact log each side admits.
    #[must_use]
    pub fn panel(&self, traffic: Traffic) -> Panel {
        let net = |[exact, ..]: &[u64; 5], side: u64| 100.0 * (side as f64 / *exact as f64 - 1.0);
        let points = |side: usize| {
            let groups = self.groups.iter().enumerate().filter(|(_, [exact, ..])| *exact > 0);
            groups.map(|(at, group)| (at as f64, net(group, group[side]))).collect()
        };
        let rates = ["L/16", "L/4", "L", "4L", "16L"];
        let marks = rates.iter().enumerate().map(|(n, rate)| (4.0 * n as f64, (*rate).into()));
        let percents = [-10, 0, 10].map(|percent| (f64::from(percent), format!("{percent} %")));
        Panel {
            title: format!("{}: net, by rate", traffic.name()),
            lines: (0..5).map(points).collect(),
            across: Axis { from: 0.0, to: (GROUPS - 1) as f64, marks: marks.collect() },
            up: Axis { from: -15.0, to: 15.0, marks: percents.into() },
            is_stepped: false,
        }
    }
}
