//! Envoy's rate-limit service, beside the metrics of all rate limits.

use prometheus::{IntCounter, Registry};

use super::registry::counter;

/// The metrics of the service. Domains and descriptors come from requests, so they are not labels.
#[derive(Clone, Debug)]
pub struct RlsMetrics {
    /// Requests for a domain that is not configured.
    unknown_domains: IntCounter,
    /// Descriptors that no limit matched.
    unmatched: IntCounter,
}

impl RlsMetrics {
    /// Registers the metrics.
    pub(super) fn new(registry: &Registry) -> RlsMetrics {
        RlsMetrics {
            unknown_domains: counter(
                registry,
                "waypost_rls_unknown_domains_total",
                "Requests for a domain that is not configured. All of them were allowed.",
            ),
            unmatched: counter(
                registry,
                "waypost_rls_unmatched_descriptors_total",
                "Descriptors of configured domains to which no limit applied.",
            ),
        }
    }

    /// Counts a request for a domain that is not configured.
    pub fn unknown_domain(&self) {
        self.unknown_domains.inc();
    }

    /// Counts a descriptor of a configured domain to which no limit applied.
    pub fn unmatched(&self) {
        self.unmatched.inc();
    }
}
