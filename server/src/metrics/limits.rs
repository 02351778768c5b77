//! Rate limits, of all APIs.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
};

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, core::Collector as _,
};

pub use super::global_limits::GlobalGauges;
use super::{
    global_limits::GlobalMetrics,
    registry::{counter, counters, gauge, gauges, number},
};

/// The metrics of rate limits. The label `limit` is the name of a configured limit; it is empty for
/// those that callers describe themselves, whose number nothing bounds.
#[derive(Debug)]
pub struct LimitMetrics {
    /// The counters by limit.
    tallies: Tallies,
    /// Counters in the table, estimated.
    counters: IntGauge,
    /// How many counters fit.
    capacity: IntGauge,
    /// Counters that were evicted early.
    evictions: IntCounter,
    /// The limiter's count of evictions at the last export.
    evictions_seen: AtomicU64,
    /// Denials of the keys that are denied most.
    denied_keys: IntGaugeVec,
    /// Global limits.
    global: GlobalMetrics,
}

/// Creates the counters of limits.
#[derive(Clone, Debug)]
pub struct Tallies {
    /// Checks, by limit.
    checks: IntCounterVec,
    /// Denials, by limit.
    denials: IntCounterVec,
    /// Denials that shadow mode allowed, by limit.
    shadow_denials: IntCounterVec,
}

impl Tallies {
    /// The counters of the limit of this name. The empty name stands for all limits without one.
    #[must_use]
    pub fn tally(&self, name: &str) -> Tally {
        Tally {
            checks: self.checks.with_label_values(&[name]),
            denials: self.denials.with_label_values(&[name]),
            shadow_denials: self.shadow_denials.with_label_values(&[name]),
        }
    }
}

/// The counters of one limit.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Checks against this limit.
    checks: IntCounter,
    /// Denials by this limit.
    denials: IntCounter,
    /// Denials by this limit that shadow mode allowed.
    shadow_denials: IntCounter,
}

impl Tally {
    /// Counts a check: whether it was denied, and whether it was allowed only because its limit is in
    /// shadow mode.
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

/// The state of the rate limits, read when the metrics are exported.
#[derive(Clone, Debug, Default)]
pub struct LimitGauges {
    /// Counters in the table, estimated.
    pub counters: u64,
    /// How many there can be.
    pub capacity: u64,
    /// Counters that were evicted since the start.
    pub evictions: u64,
    /// The state of global limits; none if they are not shared, because the location is alone.
    pub global: Option<GlobalGauges>,
    /// The keys that were denied most often, if the setting `top-denied-keys` enables them.
    pub denied: Vec<Denied>,
}

/// A key that was denied often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Its namespace; of a long one, the first 128 bytes. Bytes that are not UTF-8 become U+FFFD.
    pub namespace: String,
    /// The key, in the same way.
    pub key: String,
    /// How often it was denied, at most.
    pub count: u64,
    /// By how much `count` may be too high.
    pub excess: u64,
}

impl LimitMetrics {
    /// Registers the metrics.
    pub(super) fn new(r: &Registry) -> LimitMetrics {
        let by_limit = |name, help| counters(r, name, help, &["limit"]);
        let tallies = Tallies {
            checks: by_limit("waypost_ratelimit_checks_total", "Checks of rate limits."),
            denials: by_limit(
                "waypost_ratelimit_denials_total",
                "Checks of rate limits that were denied.",
            ),
            shadow_denials: by_limit(
                "waypost_ratelimit_shadow_denials_total",
                "Checks that were allowed only because their limit is in shadow mode.",
            ),
        };
        LimitMetrics {
            tallies,
            counters: gauge(
                r,
                "waypost_limiter_counters",
                "Counters in the table; in a large table, estimated from a part of it.",
            ),
            capacity: gauge(r, "waypost_limiter_capacity", "How many counters there can be."),
            evictions: counter(
                r,
                "waypost_limiter_evictions_total",
                "Counters that were removed early to make room for others. If it grows, raise \
                 limiter-memory.",
            ),
            evictions_seen: AtomicU64::new(0),
            denied_keys: gauges(
                r,
                "waypost_ratelimit_denied_keys",
                "Denials of the keys that were denied most often, estimated (top-denied-keys).",
                &["namespace", "key"],
            ),
            global: GlobalMetrics::new(r),
        }
    }

    /// What creates the counters of limits.
    #[must_use]
    pub fn tallies(&self) -> Tallies {
        self.tallies.clone()
    }

    /// Removes the series of limits that have none of these names, after a reload. Call it before the series of new limits
    /// are made, so that there are never more than those of one configuration.
    pub fn keep_only(&self, names: &BTreeSet<String>) {
        let Tallies { checks, denials, shadow_denials } = &self.tallies;
        for counters in [checks, denials, shadow_denials] {
            for family in counters.collect() {
                let labels = family.get_metric().iter().flat_map(|series| series.get_label());
                for name in labels.map(|label| label.value()).filter(|name| !names.contains(*name))
                {
                    // It can fail only if the series is gone already.
                    let _gone = counters.remove_label_values(&[name]);
                }
            }
        }
    }

    /// Sets the gauges, which are read when the metrics are exported.
    pub(super) fn set(&self, now: &LimitGauges) {
        self.counters.set(number(now.counters));
        self.capacity.set(number(now.capacity));
        let seen = self.evictions_seen.fetch_max(now.evictions, Ordering::Relaxed);
        self.evictions.inc_by(now.evictions.saturating_sub(seen));
        self.global.set(&now.global.unwrap_or_default());
        self.denied_keys.reset();
        for denied in &now.denied {
            let labels = [denied.namespace.as_str(), denied.key.as_str()];
            // Two keys that are not text may have the same label.
            self.denied_keys.with_label_values(&labels).add(number(denied.count));
        }
    }
}
