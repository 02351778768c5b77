//! Rate limits that are configured by name: `[limits.NAME]` in the file.

use std::collections::BTreeMap;

use kv_core::visible::is_invisible;
use ratelimit::{Algorithm, Limit};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{
    count::count,
    describe::{Description, MAX_KEY_BYTES},
    period::Period,
    scope::Scope,
};

/// The longest name of a limit, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Limits by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedLimits(pub BTreeMap<String, NamedLimit>);

/// A limit that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedLimit {
    /// The requests that it allows.
    pub limit: Limit,
    /// The namespace of its counters; its name if there is none.
    pub namespace: Option<String>,
}

impl<'de> Deserialize<'de> for NamedLimits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NamedLimits, D::Error> {
        let limits = BTreeMap::<Name, NamedLimit>::deserialize(deserializer)?;
        Ok(NamedLimits(limits.into_iter().map(|(name, limit)| (name.0, limit)).collect()))
    }
}

/// The name of a limit, which is checked.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        let name = String::deserialize(deserializer)?;
        let is_hidden = |letter: char| letter.is_control() || is_invisible(letter);
        let is_visible = !name.contains(is_hidden) && name.trim() == name;
        if !(1..=MAX_NAME_BYTES).contains(&name.len()) || !is_visible {
            return Err(D::Error::custom(format!(
                "{name:?} can't be the name of a limit: use 1 to {MAX_NAME_BYTES} bytes without control characters, \
                 invisible characters, and spaces at the ends"
            )));
        }
        Ok(Name(name))
    }
}

/// A limit as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "the settings of a limit")]
struct Written {
    /// The count of the limit.
    #[serde(deserialize_with = "limit")]
    limit: u32,
    /// The period of the limit, if it has one.
    period: Option<Period>,
    /// The unit of the calendar, in place of the period.
    unit: Option<String>,
    /// The time zone of the unit.
    timezone: Option<String>,
    /// The algorithm, if one is written.
    #[serde(default, deserialize_with = "algorithm")]
    algorithm: Option<Algorithm>,
    /// The burst of GCRA.
    #[serde(default, deserialize_with = "burst")]
    burst: Option<u32>,
    /// The namespace of the counters, if one is written.
    namespace: Option<String>,
    /// Whether denials are counted and allowed.
    #[serde(default)]
    shadow: bool,
    /// Whether it is one limit across all locations.
    #[serde(default)]
    scope: Scope,
}

/// Reads the count, with an error that names the field.
fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    count("limit", deserializer)?.ok_or_else(|| D::Error::missing_field("limit"))
}

/// Reads the burst, with an error that names the field.
fn burst<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    count("burst", deserializer)
}

/// Reads the algorithm by its name.
fn algorithm<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Algorithm>, D::Error> {
    String::deserialize(deserializer)?.parse().map(Some).map_err(D::Error::custom)
}

impl<'de> Deserialize<'de> for NamedLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NamedLimit, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let described = Description {
            count: written.limit,
            period: written.period,
            unit: written.unit.as_deref(),
            timezone: written.timezone.as_deref(),
            algorithm: written.algorithm,
            burst: written.burst,
            scope: written.scope,
        };
        let limit = described.limit().map_err(D::Error::custom)?.shadow(written.shadow);
        let length = written.namespace.as_ref().map_or(0, String::len);
        if length > MAX_KEY_BYTES {
            return Err(D::Error::custom(format!(
                "the namespace has {length} bytes, and the maximum is {MAX_KEY_BYTES}"
            )));
        }
        Ok(NamedLimit { limit, namespace: written.namespace })
    }
}
