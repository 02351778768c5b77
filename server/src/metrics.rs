//! The metrics, and their Prometheus text. Each part of the server has a file here with the metrics
//! that it counts.

use std::time::Duration;

use prometheus::{IntGauge, Opts, Registry, TextEncoder};

mod access;
mod alarms;
mod cluster;
mod connections;
#[cfg(test)]
mod deployed;
mod lacking;
mod limits;
mod registry;
mod requests;
mod rls;
mod store;

use crate::alarms::AlarmKind;

pub use access::AccessMetrics;
pub use cluster::ClusterGauges;
pub use connections::ConnectionMetrics;
pub use limits::{Denied, LimitGauges, LimitMetrics, Tallies, Tally};
pub use requests::{Api, RequestMetrics, Verb};
pub use rls::RlsMetrics;
pub use store::StoreGauges;

/// All metrics of a server.
#[derive(Debug)]
pub struct Metrics {
    /// The registry that `/metrics` exports.
    registry: Registry,
    /// Requests of all APIs.
    requests: RequestMetrics,
    /// Connections.
    connections: ConnectionMetrics,
    /// Access.
    access: AccessMetrics,
    /// The store.
    store: store::StoreMetrics,
    /// Rate limits of all APIs.
    limits: LimitMetrics,
    /// Envoy's rate-limit service.
    rls: RlsMetrics,
    /// The alarms.
    alarms: alarms::AlarmMetrics,
}

/// The values that are read when the metrics are exported, and not counted.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// The state of the store.
    pub store: StoreGauges,
    /// The state of the rate limits.
    pub limits: LimitGauges,
    /// The alarms that last, each with whether another location has reported it.
    pub alarms: Vec<(AlarmKind, bool)>,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    /// Metrics that are all zero.
    #[must_use]
    pub fn new() -> Metrics {
        let registry = Registry::new();
        let build = Opts::new("waypost_build_info", "Always 1; the label is the version.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        registry::register(&registry, IntGauge::with_opts(build)).set(1);
        Metrics {
            requests: RequestMetrics::new(&registry),
            connections: ConnectionMetrics::new(&registry),
            access: AccessMetrics::new(&registry),
            store: store::StoreMetrics::new(&registry),
            limits: LimitMetrics::new(&registry),
            rls: RlsMetrics::new(&registry),
            alarms: alarms::AlarmMetrics::new(&registry),
            registry,
        }
    }

    /// The metrics of requests.
    #[must_use]
    pub fn requests(&self) -> &RequestMetrics {
        &self.requests
    }

    /// The metrics of connections.
    #[must_use]
    pub fn connections(&self) -> &ConnectionMetrics {
        &self.connections
    }

    /// The metrics of access.
    #[must_use]
    pub fn access(&self) -> &AccessMetrics {
        &self.access
    }

    /// The metrics of rate limits.
    #[must_use]
    pub fn limits(&self) -> &LimitMetrics {
        &self.limits
    }

    /// The metrics of Envoy's rate-limit service.
    #[must_use]
    pub fn rls(&self) -> &RlsMetrics {
        &self.rls
    }

    /// Counts keys that a list left out because their entries are damaged.
    pub(crate) fn left_out_of_lists(&self, keys: usize) {
        self.store.left_out_of_lists(keys);
    }

    /// Returns all metrics in Prometheus' text format, with those of the cluster if the server is in
    /// one.
    #[must_use]
    pub fn render(&self, now: &Gauges, cluster: Option<&ClusterGauges<'_>>) -> String {
        self.store.set(&now.store);
        self.limits.set(&now.limits);
        self.alarms.set(&now.alarms);
        let mut families = self.registry.gather();
        families.extend(cluster.map(cluster::families).unwrap_or_default());
        TextEncoder::new().encode_to_string(&families).expect(registry::VALID)
    }
}

/// The store reports what its writer does.
impl kv_core::Observer for Metrics {
    fn committed(&self, operations: usize, bytes: usize, commit: Duration, sync: Option<Duration>) {
        self.store.committed(operations, bytes, commit, sync);
    }

    fn overwrote_concurrent(&self, writes: usize) {
        self.store.overwrote_concurrent(writes);
    }

    fn collected(&self, rows: usize) {
        self.store.collected(rows);
    }

    fn reindexed(&self, rows: usize) {
        self.store.reindexed(rows);
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;
    use kv_core::Observer as _;

    use super::*;
    use crate::cluster::Expiry;

    fn gauges() -> Gauges {
        let store = StoreGauges {
            queue_operations: 3,
            queue_capacity: 512,
            bytes: 4096,
            garbage_bodies: 5,
            takes_values: true,
            reserve_bytes: 7,
            mode: "waiting",
            namespaces: 2,
            damaged_keys: 0,
            title_conflicts: 0,
        };
        Gauges { store, ..Gauges::default() }
    }

    #[test]
    fn everything_counted_is_exported() {
        let metrics = Metrics::new();
        let get = |status, took| metrics.requests().answered(Api::Binding, Verb::Get, status, took);
        get(StatusCode::OK, Duration::from_micros(70));
        get(StatusCode::NOT_FOUND, Duration::from_secs(60));
        metrics.committed(7, 900, Duration::from_millis(1), Some(Duration::from_millis(3)));
        metrics.collected(4);
        metrics.reindexed(2);
        metrics.connections().cut("header-timeout");
        let text = metrics.render(&gauges(), None);
        for line in [
            r#"waypost_requests_total{api="binding",method="GET",status="2xx"} 1"#,
            r#"waypost_requests_total{api="binding",method="GET",status="4xx"} 1"#,
            r#"waypost_request_seconds_bucket{api="binding",method="GET",le="0.0001"} 1"#,
            r#"waypost_request_seconds_count{api="binding",method="GET"} 2"#,
            r#"waypost_commit_operations_bucket{le="8"} 1"#,
            "waypost_commit_bytes_total 900",
            "waypost_sync_seconds_count 1",
            "waypost_gc_rows_total 4",
            "waypost_index_rows_repaired_total 2",
            r#"waypost_connections_cut_total{limit="header-timeout"} 1"#,
            "waypost_queue_operations 3",
            "waypost_store_bytes 4096",
            "waypost_garbage_bodies 5",
            "waypost_store_takes_values 1",
            "waypost_disk_reserve_bytes 7",
            r#"waypost_store_mode{mode="waiting"} 1"#,
            r#"waypost_store_mode{mode="writer"} 0"#,
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in:\n{text}");
        }
    }

    #[test]
    fn a_series_of_which_nothing_happened_is_not_exported() {
        let text = Metrics::new().render(&gauges(), None);
        assert!(!text.contains("waypost_requests_total{"), "{text}");
    }

    #[test]
    fn concurrent_exports_each_contain_every_peer() {
        let metrics = Metrics::new();
        let mut status = kv_replicate::quic::Status::default();
        let ids: Vec<_> = (0..20).map(|id| kv_core::MemberId([id; 16])).collect();
        for id in &ids {
            status.peers.insert(*id, kv_replicate::quic::Peer::default());
        }
        let (members, ends) = (
            kv_core::Members::default(),
            Expiry { not_before: 0, location: 0, ca: 0, has_ca_key: false },
        );
        let cluster = ClusterGauges {
            status: &status,
            has_stopped: false,
            members: &members,
            origins: crate::membership::OriginState::default(),
            ends,
            is_well: true,
        };
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
}
