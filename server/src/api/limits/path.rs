//! What the path of a request names.

use std::borrow::Cow;

use hyper::StatusCode;
use kv_core::{LimitOverrides, OverrideTarget};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use ratelimit::Limit;

use super::PATH;
use crate::{
    access::{Grant, Need},
    http::problem::Refused,
    rate_limits::RateLimits,
};

/// The prefix of a name that stands for any namespace of limits.
const NAMESPACE: &str = "namespace:";

/// How many of the names that exist an error names.
const MAX_NAMED: usize = 10;

/// The place that a path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// All limits.
    All,
    /// The keys that are denied most.
    Top,
    /// The overrides of a limit.
    Overrides {
        /// The name of the limit, as bytes.
        name: Vec<u8>,
    },
    /// One override.
    One {
        /// The name of the limit, as bytes.
        name: Vec<u8>,
        /// The key.
        key: Vec<u8>,
    },
}

/// What can have overrides.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// Whether it is a limit that has a name; else a namespace.
    is_limit: bool,
    /// The name of the limit or of the namespace.
    name: Box<[u8]>,
    /// The namespace of its counters, which a token must permit.
    pub(super) namespace: Box<[u8]>,
    /// The limit, if the configuration has it.
    pub(super) limit: Option<Limit>,
}

impl Subject {
    /// Whether it is a limit that the configuration does not have any more.
    pub(super) fn is_left_over(&self) -> bool {
        self.is_limit && self.limit.is_none()
    }

    /// The target of its overrides.
    pub(super) fn target(&self) -> OverrideTarget<'_> {
        match self.is_limit {
            true => OverrideTarget::Limit(&self.name),
            false => OverrideTarget::Namespace(&self.name),
        }
    }
}

/// Reads a path of this API.
pub(super) fn read(path: &str) -> Result<Place, Refused> {
    let rest = path.strip_prefix(PATH).unwrap_or_default();
    if rest.is_empty() || rest == "/" {
        return Ok(Place::All);
    }
    if rest == "/top" {
        return Ok(Place::Top);
    }
    let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let rest = rest.strip_prefix('/').and_then(|rest| rest.split_once("/overrides"));
    let place = rest.filter(|(name, _)| !name.is_empty() && !name.contains('/'));
    match place {
        Some((name, "")) => Ok(Place::Overrides { name: decoded(name) }),
        Some((name, key)) if key.starts_with('/') => {
            Ok(Place::One { name: decoded(name), key: decoded(&key[1..]) })
        }
        _ => {
            let error = "nothing is here: overrides are at /v1/limits/NAME/overrides/KEY, with a / in NAME written as %2F";
            Err(Refused::new(StatusCode::NOT_FOUND, error))
        }
    }
}

/// The path of an override, or of all overrides of a limit.
pub(super) fn path_of(name: &[u8], key: Option<&[u8]>) -> String {
    let encoded = |bytes| percent_encode(bytes, NON_ALPHANUMERIC);
    match key {
        Some(key) => format!("{PATH}/{}/overrides/{}", encoded(name), encoded(key)),
        None => format!("{PATH}/{}/overrides", encoded(name)),
    }
}

/// Reads the query of a list: the key after which it begins.
pub(super) fn after(query: &str) -> Result<Option<Vec<u8>>, Refused> {
    match query {
        "" => Ok(None),
        _ => match query.strip_prefix("after=").filter(|key| !key.contains('&')) {
            Some(key) => Ok(Some(percent_decode_str(key).collect())),
            None => {
                let error = "the query of a list of overrides is after=KEY, as `next` has it";
                Err(Refused::new(StatusCode::BAD_REQUEST, error))
            }
        },
    }
}

/// Reads the query of the keys that are denied most: how many.
pub(super) fn count(query: &str) -> Result<usize, Refused> {
    const DEFAULT: usize = 20;
    const MAX: usize = 100;
    let count = match query {
        "" => Some(DEFAULT),
        _ => query.strip_prefix("count=").and_then(|count| count.parse().ok()),
    };
    count.filter(|count| (1..=MAX).contains(count)).ok_or_else(|| {
        let error = format!("the query is count=N, from 1 to {MAX}");
        Refused::new(StatusCode::BAD_REQUEST, error)
    })
}

/// Finds what a name stands for. What is not configured any more can be found as long as it has overrides.
pub(super) fn subject(rates: &RateLimits, all: &LimitOverrides, name: &[u8]) -> Option<Subject> {
    let text = str::from_utf8(name).ok();
    if let Some(named) = text.and_then(|text| rates.named(text)) {
        let (namespace, limit) = (named.namespace.as_bytes().into(), Some(named.limit));
        return Some(Subject { is_limit: true, name: name.into(), namespace, limit });
    }
    let has = |target| all.after(target, None).next().is_some();
    let namespace = name.strip_prefix(NAMESPACE.as_bytes());
    // The counters of a limit that was removed may be in a namespace of the same name: its overrides come first.
    let is_left = || has(OverrideTarget::Limit(name));
    let namespace = namespace.or_else(|| (rates.has_namespace(name) && !is_left()).then_some(name));
    match namespace {
        Some(namespace) => Some(Subject {
            is_limit: false,
            name: namespace.into(),
            namespace: namespace.into(),
            limit: None,
        }),
        None => {
            let is_limit = has(OverrideTarget::Limit(name));
            let is_left = is_limit || has(OverrideTarget::Namespace(name));
            let (name, namespace) = (name.into(), name.into());
            is_left.then_some(Subject { is_limit, name, namespace, limit: None })
        }
    }
}

/// The 404 for a name that nothing has, with those that the sender could use.
pub(super) fn unknown(rates: &RateLimits, grant: &Grant, name: &[u8]) -> Refused {
    let is_permitted = |namespace: &[u8]| grant.check(Need::Override(namespace)).is_ok();
    let limits = rates.all_named().filter(|named| is_permitted(named.namespace.as_bytes()));
    let mut known: Vec<Cow<'_, str>> = limits.map(|named| Cow::from(&named.name[..])).collect();
    let namespaces = rates.namespaces();
    let namespaces = namespaces.iter().filter(|namespace| is_permitted(namespace));
    known.extend(namespaces.map(|namespace| String::from_utf8_lossy(namespace)));
    known.sort();
    known.dedup();
    let more = known.len().saturating_sub(MAX_NAMED);
    known.truncate(MAX_NAMED);
    let known = match (&known[..], more) {
        ([], _) => "the configuration has none".to_owned(),
        (known, 0) => format!("the configuration has {}", known.join(", ")),
        (known, more) => format!("the configuration has {} and {more} more", known.join(", ")),
    };
    let error = format!(
        "no limit has the name {:?}: {known}. For callers that send their own limits, write {NAMESPACE}NAMESPACE",
        shown(name)
    );
    Refused::new(StatusCode::NOT_FOUND, error)
}

/// The 404 for a key that has no override.
pub(super) fn no_override(name: &[u8], key: &[u8]) -> Refused {
    let error = format!("{:?} has no override for the key {:?}", shown(name), shown(key));
    Refused::new(StatusCode::NOT_FOUND, error)
}

/// The start of a text that a client sent, to repeat it.
fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(256)]).chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_rest_of_the_path() {
        let one = |name: &str, key: &[u8]| Place::One { name: name.into(), key: key.into() };
        for (path, place) in [
            ("/v1/limits", Place::All),
            ("/v1/limits/", Place::All),
            ("/v1/limits/top", Place::Top),
            ("/v1/limits/top/overrides", Place::Overrides { name: b"top".into() }),
            ("/v1/limits/a/overrides", Place::Overrides { name: b"a".into() }),
            ("/v1/limits/a/overrides/", one("a", b"")),
            ("/v1/limits/rls%3Ae/overrides/t=a,p=/x/,", one("rls:e", b"t=a,p=/x/,")),
            ("/v1/limits/a%2Fb/overrides/%2F%ff", one("a/b", b"/\xff")),
            ("/v1/limits/overrides/overrides/x", one("overrides", b"x")),
        ] {
            assert_eq!(read(path).ok(), Some(place), "{path}");
        }
        for path in
            ["/v1/limits/a", "/v1/limits//overrides", "/v1/limits/a/b/overrides", "/v1/limitsx"]
        {
            assert!(read(path).is_err(), "{path}");
        }
    }

    #[test]
    fn the_path_of_an_override_leads_back_to_it() {
        for (name, key) in [("a", &b"ip:1"[..]), ("rls:edge", b"t=a,p=/x,"), ("a/b", b"\xff\0%?#")]
        {
            let place = Place::One { name: name.into(), key: key.into() };
            assert_eq!(read(&path_of(name.as_bytes(), Some(key))).ok(), Some(place));
        }
    }
}
