//! Envoy's rate-limit service: gRPC `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`, over
//! HTTP/2 without TLS (h2c) on the port of all doors. Istio, Contour and Envoy Gateway use the same.
//!
//! What it limits is configured as for envoyproxy/ratelimit, in `waypost.toml` (`[[rls]]`) or by the YAML
//! files of that service (the setting `rls-config`):
//!
//! | field | |
//! |---|---|
//! | `domain`, `descriptors`, `key`, `value` | as there; a `*` in a value stands for any text |
//! | `rate_limit` with `unit`, `requests_per_unit` | second, minute, hour, day, week; a month is 30 days and a year 365 |
//! | `unlimited`, `name`, `replaces`, `shadow_mode`, `share_threshold` | as there |
//! | `period`, `algorithm`, `burst` | ours: any period (`"10s"`) in place of the unit; `sliding` (the default, or as the setting `rls-algorithm` says), `fixed`, `gcra` |
//! | `detailed_metric`, `value_to_metric`, `quota_mode`, `metadata` | refused, as is any other field |
//!
//! What is other than there:
//!
//! - Hits that are denied are not counted, so that a client who goes on above its limit still gets the
//!   limit. Of several descriptors all count or none: what one limit denies uses up no other.
//! - A window slides. Where it is to begin with the minute, say `algorithm = "fixed"`.
//! - A limit that names no algorithm, and is of more than that of all can hold (2,097,151 for the sliding
//!   window), counts by the fixed window; a line at the start says so.
//! - `limit_remaining` of a denial is what remains for a request of fewer hits, as rls.proto has it, and the same as
//!   in the headers. There it is always 0.
//! - `duration_until_reset` of a denial is the time until the same would pass, else until all of the
//!   limit is free again; whole seconds, rounded up, for Envoy drops parts of them.
//! - A period that is no unit is shown with unit 0 (`UNKNOWN`). With its own `enable_x_ratelimit_headers`, Envoy then
//!   says `x-ratelimit-limit: 5` and no window (`5, 5;w=60` for a minute).
//! - A descriptor whose `limit` came with the request counts in a sliding window.
//!
//! An unknown domain or descriptor is OK without `current_limit`, and counted in the metrics. No domain or
//! no descriptor in a request is `INVALID_ARGUMENT`.
//!
//! The counters are those of all doors. That of a descriptor is in the namespace `rls:DOMAIN` and has a
//! key such as `tenant=a,path=/login,`: `POST /ratelimit` can look at it and reset it, if it is not longer than keys are there.
//!
//! gRPC's health check (`grpc.health.v1.Health/Check`) says `NOT_SERVING` while the server drains.

mod build;
mod decide;
mod fields;
mod grpc;
mod pattern;
pub mod proto;
pub mod said;
mod tree;
mod unit;

#[cfg(test)]
mod tests;

pub use build::{DomainError, MAX_DEPTH, MAX_RULES};
pub use decide::{Invalid, MAX_DESCRIPTORS, decide};
pub use fields::Fields;
pub(crate) use grpc::is_here;
pub use grpc::serve;
pub use tree::{Domains, Rule, Tree};

use crate::{
    metrics::{LimitMetrics, RlsMetrics, Tally},
    rate_limits::RateLimits,
};

/// What this door has beside the counters.
#[derive(Debug)]
pub struct Rls {
    domains: Domains,
    fields: Fields,
    /// By the number of the rule.
    tallies: Vec<Tally>,
    counts: RlsMetrics,
}

impl Rls {
    /// The limits of `domains`, with `fields` for the clients.
    #[must_use]
    pub fn new(
        domains: Domains,
        fields: Fields,
        limits: &LimitMetrics,
        counts: &RlsMetrics,
    ) -> Rls {
        let tallies = domains.paths().iter().map(|path| limits.tally(&format!("rls:{path}")));
        Rls { tallies: tallies.collect(), domains, fields, counts: counts.clone() }
    }

    /// What is counted of a rule; of limits that come with requests, what is of all that have no name.
    fn tally<'a>(&'a self, rates: &'a RateLimits, rule: Option<&Rule>) -> &'a Tally {
        rule.and_then(|rule| self.tallies.get(rule.id)).unwrap_or_else(|| rates.unnamed())
    }
}
