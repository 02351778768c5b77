//! Envoy's rate-limit service: gRPC `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`, over
//! HTTP/2 without TLS (h2c) on the port of all APIs. Istio, Contour and Envoy Gateway use the same.
//!
//! Its limits are configured as for envoyproxy/ratelimit, in `waypost.toml` (`[[rls]]`) or by the YAML
//! files of that service (the setting `rls-config`):
//!
//! | field | |
//! |---|---|
//! | `domain`, `descriptors`, `key`, `value` | as there; a `*` in a value stands for any text |
//! | `rate_limit` with `unit`, `requests_per_unit` | second, minute, hour, day, week; a month is 30 days and a year 365 |
//! | `unlimited`, `name`, `replaces`, `shadow_mode`, `share_threshold` | as there |
//! | `period`, `algorithm`, `burst`, `record` | only here: any period (`"10s"`) in place of the unit; `sliding` (the default, unless the setting `rls-algorithm` changes it), `fixed`, `gcra`; what is recorded, see below |
//! | `timezone` | only here: the unit is a day, a week, a month or a year of the calendar in this time zone |
//! | `detailed_metric`, `value_to_metric`, `quota_mode`, `metadata` | ignored, with a warning that names the file and the line; so is `shadow_mode` without a `rate_limit`. Any other field is refused |
//!
//! Differences from envoyproxy/ratelimit:
//!
//! - Denied requests are not counted, so that a client that continues above its limit still gets the
//!   limit. Several descriptors count all together or not at all: what one limit denies uses up no
//!   other.
//! - Hits that a descriptor names itself (its own `hits_addend`, which Envoy sends for a route's limit that
//!   has one, `apply_on_stream_done` or not) are usage: they are recorded whatever the limit is, and the
//!   counter may exceed it. A `hits_addend` of 0 is a look: `OVER_LIMIT` if nothing is left. The field
//!   `record` of a `rate_limit` decides otherwise for its hits: `true` records all of them, `false` none.
//! - A window slides. For windows that begin with the minute, set `algorithm = "fixed"`.
//! - A limit that names no algorithm and allows more than the default one can count (2,097,151 for the
//!   sliding window) counts by fixed windows; a line in the log at the start names it.
//! - `limit_remaining` of a denial is what remains for a request of a smaller cost, as rls.proto
//!   defines it, and the same as in the headers. There it is always 0.
//! - `duration_until_reset` of a denial is the time until the same request would be allowed, and of
//!   other responses the time until the whole limit is free again; in whole seconds, rounded up,
//!   because Envoy drops fractions.
//! - A period that is not a unit is reported with unit 0 (`UNKNOWN`). With its own
//!   `enable_x_ratelimit_headers`, Envoy then sends `x-ratelimit-limit: 5` and no window (`5, 5;w=60`
//!   for a minute).
//! - A descriptor whose `limit` is in the request counts in a sliding window.
//!
//! An unknown domain or descriptor is OK without `current_limit`, and counted in the metrics. A request
//! without domain or descriptors is `INVALID_ARGUMENT`. Nothing that a client can send makes a call fail,
//! because Envoy then lets the client pass: keys and values are bytes; a descriptor that can't be decided
//! on (a limit of its own with an unknown unit, or the 1001st of a request) is over its limit, and so is a
//! message of more than 4 MiB.
//!
//! The counters are those of all APIs. That of a descriptor is in the namespace `rls:DOMAIN` and has a
//! key such as `tenant=a,path=/login,`: `POST /ratelimit` can peek at it and reset it, if it is not
//! longer than keys there.
//!
//! gRPC's health check (`grpc.health.v1.Health/Check`) reports `NOT_SERVING` while the server drains.

mod build;
pub mod config;
mod decide;
mod fields;
mod grpc;
mod health;
mod load;
mod matched;
mod pattern;
pub mod proto;
mod service;
mod tree;
mod unit;

#[cfg(test)]
mod tests;

pub use build::{DomainError, MAX_DEPTH};
pub use decide::{Invalid, decide};
pub use fields::{Fields, UnknownFields};
pub(crate) use grpc::MAX_MESSAGE_BYTES;
pub use grpc::serve;
pub(crate) use grpc::{is_health, is_here, refused};
pub(crate) use load::files;
pub use load::{LoadError, Sources, YamlError, load, parse};
pub use matched::MAX_DESCRIPTORS;
pub use service::Rls;
pub use tree::{Domains, Ignored, MAX_RULES, Rule, Tree};
