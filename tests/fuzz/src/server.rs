//! The application part of a server, over a store in memory.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use kv_core::{Options, Store};
use ratelimit::{Algorithm, Limiter};
use waypost::{
    access::Gate,
    alarms::AlarmBook,
    api::rls::{Domains, Fields, Rls, parse},
    app::App,
    audit::AuditLog,
    bounds::Bounds,
    budget::Budget,
    http::incoming::long_bodies,
    metrics::Metrics,
    rate_limits::{CurrentLimits, NamedLimits, RateLimits},
    router::Router,
    web_pages::WebPages,
    writes::Writes,
};

use crate::{
    disk::{Disk, Image},
    env::Still,
};

/// The title of the only namespace.
pub const NAMESPACE: &str = "ns";

const NOW_MS: u64 = 1_800_000_000_000;

fn store(disk: &Disk, process: u8) -> Store {
    let environment = Arc::new(Still::at(NOW_MS, process));
    let options = Options::new().cache_bytes(4 << 20).environment(environment);
    options.open_disk(disk.open()).expect("an undamaged store opens")
}

static FOUNDED: LazyLock<Image> = LazyLock::new(|| {
    let disk = Disk::default();
    let store = store(&disk, 1);
    store.create_namespace(NAMESPACE).expect("the title is not taken");
    store.close().expect("the disk does not fail");
    disk.image()
});

/// A server whose store has only the empty namespace [`NAMESPACE`].
pub fn app() -> Arc<App> {
    let store = store(&Disk::holding(FOUNDED.clone()), 2);
    Arc::new(App {
        writes: Writes::new(store.clone(), Duration::from_secs(5), None),
        bounds: Bounds::default(),
        budget: Budget::new(1 << 24),
        long_bodies: long_bodies(),
        store,
        gate: Gate::default(),
        rate_limits: CurrentLimits::new(Arc::new(rate_limits())),
        metrics: Arc::default(),
        membership: None,
        drain: Arc::default(),
        alarms: AlarmBook::default(),
        audit: AuditLog::default(),
    })
}

fn rate_limits() -> RateLimits {
    let limiter = Limiter::builder().memory_bytes(1 << 16).secret([7; 16]).build();
    let limiter = limiter.expect("a limiter without random keys can be built");
    RateLimits::new(limiter, NamedLimits::default(), 5, Metrics::new().limits())
}

/// Limits of Envoy: each kind of node once, in the domain `d`.
pub fn envoy() -> Rls {
    let written = parse(ENVOY).expect("the text below is valid");
    let mut domains = Domains::default();
    for domain in &written {
        domains.add(domain, Algorithm::Sliding).expect("the text below makes sense");
    }
    let metrics = Metrics::new();
    Rls::new(domains, Fields::Ietf, metrics.limits(), metrics.rls())
}

const ENVOY: &str = "
domain: d
descriptors:
  - {key: k, rate_limit: {unit: minute, requests_per_unit: 2, name: n}}
  - {key: k, value: v, rate_limit: {unlimited: true, replaces: [{name: n}]}}
  - {key: k, value: w*, share_threshold: true, rate_limit: {period: 1ms, requests_per_unit: 1}}
  - key: s
    shadow_mode: true
    rate_limit: {unit: year, requests_per_unit: 0}
    descriptors:
      - {key: k, rate_limit: {unit: day, requests_per_unit: 3, algorithm: gcra, burst: 1}}
  - {key: f, rate_limit: {unit: second, requests_per_unit: 4294967295, algorithm: fixed}}
";

/// Its routes.
pub fn router(app: &Arc<App>) -> Router {
    Router::new(Arc::clone(app), envoy(), WebPages::default())
}
