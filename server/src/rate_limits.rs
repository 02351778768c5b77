//! The rate limits of a location: one table of counters for all APIs, the limits that have a name,
//! and what is counted of them.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use arc_swap::{ArcSwap, Guard};
use kv_core::{MemberId, Store};
use ratelimit::{BuildError, Builder, Decision, Limit, Limiter};

use crate::metrics::{LimitGauges, LimitMetrics, Tallies, Tally};

mod count;
mod denied;
mod describe;
mod exchange;
mod named;
mod overrides;
mod period;
mod recent;
mod saved;
mod scope;
mod spaces;

pub(crate) use count::count;
pub use denied::DeniedKeys;
pub use describe::{DescribeError, Description, MAX_KEY_BYTES, limit};
pub use exchange::{Exchange, Pieces};
pub use named::{NamedLimit, NamedLimits};
pub use overrides::Applied;
use overrides::Overrides;
pub(crate) use overrides::UNLIMITED;
pub use period::{Period, PeriodError};
pub use recent::{RecentTop, RecentlyDenied};
use saved::Restored;
pub use scope::{Scope, ScopeError};
use spaces::Spaces;
pub(crate) use spaces::{Window, window};

/// The rate limits of a location, which a reload replaces as a whole.
#[derive(Debug)]
pub struct CurrentLimits(ArcSwap<RateLimits>);

impl CurrentLimits {
    /// Begins with these limits.
    #[must_use]
    pub fn new(limits: Arc<RateLimits>) -> CurrentLimits {
        CurrentLimits(ArcSwap::new(limits))
    }

    /// The current limits. A request loads them once, so that it sees one version of them.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<RateLimits>> {
        self.0.load()
    }

    /// Replaces the limits that have a name. The counters stay: a limit goes on with those of its namespace, keys, algorithm
    /// and period.
    pub fn replace(&self, named: NamedLimits) {
        let before = self.0.load_full();
        self.0.store(Arc::new(RateLimits {
            limiter: Arc::clone(&before.limiter),
            named: with_metrics(named, &before.tallies),
            spaces: Arc::clone(&before.spaces),
            tallies: before.tallies.clone(),
            unnamed: before.unnamed.clone(),
            denied: before.denied.clone(),
            recent: Arc::clone(&before.recent),
            overrides: before.overrides.clone(),
            has_counters: before.has_counters,
            exchange: Arc::clone(&before.exchange),
        }));
        self.load().add_named();
    }
}

/// The rate limits of a location.
#[derive(Debug)]
pub struct RateLimits {
    /// The counters of all limits.
    limiter: Arc<Limiter>,
    /// The limits that have a name, by name.
    named: HashMap<String, Named>,
    /// The counters that the configuration names.
    spaces: Arc<Spaces>,
    /// Creates the metrics of a limit that is used for the first time.
    tallies: Tallies,
    /// Where decisions on limits without a name are counted.
    unnamed: Tally,
    /// The keys that are denied most; none unless the setting enables them.
    denied: Option<Arc<DeniedKeys>>,
    /// The keys that are denied now.
    recent: Arc<RecentlyDenied>,
    /// What applies to some keys in place of their limits.
    overrides: Overrides,
    /// It started with counters that the last stop saved.
    has_counters: bool,
    /// What is exchanged with the other locations.
    exchange: Arc<Exchange>,
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
    /// The metrics of this limit, once it is used.
    tally: OnceLock<Tally>,
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
    /// The id of the cluster, whose locations share the counters of global limits; none if the location is alone.
    pub cluster: Option<[u8; 16]>,
}

/// Up to this many limits have metrics before they are used. With more, the metrics would be many megabytes
/// of zeros.
pub(crate) const EAGER_TALLIES: usize = 1000;

impl Named {
    /// The metrics, which exist from the first use on.
    fn tally(&self, tallies: &Tallies) -> &Tally {
        self.tally.get_or_init(|| tallies.tally(&self.name))
    }
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
        let RateLimitSettings { memory_bytes, named, top_denied_keys, cluster } = settings;
        let builder = Limiter::builder().memory_bytes(memory_bytes).guests(true);
        let builder = cluster.into_iter().fold(builder, Builder::global);
        let Restored { limiter, has_counters } = saved::restore(store, builder)?;
        if limiter.is_global() {
            saved::restore_global(store, &limiter);
        }
        let rates = RateLimits::new(limiter, named, top_denied_keys, metrics);
        Ok(RateLimits { has_counters, overrides: Overrides::of(store), ..rates })
    }

    /// Saves the counters of calendars for a start after a crash, if they have changed. Blocks until they are durable.
    /// Returns whether it saved them.
    pub fn save_quotas(&self, store: &Store) -> bool {
        let has_changed = self.limiter.take_changed_calendars();
        if has_changed {
            saved::save_quotas(store, &self.limiter);
        }
        has_changed
    }

    /// Saves the counters for the next start, if there are any. Blocks until they are durable.
    pub fn save(&self, store: &Store) {
        self.save_quotas(store);
        let stats = self.limiter.stats();
        let has_shared = self.limiter.global_stats().keys > 0;
        if self.has_counters || has_shared || stats.checks > 0 || stats.records > 0 {
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
        let tallies = metrics.tallies();
        let watched = usize::try_from(top_denied).unwrap_or(usize::MAX);
        let limiter = Arc::new(limiter);
        let rates = RateLimits {
            exchange: Arc::new(Exchange::new(Arc::clone(&limiter))),
            limiter,
            named: with_metrics(named, &tallies),
            spaces: Arc::default(),
            unnamed: tallies.tally(""),
            tallies,
            denied: (watched > 0).then(|| Arc::new(DeniedKeys::new(watched))),
            recent: Arc::default(),
            overrides: Overrides::default(),
            has_counters: false,
        };
        rates.add_named();
        rates
    }

    /// Adds the counters of the limits that have a name.
    fn add_named(&self) {
        let named = self.named.values();
        self.spaces.add(named.map(|named| (&named.namespace[..], window(&named.limit))));
    }

    /// The counters.
    #[must_use]
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// The exchange with other locations.
    #[must_use]
    pub fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    /// The limit of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Named> {
        self.named.get(name)
    }

    /// The metrics of a limit that has a name.
    #[must_use]
    pub fn tally<'a>(&self, named: &'a Named) -> &'a Tally {
        named.tally(&self.tallies)
    }

    /// Adds the counters that another part of the configuration names: namespace, and window of a limit.
    pub(crate) fn add_spaces<'a>(&self, named: impl Iterator<Item = (&'a str, Window)>) {
        self.spaces.add(named);
    }

    /// A limit that a caller described, for counters in this namespace. They are apart from those of the
    /// configuration, so that they never evict them, unless the configuration names the same counters.
    ///
    /// If the caller named no scope and the configuration has only a global limit for such counters, it is that one: so the
    /// configuration makes a limit global whose clients know nothing of scopes.
    #[must_use]
    pub fn described(&self, namespace: &[u8], limit: Limit, scope: Option<Scope>) -> Limit {
        if self.spaces.has(namespace, &limit) {
            return limit;
        }
        match limit.global(true) {
            Ok(global) if scope.is_none() && self.spaces.has(namespace, &global) => global,
            _ => limit.guest(true),
        }
    }

    /// A limit as it applies to a key of a namespace: with its override, if there is one. Every API calls this for each of
    /// its checks. `name` is the name of the limit, if it has one.
    #[must_use]
    pub fn applied(&self, name: Option<&str>, counter: (&[u8], &[u8]), limit: Limit) -> Applied {
        self.overrides.apply(name, counter, limit)
    }

    /// Applies the overrides of this store.
    #[must_use]
    pub fn with_overrides(self, store: &Store) -> RateLimits {
        RateLimits { overrides: Overrides::of(store), ..self }
    }

    /// The limits that have a name.
    pub fn all_named(&self) -> impl Iterator<Item = &Named> {
        self.named.values()
    }

    /// The namespaces of the configuration's limits, those included that a reload has removed.
    #[must_use]
    pub fn namespaces(&self) -> Vec<Box<[u8]>> {
        self.spaces.names()
    }

    /// Whether a limit of the configuration counts in a namespace.
    #[must_use]
    pub fn has_namespace(&self, namespace: &[u8]) -> bool {
        self.spaces.knows(namespace)
    }

    /// The metrics of the limits that callers describe themselves.
    #[must_use]
    pub fn unnamed(&self) -> &Tally {
        &self.unnamed
    }

    /// Counts a decision in the metrics. Every API calls this for each of its checks.
    pub fn decided(&self, tally: &Tally, namespace: &[u8], key: &[u8], decision: &Decision) {
        tally.count(!decision.allowed, decision.shadowed);
        if decision.within() {
            return;
        }
        self.recent.count(self.limiter.now_ms(), namespace, key);
        if let Some(denied) = &self.denied {
            denied.count(namespace, key);
        }
    }

    /// The keys that were denied most in the last one to two minutes, at most this many.
    #[must_use]
    pub fn denied_now(&self, count: usize) -> RecentTop {
        self.recent.top(self.limiter.now_ms(), count)
    }

    /// The state that the metrics export. `is_member` is whether a location is in the cluster.
    #[must_use]
    pub fn gauges(&self, is_member: impl Fn(MemberId) -> bool) -> LimitGauges {
        let stats = self.limiter.stats();
        LimitGauges {
            counters: stats.live,
            capacity: stats.slots,
            evictions: stats.evictions,
            global: self.exchange.gauges(is_member),
            denied: self.denied.as_deref().map(DeniedKeys::top).unwrap_or_default(),
        }
    }
}

/// The limits that have a name, by name. If they are few, their metrics exist from now on.
fn with_metrics(named: NamedLimits, tallies: &Tallies) -> HashMap<String, Named> {
    let is_few = named.0.len() <= EAGER_TALLIES;
    let named = named.0.into_iter().map(|(name, configured)| {
        let named = Named {
            limit: configured.limit,
            namespace: configured.namespace.unwrap_or_else(|| name.clone()),
            tally: OnceLock::new(),
            name: name.clone(),
        };
        if is_few {
            named.tally(tallies);
        }
        (name, named)
    });
    named.collect()
}
