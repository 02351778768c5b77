//! Counts of refused requests.

use prometheus::{IntCounterVec, Registry};

use super::registry::counters;

/// The metrics of access.
#[derive(Debug)]
pub struct AccessMetrics {
    /// Requests that were refused, by the reason.
    refused: IntCounterVec,
}

impl AccessMetrics {
    /// Registers the metrics.
    pub(super) fn new(r: &Registry) -> AccessMetrics {
        AccessMetrics {
            refused: counters(
                r,
                "waypost_auth_failures_total",
                "Requests without an accepted token (missing, malformed, unknown, revoked, expired), or whose token does not \
                 permit them (scope).",
                &["reason"],
            ),
        }
    }

    /// Counts a request that was refused.
    pub fn refused(&self, reason: &'static str) {
        self.refused.with_label_values(&[reason]).inc();
    }
}
