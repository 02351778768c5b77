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
    /// Descriptors that were denied because they can't be decided on.
    refused: IntCounter,
    /// Messages that were denied because they are too long.
    too_long: IntCounter,
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
            refused: counter(
                registry,
                "waypost_rls_refused_descriptors_total",
                "Descriptors that were denied unread: more than 1000 in a request, or with a limit of their \
                 own whose unit is unknown.",
            ),
            too_long: counter(
                registry,
                "waypost_rls_too_long_total",
                "Requests that were denied unread because their message is longer than 4 MiB.",
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

    /// Counts a descriptor that was denied because it can't be decided on.
    pub fn refused(&self) {
        self.refused.inc();
    }

    /// Counts a message that was denied because it is too long.
    pub fn too_long(&self) {
        self.too_long.inc();
    }
}
