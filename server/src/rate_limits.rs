//! The rate limits of a location: one table of counters for all doors, the limits that have a name,
//! and what is counted of them.

use std::{collections::HashMap, time::Duration};

use kv_core::Store;
use ratelimit::{Algorithm, BuildError, Decision, Limit, LimitError, Limiter};

use crate::{
    config::NamedLimits,
    metrics::{LimitGauges, LimitMetrics, Tally},
};

mod count;
mod denied;
mod period;
mod saved;

pub(crate) use count::count;
pub use denied::{Denied, DeniedKeys};
pub use period::Period;
use saved::Restored;

/// What a location is limited by.
#[derive(Debug)]
pub struct RateLimits {
    limiter: Limiter,
    named: HashMap<String, Named>,
    unnamed: Tally,
    denied: Option<DeniedKeys>,
    /// It began with some.
    has_counters: bool,
}

/// A limit of the configuration.
#[derive(Debug)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub limit: Limit,
    /// Where its counters are.
    pub namespace: String,
    /// What is counted of it.
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
    /// The rate limits of a location, with the counters that its last stop left.
    ///
    /// # Errors
    /// If there can be no limiter.
    pub fn open(
        store: &Store,
        settings: RateLimitSettings,
        metrics: &LimitMetrics,
    ) -> Result<RateLimits, BuildError> {
        let builder = Limiter::builder().memory_bytes(settings.memory_bytes);
        let Restored { limiter, has_counters } = saved::restore(store, builder)?;
        let (named, top_denied) = (settings.named, settings.top_denied_keys);
        Ok(RateLimits { has_counters, ..RateLimits::new(limiter, named, top_denied, metrics) })
    }

    /// Leaves the counters to the next start, if there are any. Blocks until they are durable.
    pub fn save(&self, store: &Store) {
        if self.has_counters || self.limiter.stats().checks > 0 {
            saved::save(store, &self.limiter);
        }
    }

    /// The counters of `limiter`, the limits that are `named`, and the `top_denied` keys that are
    /// watched: none if that is 0.
    #[must_use]
    pub fn new(
        limiter: Limiter,
        named: NamedLimits,
        top_denied: u32,
        metrics: &LimitMetrics,
    ) -> RateLimits {
        let named = named.0.into_iter().map(|(name, said)| {
            let named = Named {
                limit: said.limit,
                namespace: said.namespace.unwrap_or_else(|| name.clone()),
                tally: metrics.tally(&name),
                name: name.clone(),
            };
            (name, named)
        });
        let watched = usize::try_from(top_denied).unwrap_or(usize::MAX);
        RateLimits {
            limiter,
            named: named.collect(),
            unnamed: metrics.tally(""),
            denied: (watched > 0).then(|| DeniedKeys::new(watched)),
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

    /// What is counted of the limits that callers describe themselves.
    #[must_use]
    pub fn unnamed(&self) -> &Tally {
        &self.unnamed
    }

    /// Counts what became of a hit: every door calls it for each.
    pub fn decided(&self, tally: &Tally, namespace: &[u8], key: &[u8], decision: &Decision) {
        tally.count(!decision.allowed, decision.shadowed);
        if let Some(denied) = &self.denied
            && !decision.within()
        {
            denied.count(namespace, key);
        }
    }

    /// What the metrics show.
    #[must_use]
    pub fn gauges(&self) -> LimitGauges {
        let stats = self.limiter.stats();
        LimitGauges {
            counters: stats.live,
            capacity: stats.slots,
            evictions: stats.evictions,
            denied: self.denied.as_ref().map(DeniedKeys::top).unwrap_or_default(),
        }
    }
}

/// The limit that someone describes; of GCRA without a burst, the count may come at once.
///
/// # Errors
/// A sentence, if there can be no such limit.
pub(crate) fn limit(
    algorithm: Algorithm,
    count: u32,
    period: Period,
    burst: Option<u32>,
) -> Result<Limit, String> {
    let period = Duration::from_millis(period.ms());
    let limit = match (algorithm, burst) {
        (Algorithm::Gcra, Some(burst)) => Limit::gcra(count, burst, period),
        (_, None) => Limit::new(algorithm, count, period),
        (_, Some(_)) => return Err("a burst goes with the algorithm \"gcra\" alone".into()),
    };
    limit.map_err(|error| match error {
        LimitError::Count { algorithm, .. } if algorithm != Algorithm::Fixed => {
            format!("{error}. The algorithm \"fixed\" takes up to {}: say that", u32::MAX)
        }
        _ => error.to_string(),
    })
}
