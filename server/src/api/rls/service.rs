//! The state of this API beside the counters.

use std::sync::OnceLock;

use super::{
    fields::Fields,
    tree::{Domains, Rule},
};
use crate::{
    metrics::{LimitMetrics, RlsMetrics, Tallies, Tally},
    rate_limits::{EAGER_TALLIES, RateLimits},
};

/// The configured limits of Envoy, and their metrics.
#[derive(Debug)]
pub struct Rls {
    /// The trees of all domains.
    pub(super) domains: Domains,
    /// The headers that Envoy adds to its client's response.
    pub(super) fields: Fields,
    /// The metrics of each rule, by its number, once it is used.
    tallies: Vec<OnceLock<Tally>>,
    /// Creates them.
    create: Tallies,
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
        let count = domains.paths().len();
        let tallies = (0..count).map(|_| OnceLock::new()).collect();
        let (create, counts) = (limits.tallies(), counts.clone());
        let rls = Rls { domains, fields, tallies, create, counts };
        if count <= EAGER_TALLIES {
            for id in 0..count {
                let _created = rls.tally_of(id);
            }
        }
        rls
    }

    /// The configured limits.
    #[must_use]
    pub fn domains(&self) -> &Domains {
        &self.domains
    }

    /// The label of the metrics of the rule with this path.
    #[must_use]
    pub fn label(path: &str) -> String {
        format!("rls:{path}")
    }

    /// The metrics of a rule; for limits from requests, those of all limits without a name.
    pub(super) fn tally<'a>(&'a self, rates: &'a RateLimits, rule: Option<&Rule>) -> &'a Tally {
        rule.and_then(|rule| self.tally_of(rule.id)).unwrap_or_else(|| rates.unnamed())
    }

    /// The metrics of the rule with this number.
    fn tally_of(&self, id: usize) -> Option<&Tally> {
        let path = self.domains.paths().get(id)?;
        let create = || self.create.tally(&Rls::label(path));
        Some(self.tallies.get(id)?.get_or_init(create))
    }
}
