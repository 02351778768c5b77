//! Domains and descriptors as they are written: in `waypost.toml` as in the YAML of
//! envoyproxy/ratelimit, whose names and nesting these are.

use serde::{Deserialize, Deserializer, de::IgnoredAny};

use crate::rate_limits::{Period, count};

/// A domain: the root of a tree.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a domain: `domain` and `descriptors`")]
pub struct Domain {
    /// Its name, which Envoy's filter has in its configuration.
    pub domain: String,
    /// The first level of its tree.
    pub descriptors: Option<Vec<Descriptor>>,
}

/// A node of the tree.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a descriptor: `key`, `value`, `rate_limit`, `descriptors`"
)]
pub struct Descriptor {
    /// The key of an entry.
    pub key: String,
    /// Its value, in which a `*` stands for any text; any value if there is none or it is empty.
    pub value: Option<String>,
    /// What is allowed to those who come so far and no farther.
    pub rate_limit: Option<RateLimit>,
    /// The level below.
    pub descriptors: Option<Vec<Descriptor>>,
    /// `true`: count, and say OK.
    pub shadow_mode: Option<bool>,
    /// `true`: all values that the wildcard matches share one counter.
    pub share_threshold: Option<bool>,
    /// Refused if `true`.
    pub detailed_metric: Option<bool>,
    /// Refused if `true`.
    pub value_to_metric: Option<bool>,
    /// Refused if `true`.
    pub quota_mode: Option<bool>,
    /// Refused.
    pub metadata: Option<IgnoredAny>,
}

/// A limit.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a rate_limit: `unit` and `requests_per_unit`")]
pub struct RateLimit {
    /// `second`, `minute`, `hour`, `day`, `week`, `month` or `year`.
    pub unit: Option<String>,
    /// Hits in a unit.
    #[serde(default, deserialize_with = "requests_per_unit")]
    pub requests_per_unit: Option<u32>,
    /// `true`: no limit.
    pub unlimited: Option<bool>,
    /// What others call it in `replaces`; Envoy is told it.
    pub name: Option<String>,
    /// Limits that do not apply to a request to which this one does.
    pub replaces: Option<Vec<Replaced>>,
    /// Ours: any other period in place of `unit`.
    pub period: Option<Period>,
    /// Ours: `sliding`, `fixed` or `gcra`.
    pub algorithm: Option<String>,
    /// Ours: what may come at once, with `gcra`.
    #[serde(default, deserialize_with = "burst")]
    pub burst: Option<u32>,
}

fn requests_per_unit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    count("requests_per_unit", deserializer)
}

fn burst<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    count("burst", deserializer)
}

/// A limit that is replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "`name`, the name of a rate_limit")]
pub struct Replaced {
    /// Its name.
    pub name: String,
}
