//! Domains and descriptors as they are written, in `waypost.toml` and in the YAML of
//! envoyproxy/ratelimit, which defines the names and the nesting.

use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_saphyr::Spanned;

use crate::rate_limits::{Period, Scope, count};

/// A domain: the root of a tree.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a domain: `domain` and `descriptors`")]
pub struct Domain {
    /// Its name, which the configuration of Envoy's filter refers to.
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
/// A descriptor as it is written: a key, perhaps a value, a limit, and descriptors below it.
pub struct Descriptor {
    /// The key of an entry.
    pub key: String,
    /// Its value, in which a `*` stands for any text. Without a value, or with an empty one, any value
    /// matches.
    pub value: Option<String>,
    /// The limit of descriptors whose last entry matches this node.
    pub rate_limit: Option<RateLimit>,
    /// The level below.
    pub descriptors: Option<Vec<Descriptor>>,
    /// `true`: count, and respond OK.
    pub shadow_mode: Option<Spanned<bool>>,
    /// `true`: all values that the wildcard matches share one counter.
    pub share_threshold: Option<bool>,
    /// Ignored, with a warning if `true`.
    pub detailed_metric: Option<Spanned<bool>>,
    /// Ignored, with a warning if `true`.
    pub value_to_metric: Option<Spanned<bool>>,
    /// Ignored, with a warning if `true`.
    pub quota_mode: Option<Spanned<bool>>,
    /// Ignored, with a warning.
    pub metadata: Option<Spanned<IgnoredAny>>,
}

/// A limit.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a rate_limit: `unit` and `requests_per_unit`")]
pub struct RateLimit {
    /// `second`, `minute`, `hour`, `day`, `week`, `month` or `year`.
    pub unit: Option<String>,
    /// How much cost is allowed in a unit.
    #[serde(default, deserialize_with = "requests_per_unit")]
    pub requests_per_unit: Option<u32>,
    /// `true`: no limit.
    pub unlimited: Option<bool>,
    /// Its name, for `replaces` of other limits and for Envoy.
    pub name: Option<String>,
    /// Limits that do not apply to a request to which this one applies.
    pub replaces: Option<Vec<Replaced>>,
    /// Only here: any other period in place of `unit`.
    pub period: Option<Period>,
    /// Only here: a time zone. The unit (a day, a week, a month or a year) is then that of the calendar there.
    pub timezone: Option<String>,
    /// Only here: `sliding`, `fixed` or `gcra`.
    pub algorithm: Option<String>,
    /// Only here: the cost that is allowed at once, with `gcra`.
    #[serde(default, deserialize_with = "burst")]
    pub burst: Option<u32>,
    /// Only here: `global` for one limit across all locations, `location` for one at each.
    pub scope: Option<Scope>,
    /// Only here: `true` counts all hits whatever the limit is, `false` only those that it allows. Without it,
    /// hits that their descriptor names itself count whatever the limit is.
    pub record: Option<bool>,
}

/// Reads the count of a limit, with an error that names the field.
fn requests_per_unit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    count("requests_per_unit", deserializer)
}

/// Reads the burst of a limit, with an error that names the field.
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
