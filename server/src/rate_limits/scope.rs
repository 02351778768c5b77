//! The scope of a limit: this location, or all of them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error as _};

/// Where the requests are counted that a limit allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Each location allows the whole limit.
    #[default]
    Location,
    /// All locations of the cluster together allow the limit.
    Global,
}

/// A text that is not a scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a scope: use location or global")]
pub struct ScopeError(String);

impl Scope {
    /// Whether it is that of one limit across all locations.
    #[must_use]
    pub fn is_global(self) -> bool {
        self == Scope::Global
    }

    /// The scope of a limit.
    #[must_use]
    pub fn of(limit: &ratelimit::Limit) -> Scope {
        if limit.is_global() { Scope::Global } else { Scope::Location }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::Location => "location",
            Scope::Global => "global",
        })
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Scope, ScopeError> {
        match text {
            "location" => Ok(Scope::Location),
            "global" => Ok(Scope::Global),
            _ => Err(ScopeError(text.chars().take(64).collect())),
        }
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scope, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
