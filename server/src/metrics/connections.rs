//! Connections.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry};

use super::registry::{counter, counters, gauge};

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

    /// Counts a connection that the system failed to hand over.
    pub fn accept_failed(&self) {
        self.accept_errors.inc();
    }
}
