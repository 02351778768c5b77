//! The names of APIs, by which a listener says what it serves.

use std::{fmt, str::FromStr};

use crate::metrics::Api;

/// The name of an API in the configuration of a listener. One name may stand for several APIs of the
/// metrics that the same people use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiName {
    /// Values, in workerd's protocol: `/binding/…`, and any path with `Waypost-Namespace`.
    Binding,
    /// Values, in the protocol of the network API. This version has no paths of it.
    Kv,
    /// Rate limits over HTTP.
    Ratelimit,
    /// Rate limits for Envoy, and gRPC's health check.
    Rls,
    /// Namespaces, the cluster, tokens, overrides of rate limits, the examination of the store.
    Admin,
    /// Health and metrics.
    Ops,
}

impl ApiName {
    /// All names, in the order of the documentation.
    pub const ALL: [ApiName; 6] = [
        ApiName::Binding,
        ApiName::Kv,
        ApiName::Ratelimit,
        ApiName::Rls,
        ApiName::Admin,
        ApiName::Ops,
    ];

    /// Returns the name as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ApiName::Binding => "binding",
            ApiName::Kv => "kv",
            ApiName::Ratelimit => "ratelimit",
            ApiName::Rls => "rls",
            ApiName::Admin => "admin",
            ApiName::Ops => "ops",
        }
    }

    /// Returns the name that an API belongs to; none for paths that no API has.
    #[must_use]
    pub const fn of(api: Api) -> Option<ApiName> {
        match api {
            Api::Binding => Some(ApiName::Binding),
            Api::Rest => Some(ApiName::Kv),
            Api::Ratelimit => Some(ApiName::Ratelimit),
            Api::Rls => Some(ApiName::Rls),
            Api::Namespaces | Api::Cluster | Api::Doctor | Api::Tokens | Api::Limits => {
                Some(ApiName::Admin)
            }
            Api::Ops => Some(ApiName::Ops),
            Api::None => None,
        }
    }
}

/// A text is not the name of an API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of an API: write some of binding, kv, ratelimit, rls, admin, ops")]
pub struct UnknownApi(String);

impl FromStr for ApiName {
    type Err = UnknownApi;

    fn from_str(text: &str) -> Result<ApiName, UnknownApi> {
        let found = ApiName::ALL.into_iter().find(|name| name.as_str() == text);
        found.ok_or_else(|| UnknownApi(text.to_owned()))
    }
}

/// A set of APIs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Apis(u8);

impl Apis {
    /// All APIs.
    pub const ALL: Apis = Apis((1 << ApiName::ALL.len()) - 1);

    /// Whether the set has an API.
    #[must_use]
    pub const fn has(self, name: ApiName) -> bool {
        self.0 >> name as u8 & 1 == 1
    }

    /// Whether a listener with this set serves an API. Paths that no API has are served everywhere: the
    /// response says that nothing is there.
    #[must_use]
    pub fn serve(self, api: Api) -> bool {
        ApiName::of(api).is_none_or(|name| self.has(name))
    }

    /// Whether the set has no API.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<ApiName> for Apis {
    fn from_iter<I: IntoIterator<Item = ApiName>>(names: I) -> Self {
        Apis(names.into_iter().fold(0, |set, name| set | 1 << name as u8))
    }
}

/// The names, separated by commas.
impl fmt::Display for Apis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> =
            ApiName::ALL.into_iter().filter(|name| self.has(*name)).map(ApiName::as_str).collect();
        f.write_str(&names.join(", "))
    }
}

impl fmt::Debug for Apis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Apis({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_the_apis_of_its_names_and_no_others() {
        for name in ApiName::ALL {
            assert_eq!(name.as_str().parse(), Ok(name));
            assert!(Apis::ALL.has(name));
            let only = Apis::from_iter([name, name]);
            for other in ApiName::ALL {
                assert_eq!(only.has(other), other == name);
            }
        }
        assert!("Binding".parse::<ApiName>().is_err());
        let admin = Apis::from_iter([ApiName::Admin, ApiName::Ops]);
        assert_eq!(admin.to_string(), "admin, ops");
        for (api, is_served) in [
            (Api::Namespaces, true),
            (Api::Cluster, true),
            (Api::Doctor, true),
            (Api::Tokens, true),
            (Api::Limits, true),
            (Api::Ops, true),
            (Api::None, true),
            (Api::Binding, false),
            (Api::Ratelimit, false),
            (Api::Rls, false),
        ] {
            assert_eq!(admin.serve(api), is_served, "{api:?}");
        }
        assert!(Apis::from_iter([]).is_empty() && !admin.is_empty());
    }
}
