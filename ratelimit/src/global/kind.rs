//! What the counters of a global limit have in common, at all locations.

use crate::algorithm::{Holding, MAX_PERIOD_MS, Window, fixed, sliding};
use crate::class::Weight;
use crate::limit::{Algorithm, Limit};

/// The largest part of a limit that all other locations together may have allowed and not reported yet, apart from what
/// is under way: one in this many.
const UNREPORTED: u32 = 20;
/// How long a location keeps a count below the threshold: a twentieth of the period, within these bounds.
const PATIENCE_MS: (u64, u64) = (20, 1000);

/// A window algorithm, a period and a count: what other locations must know of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) period: u64,
    pub(crate) count: u32,
    pub(crate) is_fixed: bool,
    pub(crate) is_guest: bool,
}

impl Kind {
    /// Returns the kind of a limit, which is not GCRA.
    pub(crate) fn of(limit: &Limit) -> Kind {
        Kind {
            period: limit.period_ms(),
            count: limit.count(),
            is_fixed: limit.algorithm() == Algorithm::Fixed,
            is_guest: limit.is_guest(),
        }
    }

    /// Returns whether there is such a limit.
    pub(super) fn is_valid(self) -> bool {
        (1..=MAX_PERIOD_MS).contains(&self.period) && self.count <= self.most()
    }

    /// Returns whether the counters of two kinds are the same: their counts and who named them may differ.
    pub(super) fn is_same_window(self, other: Kind) -> bool {
        (self.period, self.is_fixed) == (other.period, other.is_fixed)
    }

    /// Returns the most that a counter can hold.
    pub(super) fn most(self) -> u32 {
        if self.is_fixed { u32::MAX } else { sliding::MAX_COUNT }
    }

    /// Returns the counts of a payload, of the windows before `index` and of `index`.
    pub(super) fn counts(self, payload: u64, index: u64) -> [u32; 2] {
        match self.is_fixed {
            true => fixed::counts(payload, index),
            false => sliding::counts(payload, index),
        }
    }

    /// Returns the payload with these counts.
    pub(super) fn payload(self, index: u64, counts: [u32; 2]) -> u64 {
        match self.is_fixed {
            true => fixed::payload(index, counts),
            false => sliding::payload(index, counts),
        }
    }

    /// Returns how much of its limit a payload holds, and for how long.
    pub(super) fn weight(self, payload: u64, now: u64) -> Weight {
        let held = match self.is_fixed {
            true => fixed::holding(payload, Window::aligned(self.period, now)),
            false => sliding::holding(payload, self.period, now),
        };
        match held {
            Holding { cost: 0, .. } => Weight::default(),
            held => Weight::new(held, f64::from(self.count.max(1))),
        }
    }

    /// Returns how much one of this many locations may have allowed before it reports it at once: together they keep
    /// less than a twentieth of the limit.
    pub(super) fn threshold(self, locations: u32) -> u32 {
        (self.count / UNREPORTED / locations.max(1)).max(1)
    }

    /// Returns after how many milliseconds a location reports what is below the threshold.
    pub(super) fn patience(self) -> u64 {
        (self.period / 20).clamp(PATIENCE_MS.0, PATIENCE_MS.1)
    }
}
