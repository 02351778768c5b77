//! Connections.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry};

use super::registry::{counter, counters, gauge, number};

/// The metrics of connections.
#[derive(Debug)]
pub struct ConnectionMetrics {
    /// Connections that are open.
    open: IntGauge,
    /// Connections that were accepted.
    accepted: IntCounter,
    /// Connections and requests that a time limit ended, by the limit.
    cut: IntCounterVec,
    /// Connections that the operating system failed to hand over.
    accept_errors: IntCounter,
    /// Requests that did not fit into the budget.
    shed: IntCounter,
    /// Bytes that requests in progress hold.
    in_flight: IntGauge,
    /// How many there may be.
    budget: IntGauge,
}

impl ConnectionMetrics {
    /// Registers the metrics.
    pub(super) fn new(r: &Registry) -> ConnectionMetrics {
        ConnectionMetrics {
            open: gauge(r, "waypost_connections", "Open connections."),
            accepted: counter(r, "waypost_connections_total", "Connections accepted."),
            cut: counters(
                r,
                "waypost_connections_cut_total",
                "Connections closed, and requests refused (body-timeout), by a limit: the label is its \
                 setting, or http2-frames.",
                &["limit"],
            ),
            accept_errors: counter(
                r,
                "waypost_accept_errors_total",
                "Connections that the system failed to hand over.",
            ),
            shed: counter(
                r,
                "waypost_shed_requests_total",
                "Requests answered with 503 because the budget was used up.",
            ),
            in_flight: gauge(
                r,
                "waypost_bytes_in_flight",
                "Bytes that requests in progress hold, of bodies and of responses that are not read.",
            ),
            budget: gauge(
                r,
                "waypost_budget_bytes",
                "How many bytes requests in progress may hold: the setting budget.",
            ),
        }
    }

    /// Counts a connection that was accepted.
    pub fn opened(&self) {
        self.accepted.inc();
        self.open.inc();
    }

    /// Counts a connection that ended.
    pub fn closed(&self) {
        self.open.dec();
    }

    /// Counts a connection or request that exceeded a limit, by the name of its setting.
    pub fn cut(&self, limit: &'static str) {
        self.cut.with_label_values(&[limit]).inc();
    }

    /// Counts a request that did not fit into the budget.
    pub fn shed(&self) {
        self.shed.inc();
    }

    /// Sets how many bytes requests in progress hold, and may hold.
    pub fn hold(&self, bytes: u64, budget: u64) {
        self.in_flight.set(number(bytes));
        self.budget.set(number(budget));
    }

    /// Counts a connection that the system failed to hand over.
    pub fn accept_failed(&self) {
        self.accept_errors.inc();
    }
}
