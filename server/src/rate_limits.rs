//! The rate limits of a location: one table of counters for all APIs, the limits that have a name,
//! and what is counted of them.

use std::{collections::HashMap, sync::Arc};

use arc_swap::{ArcSwap, Guard};
use kv_core::Store;
use ratelimit::{BuildError, Decision, Limit, Limiter};

use crate::metrics::{LimitGauges, LimitMetrics, Tally};

mod count;
mod denied;
mod describe;
mod named;
mod period;
mod saved;

pub(crate) use count::count;
pub use denied::DeniedKeys;
pub use describe::{DescribeError, MAX_KEY_BYTES, limit};
pub use named::{NamedLimit, NamedLimits};
pub use period::{Period, PeriodError};
use saved::Restored;

/// The rate limits of a location, which a reload replaces as a whole.
#[derive(Debug)]
pub struct CurrentLimits(ArcSwap<RateLimits>);

impl CurrentLimits {
    /// Begins with these limits.
    #[must_use]
    pub fn new(limits: Arc<RateLimits>) -> CurrentLimits {
        CurrentLimits(ArcSwap::new(limits))
    }

    /// The limits as of now. A request uses one load for all that it does.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<RateLimits>> {
        self.0.load()
    }

    /// Replaces the limits that have a name. The counters stay: a limit goes on with those of its namespace, keys, algorithm
    /// and period.
    pub fn replace(&self, named: NamedLimits, metrics: &LimitMetrics) {
        let before = self.0.load_full();
        self.0.store(Arc::new(RateLimits {
            limiter: Arc::clone(&before.limiter),
            named: with_metrics(named, metrics),
            unnamed: before.unnamed.clone(),
            denied: before.denied.clone(),
            has_counters: before.has_counters,
        }));
    }
}

/// The rate limits of a location.
#[derive(Debug)]
pub struct RateLimits {
    /// The counters of all limits.
    limiter: Arc<Limiter>,
    /// The limits that have a name, by name.
    named: HashMap<String, Named>,
    /// Where decisions on limits without a name are counted.
    unnamed: Tally,
    /// The keys that are denied most; none unless the setting enables them.
    denied: Option<Arc<DeniedKeys>>,
    /// It started with counters that the last stop saved.
    has_counters: bool,
}

/// A limit of the configuration.
#[derive(Debug)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// The requests that it allows.
    pub limit: Limit,
    /// The namespace of its counters.
    pub namespace: String,
    /// The metrics of this limit.
    pub tally: Tally,
}

/// The settings of the rate limits.
#[derive(Clone, Debug, Default)]
pub struct RateLimitSettings {
    /// Memory for the counters, in bytes.
    pub memory_bytes: usize,
    /// The limits that have a name.
    pub named: NamedLimits,
    /// How many of the keys that are denied most often the metrics report.
    pub top_denied_keys: u32,
}

impl RateLimits {
    /// The rate limits of a location, with the counters that its last stop saved.
    ///
    /// # Errors
    /// If a limiter can't be built.
    pub fn open(
        store: &Store,
        settings: RateLimitSettings,
        metrics: &LimitMetrics,
    ) -> Result<RateLimits, BuildError> {
        let RateLimitSettings { memory_bytes, named, top_denied_keys } = settings;
        let builder = Limiter::builder().memory_bytes(memory_bytes);
        let Restored { limiter, has_counters } = saved::restore(store, builder)?;
        let rates = RateLimits::new(limiter, named, top_denied_keys, metrics);
        Ok(RateLimits { has_counters, ..rates })
    }

    /// Saves the counters for the next start, if there are any. Blocks until they are durable.
    pub fn save(&self, store: &Store) {
        if self.has_counters || self.limiter.stats().checks > 0 {
            saved::save(store, &self.limiter);
        }
    }

    /// The rate limits over the counters of `limiter`. `top_denied` is how many of the keys that are
    /// denied most often the metrics report; at 0 no key is watched.
    #[must_use]
    pub fn new(
        limiter: Limiter,
        named: NamedLimits,
        top_denied: u32,
        metrics: &LimitMetrics,
    ) -> RateLimits {
        let watched = usize::try_from(top_denied).unwrap_or(usize::MAX);
        RateLimits {
            limiter: Arc::new(limiter),
            named: with_metrics(named, metrics),
            unnamed: metrics.tally(""),
            denied: (watched > 0).then(|| Arc::new(DeniedKeys::new(watched))),
            has_counters: false,
        }
    }

    /// The counters.
    #[must_use]
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// The limit of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Named> {
        self.named.get(name)
    }

    /// The names of the limits that have one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }

    /// The metrics of the limits that callers describe themselves.
    #[must_use]
    pub fn unnamed(&self) -> &Tally {
        &self.unnamed
    }

    /// Counts a decision in the metrics. Every API calls this for each of its checks.
    pub fn decided(&self, tally: &Tally, namespace: &[u8], key: &[u8], decision: &Decision) {
        tally.count(!decision.allowed, decision.shadowed);
        if let Some(denied) = &self.denied
            && !decision.within()
        {
            denied.count(namespace, key);
        }
    }

    /// The state that the metrics export.
    #[must_use]
    pub fn gauges(&self) -> LimitGauges {
        let stats = self.limiter.stats();
        LimitGauges {
            counters: stats.live,
            capacity: stats.slots,
            evictions: stats.evictions,
            denied: self.denied.as_deref().map(DeniedKeys::top).unwrap_or_default(),
        }
    }
}

/// The limits that have a name, by name, each with its metrics.
fn with_metrics(named: NamedLimits, metrics: &LimitMetrics) -> HashMap<String, Named> {
    let named = named.0.into_iter().map(|(name, configured)| {
        let named = Named {
            limit: configured.limit,
            namespace: configured.namespace.unwrap_or_else(|| name.clone()),
            tally: metrics.tally(&name),
            name: name.clone(),
        };
        (name, named)
    });
    named.collect()
}
