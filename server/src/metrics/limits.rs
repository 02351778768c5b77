//! What is counted of rate limits.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::{counter, gauge, register};
use crate::rate_limits::Denied;

/// The counters of rate limits. The label `limit` is the name of a configured one; it is empty for
/// those that callers describe themselves, whose names nobody bounds.
#[derive(Debug)]
pub struct LimitMetrics {
    checks: IntCounterVec,
    denials: IntCounterVec,
    shadow_denials: IntCounterVec,
    counters: IntGauge,
    capacity: IntGauge,
    evictions: IntCounter,
    evictions_seen: AtomicU64,
    denied_keys: IntGaugeVec,
}

/// The counters of one limit.
#[derive(Clone, Debug)]
pub struct Tally {
    checks: IntCounter,
    denials: IntCounter,
    shadow_denials: IntCounter,
}

impl Tally {
    /// Counts a check: whether it was denied, and whether it was let through only because its limit
    /// is in shadow mode.
    pub fn count(&self, is_denied: bool, is_shadowed: bool) {
        self.checks.inc();
        if is_denied {
            self.denials.inc();
        }
        if is_shadowed {
            self.shadow_denials.inc();
        }
    }
}

/// What is looked up when the metrics are read.
#[derive(Clone, Debug, Default)]
pub struct LimitGauges {
    /// Counters in the table, about.
    pub counters: u64,
    /// How many there can be.
    pub capacity: u64,
    /// Counters that had to make room for others so far.
    pub evictions: u64,
    /// The keys that were denied most often, if that is asked for.
    pub denied: Vec<Denied>,
}

impl LimitMetrics {
    pub(super) fn new(registry: &Registry) -> LimitMetrics {
        let by_limit = |name: &str, help: &str| {
            register(registry, IntCounterVec::new(Opts::new(name, help), &["limit"]))
        };
        LimitMetrics {
            checks: by_limit("waypost_ratelimit_checks_total", "Checks of rate limits."),
            denials: by_limit("waypost_ratelimit_denials_total", "Checks that were denied."),
            shadow_denials: by_limit(
                "waypost_ratelimit_shadow_denials_total",
                "Checks that would have been denied but for shadow mode.",
            ),
            counters: gauge(
                registry,
                "waypost_limiter_counters",
                "Counters in the table, about: of a large one, a part is looked at.",
            ),
            capacity: gauge(registry, "waypost_limiter_capacity", "How many there can be."),
            evictions: counter(
                registry,
                "waypost_limiter_evictions_total",
                "Counters that had to make room for others before their time: raise limiter-memory.",
            ),
            evictions_seen: AtomicU64::new(0),
            denied_keys: register(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "waypost_ratelimit_denied_keys",
                        "How often the keys denied most were, about (top-denied-keys).",
                    ),
                    &["namespace", "key"],
                ),
            ),
        }
    }

    /// The counters of the limit of this name; the empty name stands for all that have none.
    #[must_use]
    pub fn tally(&self, name: &str) -> Tally {
        Tally {
            checks: self.checks.with_label_values(&[name]),
            denials: self.denials.with_label_values(&[name]),
            shadow_denials: self.shadow_denials.with_label_values(&[name]),
        }
    }

    pub(super) fn set(&self, now: &LimitGauges) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.counters.set(number(now.counters));
        self.capacity.set(number(now.capacity));
        let seen = self.evictions_seen.fetch_max(now.evictions, Ordering::Relaxed);
        self.evictions.inc_by(now.evictions.saturating_sub(seen));
        self.denied_keys.reset();
        for denied in &now.denied {
            let labels = [denied.namespace.as_str(), denied.key.as_str()];
            // Keys that are no text may come to the same label.
            self.denied_keys.with_label_values(&labels).add(number(denied.count));
        }
    }
}
