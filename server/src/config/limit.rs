//! Rate limits that are configured by name: `[limits.NAME]` in the file.

use std::collections::BTreeMap;

use ratelimit::{Algorithm, Limit};
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::{
    api::limit::MAX_KEY_BYTES,
    rate_limits::{Period, count},
};

/// The longest name of a limit, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// The most limits: each is a label of the metrics.
const MAX_LIMITS: usize = 1000;

/// Limits by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedLimits(pub BTreeMap<String, NamedLimit>);

/// A limit that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedLimit {
    /// What it allows.
    pub limit: Limit,
    /// Where its counters are; the name itself if none is said.
    pub namespace: Option<String>,
}

impl<'de> Deserialize<'de> for NamedLimits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NamedLimits, D::Error> {
        let limits = BTreeMap::<Name, NamedLimit>::deserialize(deserializer)?;
        if limits.len() > MAX_LIMITS {
            let count = limits.len();
            return Err(D::Error::custom(format!(
                "there are {count} limits, and can be {MAX_LIMITS}"
            )));
        }
        Ok(NamedLimits(limits.into_iter().map(|(name, limit)| (name.0, limit)).collect()))
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        let name = String::deserialize(deserializer)?;
        if !(1..=MAX_NAME_BYTES).contains(&name.len()) || name.chars().any(char::is_control) {
            return Err(D::Error::custom(format!(
                "{name:?} is no name of a limit: say 1 to {MAX_NAME_BYTES} bytes without control \
                 characters"
            )));
        }
        Ok(Name(name))
    }
}

/// What is said of a limit.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "the settings of a limit")]
struct Said {
    #[serde(deserialize_with = "limit")]
    limit: u32,
    period: Period,
    #[serde(default, deserialize_with = "super::value::text")]
    algorithm: Option<Algorithm>,
    #[serde(default, deserialize_with = "burst")]
    burst: Option<u32>,
    namespace: Option<String>,
    #[serde(default)]
    shadow: bool,
}

fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    count("limit", deserializer)?.ok_or_else(|| D::Error::missing_field("limit"))
}

fn burst<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    count("burst", deserializer)
}

impl<'de> Deserialize<'de> for NamedLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NamedLimit, D::Error> {
        let said = Said::deserialize(deserializer)?;
        let algorithm = said.algorithm.unwrap_or_default();
        let limit = crate::rate_limits::limit(algorithm, said.limit, said.period, said.burst);
        let limit = limit.map_err(D::Error::custom)?.shadow(said.shadow);
        let length = said.namespace.as_ref().map_or(0, String::len);
        if length > MAX_KEY_BYTES {
            return Err(D::Error::custom(format!(
                "the namespace has {length} bytes, and can have {MAX_KEY_BYTES}"
            )));
        }
        Ok(NamedLimit { limit, namespace: said.namespace })
    }
}
