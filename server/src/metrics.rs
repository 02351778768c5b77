//! What is counted, and its Prometheus text.

use std::{sync::OnceLock, time::Duration};

use hyper::{Method, StatusCode};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector,
};

use crate::api::Api;

mod cluster;
mod limits;
mod rls;

pub use cluster::ClusterGauges;
pub use limits::{LimitGauges, LimitMetrics, Tally};
pub use rls::RlsMetrics;

/// Bounds of the histograms of times: from a read in the cache to a timeout.
const SECONDS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 10.0,
];

/// Bounds of the histogram of batch sizes.
const OPERATIONS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

const VALID: &str = "the names, labels and bounds in this file are valid and each there once";

/// The counters of a server. Counting is a few atomic additions; labels are looked up once.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    requests_by: [[Requests; Verb::COUNT]; Api::COUNT],
    connections: IntGauge,
    connections_accepted: IntCounter,
    connections_cut: IntCounterVec,
    accept_errors: IntCounter,
    commit_operations: Histogram,
    commit_bytes: IntCounter,
    commit_seconds: Histogram,
    sync_seconds: Histogram,
    swept_rows: IntCounter,
    queue_operations: IntGauge,
    queue_capacity: IntGauge,
    store_bytes: IntGauge,
    bodies_waiting: IntGauge,
    store_mode: IntGaugeVec,
    namespaces: IntGauge,
    limits: LimitMetrics,
    rls: RlsMetrics,
    concurrent: IntCounter,
}

/// The requests of one door and method. Each child is made when it is first needed, so that only
/// what happened is shown.
#[derive(Debug, Default)]
struct Requests {
    by_class: [OnceLock<IntCounter>; 5],
    seconds: OnceLock<Histogram>,
}

/// A method, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// PUT.
    Put,
    /// POST.
    Post,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
    /// Any other: a client's text makes no label.
    Other,
}

impl Verb {
    const COUNT: usize = 7;

    const fn label(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Head => "HEAD",
            Verb::Put => "PUT",
            Verb::Post => "POST",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
            Verb::Other => "other",
        }
    }
}

impl From<&Method> for Verb {
    fn from(method: &Method) -> Verb {
        match *method {
            Method::GET => Verb::Get,
            Method::HEAD => Verb::Head,
            Method::PUT => Verb::Put,
            Method::POST => Verb::Post,
            Method::PATCH => Verb::Patch,
            Method::DELETE => Verb::Delete,
            _ => Verb::Other,
        }
    }
}

/// What is not counted but looked up when the metrics are read.
#[derive(Clone, Debug)]
pub struct Gauges {
    /// Writes that wait or are being made.
    pub queue_operations: usize,
    /// How many of them there can be.
    pub queue_capacity: usize,
    /// The size of the store on the disk.
    pub store_bytes: u64,
    /// Bodies of values that are gone, not freed yet.
    pub bodies_waiting: usize,
    /// `writer`, `waiting`, `read_only` or `closed`.
    pub store_mode: &'static str,
    /// Live namespaces.
    pub namespaces: usize,
    /// Of rate limits.
    pub limits: LimitGauges,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Metrics {
        let registry = Registry::new();
        let r = &registry;
        let metrics = Metrics {
            requests: register(
                r,
                IntCounterVec::new(
                    Opts::new("waypost_requests_total", "Requests answered."),
                    &["door", "method", "status"],
                ),
            ),
            request_seconds: register(
                r,
                HistogramVec::new(
                    times(
                        "waypost_request_seconds",
                        "From a request's head to its response's head.",
                    ),
                    &["door", "method"],
                ),
            ),
            requests_by: Default::default(),
            connections: gauge(r, "waypost_connections", "Connections open now."),
            connections_accepted: counter(r, "waypost_connections_total", "Connections accepted."),
            connections_cut: register(
                r,
                IntCounterVec::new(
                    Opts::new(
                        "waypost_connections_cut_total",
                        "Connections that a time limit ended, and requests (body-timeout).",
                    ),
                    &["limit"],
                ),
            ),
            accept_errors: counter(
                r,
                "waypost_accept_errors_total",
                "Connections that the system refused to hand over.",
            ),
            commit_operations: register(
                r,
                Histogram::with_opts(
                    HistogramOpts::new("waypost_commit_operations", "Writes in a commit.")
                        .buckets(OPERATIONS.to_vec()),
                ),
            ),
            commit_bytes: counter(r, "waypost_commit_bytes_total", "Bytes that commits wrote."),
            commit_seconds: histogram(r, "waypost_commit_seconds", "Time to make a commit."),
            sync_seconds: histogram(r, "waypost_sync_seconds", "Time to make a commit durable."),
            swept_rows: counter(r, "waypost_swept_rows_total", "Rows and bodies swept away."),
            queue_operations: gauge(
                r,
                "waypost_queue_operations",
                "Writes that wait or are being made.",
            ),
            queue_capacity: gauge(r, "waypost_queue_capacity", "How many there can be."),
            store_bytes: gauge(r, "waypost_store_bytes", "Size of the store on the disk."),
            bodies_waiting: gauge(
                r,
                "waypost_bodies_waiting",
                "Bodies of values that are gone, not freed yet.",
            ),
            store_mode: register(
                r,
                IntGaugeVec::new(
                    Opts::new("waypost_store_role", "1 for what the store can do at the moment."),
                    &["role"],
                ),
            ),
            namespaces: gauge(r, "waypost_namespaces", "Live namespaces."),
            limits: LimitMetrics::new(r),
            rls: RlsMetrics::new(r),
            concurrent: counter(
                r,
                "waypost_concurrent_overwrites_total",
                "Writes of other locations that won over one that they did not know of.",
            ),
            registry: registry.clone(),
        };
        let build = Opts::new("waypost_build_info", "Always 1.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        register(r, IntGauge::with_opts(build)).set(1);
        metrics
    }

    /// Counts a response.
    pub fn answered(&self, api: Api, verb: Verb, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        let requests = &self.requests_by[api as usize][verb as usize];
        requests.by_class[class]
            .get_or_init(|| {
                const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
                self.requests.with_label_values(&[api.label(), verb.label(), CLASSES[class]])
            })
            .inc();
        requests
            .seconds
            .get_or_init(|| self.request_seconds.with_label_values(&[api.label(), verb.label()]))
            .observe(took.as_secs_f64());
    }

    /// Counts a connection that was accepted.
    pub fn connected(&self) {
        self.connections_accepted.inc();
        self.connections.inc();
    }

    /// Counts a connection that has ended.
    pub fn disconnected(&self) {
        self.connections.dec();
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> i64 {
        self.connections.get()
    }

    /// Counts a connection or request that a limit ended: the name of its setting.
    pub fn cut(&self, limit: &'static str) {
        self.connections_cut.with_label_values(&[limit]).inc();
    }

    /// Counts a connection that the system refused to hand over.
    pub fn accept_failed(&self) {
        self.accept_errors.inc();
    }

    /// The counters of rate limits.
    #[must_use]
    pub fn limits(&self) -> &LimitMetrics {
        &self.limits
    }

    /// The counters of Envoy's rate-limit service.
    #[must_use]
    pub fn rls(&self) -> &RlsMetrics {
        &self.rls
    }

    /// All of it, in Prometheus' text format; with a cluster's gauges, if the server is in one.
    #[must_use]
    pub fn render(&self, now: &Gauges, cluster: Option<&ClusterGauges<'_>>) -> String {
        let size = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.queue_operations.set(size(now.queue_operations));
        self.queue_capacity.set(size(now.queue_capacity));
        self.store_bytes.set(i64::try_from(now.store_bytes).unwrap_or(i64::MAX));
        self.bodies_waiting.set(size(now.bodies_waiting));
        self.namespaces.set(size(now.namespaces));
        self.limits.set(&now.limits);
        for mode in ["writer", "waiting", "read_only", "closed"] {
            let is_it = i64::from(mode == now.store_mode);
            self.store_mode.with_label_values(&[mode]).set(is_it);
        }
        let mut families = self.registry.gather();
        families.extend(cluster.map(cluster::families).unwrap_or_default());
        TextEncoder::new().encode_to_string(&families).expect(VALID)
    }
}

/// The store tells what its writer does.
impl kv_core::Observer for Metrics {
    fn committed(&self, operations: usize, bytes: usize, commit: Duration, sync: Option<Duration>) {
        // A histogram takes floats; a batch has at most thousands.
        self.commit_operations.observe(f64::from(u32::try_from(operations).unwrap_or(u32::MAX)));
        self.commit_bytes.inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.commit_seconds.observe(commit.as_secs_f64());
        if let Some(sync) = sync {
            self.sync_seconds.observe(sync.as_secs_f64());
        }
    }

    fn overwrote_concurrent(&self, writes: usize) {
        self.concurrent.inc_by(u64::try_from(writes).unwrap_or(u64::MAX));
    }

    fn swept(&self, rows: usize) {
        self.swept_rows.inc_by(u64::try_from(rows).unwrap_or(u64::MAX));
    }
}

fn times(name: &str, help: &str) -> HistogramOpts {
    HistogramOpts::new(name, help).buckets(SECONDS.to_vec())
}

fn histogram(registry: &Registry, name: &str, help: &str) -> Histogram {
    register(registry, Histogram::with_opts(times(name, help)))
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    register(registry, IntCounter::new(name, help))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::new(name, help))
}

fn register<M: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<M>,
) -> M {
    let metric = metric.expect(VALID);
    registry.register(Box::new(metric.clone())).expect(VALID);
    metric
}

#[cfg(test)]
mod tests {
    use kv_core::Observer as _;

    use super::*;
    use crate::cluster::Expiry;

    fn gauges() -> Gauges {
        Gauges {
            queue_operations: 3,
            queue_capacity: 512,
            store_bytes: 4096,
            bodies_waiting: 5,
            store_mode: "waiting",
            namespaces: 2,
            limits: LimitGauges::default(),
        }
    }

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new();
        metrics.answered(Api::Binding, Verb::Get, StatusCode::OK, Duration::from_micros(70));
        metrics.answered(Api::Binding, Verb::Get, StatusCode::NOT_FOUND, Duration::from_secs(60));
        metrics.committed(7, 900, Duration::from_millis(1), Some(Duration::from_millis(3)));
        metrics.cut("header-timeout");
        let text = metrics.render(&gauges(), None);
        for line in [
            r#"waypost_requests_total{api="binding",method="GET",status="2xx"} 1"#,
            r#"waypost_requests_total{api="binding",method="GET",status="4xx"} 1"#,
            r#"waypost_request_seconds_bucket{api="binding",method="GET",le="0.0001"} 1"#,
            r#"waypost_request_seconds_count{api="binding",method="GET"} 2"#,
            r#"waypost_commit_operations_bucket{le="8"} 1"#,
            "waypost_commit_bytes_total 900",
            "waypost_sync_seconds_count 1",
            r#"waypost_connections_cut_total{limit="header-timeout"} 1"#,
            "waypost_queue_operations 3",
            "waypost_store_bytes 4096",
            "waypost_bodies_waiting 5",
            r#"waypost_store_role{mode="waiting"} 1"#,
            r#"waypost_store_role{mode="writer"} 0"#,
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in:\n{text}");
        }
    }

    #[test]
    fn what_never_happened_is_not_shown() {
        let text = Metrics::new().render(&gauges(), None);
        assert!(!text.contains("waypost_requests_total{"), "{text}");
    }

    #[test]
    fn who_reads_while_others_do_finds_every_peer() {
        let metrics = Metrics::new();
        let mut status = kv_replicate::quic::Status::default();
        let ids: Vec<_> = (0..20).map(|id| kv_core::MemberId([id; 16])).collect();
        for id in &ids {
            status.peers.insert(*id, kv_replicate::quic::Peer::default());
        }
        let (members, ends) =
            (kv_core::Members::default(), Expiry { location: 0, ca: 0, has_ca_key: false });
        let cluster = ClusterGauges { status: Some(&status), members: &members, ends };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let text = metrics.render(&gauges(), Some(&cluster));
                        for id in &ids {
                            assert!(text.contains(&format!("waypost_peer_up{{peer=\"{id}\"}} 0")));
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn a_strange_method_makes_no_label_of_its_own() {
        let method = Method::from_bytes(b"BREW").expect("a method");
        assert_eq!(Verb::from(&method), Verb::Other);
    }
}
