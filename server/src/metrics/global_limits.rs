//! Global limits: what is known of the other locations.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{Gauge, IntCounter, IntGauge, Registry};

use super::registry::{counter, gauge, number, register};

/// The metrics of global limits.
#[derive(Debug)]
pub(super) struct GlobalMetrics {
    /// Keys that count here or elsewhere.
    keys: IntGauge,
    /// Counts of other locations.
    others: IntGauge,
    /// The age of the oldest.
    oldest: Gauge,
    /// The estimated overshoot.
    overshoot: Gauge,
    /// Keys that were evicted early.
    evictions: Total,
    /// Counts that were received and not used.
    refused: Total,
}

/// A counter that another part of the process counts.
#[derive(Debug)]
struct Total {
    /// What is exported.
    counter: IntCounter,
    /// The count at the last export.
    seen: AtomicU64,
}

impl Total {
    /// Takes over the count.
    fn set(&self, now: u64) {
        let seen = self.seen.fetch_max(now, Ordering::Relaxed);
        self.counter.inc_by(now.saturating_sub(seen));
    }
}

/// The state of global limits, read when the metrics are exported.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GlobalGauges {
    /// Keys that count here or elsewhere.
    pub keys: u64,
    /// Counts of other locations, each of a key and of a process that has counted it.
    pub others: u64,
    /// The age of the counts of the location that was heard least recently, in milliseconds.
    pub oldest_ms: u64,
    /// How much the other locations may have allowed that is not known here, estimated from what they allowed before.
    pub overshoot: f64,
    /// Keys that were evicted since the start while they still counted.
    pub evictions: u64,
    /// Counts of windows that had passed or lay ahead.
    pub refused: u64,
}

impl GlobalMetrics {
    /// Registers the metrics.
    pub(super) fn new(r: &Registry) -> GlobalMetrics {
        let total = |name, help| Total { counter: counter(r, name, help), seen: AtomicU64::new(0) };
        let estimate = |name, help| register(r, Gauge::new(name, help));
        GlobalMetrics {
            keys: gauge(
                r,
                "waypost_limiter_global_keys",
                "Keys of global limits that count here or at other locations.",
            ),
            others: gauge(
                r,
                "waypost_limiter_global_others",
                "Counts of other locations that this one knows, of all keys of global limits.",
            ),
            oldest: estimate(
                "waypost_limiter_global_oldest_seconds",
                "The age of the counts of the location that was heard least recently.",
            ),
            overshoot: estimate(
                "waypost_limiter_global_overshoot",
                "Requests that other locations may have allowed and that are not known here, estimated.",
            ),
            evictions: total(
                "waypost_limiter_global_evictions_total",
                "Keys of global limits that were removed early to make room for others. If it grows, raise \
                 limiter-memory.",
            ),
            refused: total(
                "waypost_limiter_global_refused_total",
                "Counts of other locations that were not used, because their window had passed here or lay ahead. \
                 If it grows, compare the clocks.",
            ),
        }
    }

    /// Sets the metrics to the state.
    pub(super) fn set(&self, now: &GlobalGauges) {
        self.keys.set(number(now.keys));
        self.others.set(number(now.others));
        #[expect(clippy::cast_precision_loss, reason = "an age")]
        self.oldest.set(now.oldest_ms as f64 / 1000.0);
        self.overshoot.set(now.overshoot);
        self.evictions.set(now.evictions);
        self.refused.set(now.refused);
    }
}
