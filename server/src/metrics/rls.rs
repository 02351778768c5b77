//! What is counted of Envoy's rate-limit service, beside what is of all rate limits.

use prometheus::{IntCounter, Registry};

use super::counter;

/// The counters of the service. Domains and descriptors come from requests, so they are no labels.
#[derive(Clone, Debug)]
pub struct RlsMetrics {
    unknown_domains: IntCounter,
    unmatched: IntCounter,
}

impl RlsMetrics {
    pub(super) fn new(registry: &Registry) -> RlsMetrics {
        RlsMetrics {
            unknown_domains: counter(
                registry,
                "waypost_rls_unknown_domains_total",
                "Requests for a domain that is not configured: all were let through.",
            ),
            unmatched: counter(
                registry,
                "waypost_rls_unmatched_descriptors_total",
                "Descriptors that no limit applied to.",
            ),
        }
    }

    /// Counts a request for a domain that is not configured.
    pub fn unknown_domain(&self) {
        self.unknown_domains.inc();
    }

    /// Counts a descriptor of a known domain that no limit applied to.
    pub fn unmatched(&self) {
        self.unmatched.inc();
    }
}
