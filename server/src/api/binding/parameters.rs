//! The names of the parameters in a query. One that a call does not have would be ignored, and a value that should
//! expire would be kept for ever.

use std::borrow::Cow;

use super::refusal::Refusal;
use crate::http::form;
use crate::kv::{invalid::shown, query::Query};

/// The parameters of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The call, as a sentence names it.
    call: &'static str,
    /// Their names.
    names: &'static [&'static str],
}

/// Those of a get.
pub const GET: Parameters = Parameters { call: "get", names: &["cache_ttl", "urlencoded"] };

/// Those of a put.
pub const PUT: Parameters =
    Parameters { call: "put", names: &["expiration", "expiration_ttl", "urlencoded"] };

/// Those of a delete.
pub const DELETE: Parameters = Parameters { call: "delete", names: &["urlencoded"] };

/// Those of a list.
pub const LIST: Parameters =
    Parameters { call: "list", names: &["cursor", "key_count_limit", "prefix", "urlencoded"] };

/// Those of a bulk get.
pub const BULK_GET: Parameters = Parameters { call: "bulk get", names: &["urlencoded"] };

/// The names that other programs have for a parameter, in lower case without `_` and `-`.
const OTHER_NAMES: [(&str, &[&str]); 7] = [
    (
        "expiration_ttl",
        &[
            "ttl",
            "expirationttl",
            "expirettl",
            "expiresttl",
            "expiryttl",
            "expiresin",
            "expirein",
            "ex",
            "maxage",
            "timetolive",
            "lifetime",
            "ttlseconds",
            "expiresafter",
            "expireafter",
            "setex",
        ],
    ),
    (
        "expiration",
        &[
            "expiration",
            "expires",
            "expire",
            "expiry",
            "expiresat",
            "expireat",
            "exp",
            "exat",
            "expirationtime",
            "expirytime",
            "until",
            "expirationtimestamp",
        ],
    ),
    (
        "key_count_limit",
        &[
            "keycountlimit",
            "limit",
            "count",
            "max",
            "n",
            "size",
            "pagesize",
            "perpage",
            "maxkeys",
            "listlimit",
            "top",
            "take",
            "first",
        ],
    ),
    (
        "cursor",
        &[
            "cursor",
            "after",
            "start",
            "startafter",
            "marker",
            "offset",
            "skip",
            "page",
            "pagetoken",
            "next",
            "nextcursor",
            "continuationtoken",
            "continue",
            "from",
        ],
    ),
    ("prefix", &["prefix", "keyprefix", "startswith", "match", "pattern", "filter"]),
    ("cache_ttl", &["cachettl", "cache", "cachemaxage"]),
    ("urlencoded", &["urlencoded", "urlencode", "encoded", "isurlencoded"]),
];

impl Parameters {
    /// Checks that the query has only parameters of this call, each once.
    ///
    /// # Errors
    /// A 400 that names the right parameter, if that can be told, and all those of the call.
    pub fn check(self, query: Query<'_>) -> Result<(), Refusal> {
        // As nearly all calls have it.
        if matches!(query.0, "" | "urlencoded=true") {
            return Ok(());
        }
        let mut given = [false; 4];
        for (name, _value) in form::pairs(query.0) {
            let at = self.names.iter().position(|known| known.as_bytes() == &*name);
            let Some(at) = at else { return Err(self.unknown(&name)) };
            if std::mem::replace(&mut given[at], true) {
                let name = self.names[at];
                return Err(Refusal::invalid(format!(
                    "The parameter {name} is there more than once. Please specify it once."
                )));
            }
        }
        Ok(())
    }

    /// The refusal of a parameter.
    fn unknown(self, name: &[u8]) -> Refusal {
        let name = String::from_utf8_lossy(name);
        let advice = match meant(&name) {
            Some("metadata") => " Metadata goes in the header CF-KV-Metadata, as JSON.".into(),
            Some(meant) if self.names.contains(&meant) => Cow::from(format!(" Use {meant}.")),
            Some("expiration" | "expiration_ttl") => " A put has expiration and expiration_ttl.".into(),
            Some("cursor" | "key_count_limit" | "prefix") => {
                " A list, whose path ends after the namespace, has cursor, key_count_limit and prefix.".into()
            }
            _ => Cow::Borrowed(""),
        };
        let (call, names) = (self.call, self.names.join(", "));
        let name = shown(&name);
        Refusal::invalid(format!(
            "Unknown parameter {name}.{advice} The parameters of a {call} are: {names}."
        ))
    }
}

/// The parameter that somebody means who gives this one.
fn meant(name: &str) -> Option<&'static str> {
    let folded: String = name.chars().filter(|letter| !matches!(letter, '_' | '-')).collect();
    let folded = folded.to_ascii_lowercase();
    if matches!(&*folded, "metadata" | "meta") {
        return Some("metadata");
    }
    let found = OTHER_NAMES.iter().find(|(_name, others)| others.contains(&&*folded));
    found.map(|(name, _others)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_its_own_parameters_each_once() {
        for (call, query) in [
            (GET, ""),
            (GET, "urlencoded=true"),
            (GET, "urlencoded=true&cache_ttl=60"),
            (GET, "&&cache%5Fttl=60&"),
            (PUT, "expiration=1&expiration_ttl=2&urlencoded=false"),
            (DELETE, "urlencoded=true"),
            (LIST, "prefix=&cursor=&key_count_limit=5&urlencoded=true"),
            (BULK_GET, ""),
        ] {
            assert_eq!(call.check(Query(query)), Ok(()), "{query}");
        }
        for (call, query) in
            [(PUT, "expiration_ttl=60&expiration_ttl=70"), (LIST, "prefix=a&prefix=a")]
        {
            let refused = call.check(Query(query)).unwrap_err();
            assert_eq!(refused.status, 400);
            assert!(refused.text.contains("more than once"), "{}", refused.text);
        }
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_the_right_one() {
        for (call, query, expected) in [
            (PUT, "ttl=60", "Unknown parameter ttl. Use expiration_ttl."),
            (PUT, "expirationTtl=60", "Use expiration_ttl."),
            (PUT, "expiration-ttl=60", "Use expiration_ttl."),
            (PUT, "EXPIRATION_TTL=60", "Use expiration_ttl."),
            (PUT, "expiresAt=60", "Use expiration."),
            (PUT, "expiration_ttl=60&ttl=60", "Unknown parameter ttl."),
            (PUT, "expiraton_ttl=60", "are: expiration, expiration_ttl, urlencoded."),
            (PUT, "metadata=%7B%7D", "the header CF-KV-Metadata"),
            (PUT, "cache_ttl=60", "The parameters of a put are"),
            (PUT, "=60", "Unknown parameter ."),
            (PUT, "%ff=60", "Unknown parameter \u{fffd}."),
            (
                GET,
                "limit=3",
                "A list, whose path ends after the namespace, has cursor, key_count_limit",
            ),
            (GET, "expiration_ttl=60", "A put has expiration and expiration_ttl."),
            (GET, "cacheTtl=60", "Use cache_ttl."),
            (LIST, "limit=3", "Use key_count_limit."),
            (LIST, "keyCountLimit=3", "Use key_count_limit."),
            (LIST, "max-keys=3", "Use key_count_limit."),
            (LIST, "start_after=a", "Use cursor."),
            (LIST, "reverse=true", "are: cursor, key_count_limit, prefix, urlencoded."),
            (DELETE, "if_version=1", "The parameters of a delete are: urlencoded."),
            (BULK_GET, "type=json", "The parameters of a bulk get are"),
        ] {
            let refused = call.check(Query(query)).unwrap_err();
            assert_eq!(refused.status, 400, "{query}");
            assert!(refused.text.contains(expected), "{query}: {}", refused.text);
        }
    }

    #[test]
    fn every_other_name_stands_for_one_parameter() {
        let all: Vec<_> = OTHER_NAMES.iter().flat_map(|(_name, others)| *others).collect();
        for name in &all {
            assert_eq!(all.iter().filter(|other| *other == name).count(), 1, "{name}");
        }
    }
}
