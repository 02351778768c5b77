//! The state of this API beside the counters.

use super::{
    fields::Fields,
    tree::{Domains, Rule},
};
use crate::{
    metrics::{LimitMetrics, RlsMetrics, Tally},
    rate_limits::RateLimits,
};

/// The configured limits of Envoy, and their metrics.
#[derive(Debug)]
pub struct Rls {
    /// The trees of all domains.
    pub(super) domains: Domains,
    /// The headers that Envoy adds to its client's response.
    pub(super) fields: Fields,
    /// By the number of the rule.
    tallies: Vec<Tally>,
    /// The metrics of this API alone.
    pub(super) counts: RlsMetrics,
}

impl Rls {
    /// The limits of `domains`; clients receive the header `fields`.
    #[must_use]
    pub fn new(
        domains: Domains,
        fields: Fields,
        limits: &LimitMetrics,
        counts: &RlsMetrics,
    ) -> Rls {
        let tallies = domains.paths().iter().map(|path| limits.tally(&Rls::label(path)));
        Rls { tallies: tallies.collect(), domains, fields, counts: counts.clone() }
    }

    /// The label of the metrics of the rule with this path.
    #[must_use]
    pub fn label(path: &str) -> String {
        format!("rls:{path}")
    }

    /// The metrics of a rule; for limits from requests, those of all limits without a name.
    pub(super) fn tally<'a>(&'a self, rates: &'a RateLimits, rule: Option<&Rule>) -> &'a Tally {
        rule.and_then(|rule| self.tallies.get(rule.id)).unwrap_or_else(|| rates.unnamed())
    }
}
