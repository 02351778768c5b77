//! The target of a request: the key in its path, the options in its query.

use std::borrow::Cow;

use http::uri::{PathAndQuery, Uri};

use super::refusal::Refusal;
use crate::kv::{
    key::{check_key, decode_key},
    query::Query,
};

/// The target of a call: a raw path, beginning with `/` or empty, and a raw query.
///
/// Nothing is decoded, merged or normalised before [`Target::key`], because `//`, `..` and `%2F` are
/// parts of keys.
#[derive(Clone, Debug)]
pub struct Target {
    /// The target as it was received.
    whole: PathAndQuery,
    /// Where the key begins in the path, in bytes.
    start: usize,
}

impl Target {
    /// The whole target of a request.
    #[must_use]
    pub fn whole(uri: &Uri) -> Target {
        Target::after(uri, "")
    }

    /// The target after `prefix`, which the raw path must start with.
    ///
    /// # Panics
    /// In a debug build, if the path does not start with the prefix.
    #[must_use]
    pub fn after(uri: &Uri, prefix: &str) -> Target {
        debug_assert!(uri.path().starts_with(prefix));
        let whole = uri.path_and_query().cloned();
        Target { whole: whole.unwrap_or(PathAndQuery::from_static("/")), start: prefix.len() }
    }

    /// The target of a URL in the form that a runtime sends: `https://fake-host/key?query`, or
    /// `https://fake-host?query` for a list.
    ///
    /// # Errors
    /// If it is not such a URL.
    pub fn of_url(url: &[u8]) -> Result<Target, Refusal> {
        let refusal = || Refusal::invalid("MF-URL is not the URL of a KV call");
        let text = str::from_utf8(url).map_err(|_not_text| refusal())?;
        let (_scheme, rest) = text.split_once("://").ok_or_else(refusal)?;
        let target = rest.find(['/', '?']).map_or("/", |start| &rest[start..]);
        let whole = PathAndQuery::try_from(target).map_err(|_illegal| refusal())?;
        Ok(Target { whole, start: 0 })
    }

    /// The raw path, beginning with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        match self.whole.path().get(self.start..) {
            None | Some("") => "/",
            Some(path) => path,
        }
    }

    /// The raw query, without its `?`.
    #[must_use]
    pub fn query(&self) -> Query<'_> {
        Query(self.whole.query().unwrap_or(""))
    }

    /// The key in the path.
    ///
    /// # Errors
    /// If the path has no key, or one that is not allowed.
    pub fn key(&self) -> Result<Cow<'_, str>, Refusal> {
        let raw = &self.path()[1..];
        let key = if is_urlencoded(self.query()) { decode_key(raw)? } else { Cow::Borrowed(raw) };
        check_key(&key)?;
        Ok(key)
    }
}

/// Whether the path is percent-encoded. All runtimes send this parameter, and send it first; without
/// it the raw path is the key.
#[must_use]
pub fn is_urlencoded(query: Query<'_>) -> bool {
    if query.0.is_empty() {
        return false;
    }
    query.0 == "urlencoded=true"
        || query.get("urlencoded").is_some_and(|value| value.eq_ignore_ascii_case(b"true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(target: &str) -> Result<String, (u16, String)> {
        let target = Target::whole(&target.parse().unwrap());
        target
            .key()
            .map(Cow::into_owned)
            .map_err(|refusal| (refusal.status.as_u16(), refusal.text.into_owned()))
    }

    #[test]
    fn a_path_contains_its_key() {
        for (target, key) in [
            ("/a?urlencoded=true", "a"),
            ("/a%2Fb?urlencoded=true", "a/b"),
            ("/bulk%2Fget?urlencoded=true", "bulk/get"),
            ("/a+b?urlencoded=true", "a+b"),
            ("/%2B?urlencoded=true", "+"),
            ("/%252F?urlencoded=true", "%2F"),
            ("/[x]|^?urlencoded=true", "[x]|^"),
            ("/%00%0A?urlencoded=true", "\0\n"),
            ("/%E2%82%AC?urlencoded=TRUE&cache_ttl=60", "\u{20ac}"),
            ("/a?cache_ttl=60&urlencoded=true", "a"),
            ("//a//?urlencoded=true", "/a//"),
            ("/../a?urlencoded=true", "../a"),
            ("/a%2Fb", "a%2Fb"),
            ("/a%2?urlencoded=false", "a%2"),
            ("/a/b", "a/b"),
            ("https://fake-host/a%20b?urlencoded=true", "a b"),
        ] {
            assert_eq!(key_of(target).as_deref(), Ok(key), "{target}");
        }
    }

    #[test]
    fn a_path_without_a_valid_key_is_refused() {
        let undecodable = (400, "Could not URL-decode key name");
        let empty = (400, "Key names must not be empty");
        let long = format!("/{}", "x".repeat(513));
        let dot = (400, r#"Illegal key name ".". Please use a different name."#);
        let dots = (400, r#"Illegal key name "..". Please use a different name."#);
        let length = (414, "UTF-8 encoded length of 513 exceeds key length limit of 512.");
        for (target, (status, text)) in [
            ("/%ED%A0%80?urlencoded=true", undecodable),
            ("/%FF?urlencoded=true", undecodable),
            ("/%?urlencoded=true", undecodable),
            ("/a%2?urlencoded=true", undecodable),
            ("/%G0?urlencoded=true", undecodable),
            ("/%+1?urlencoded=true", undecodable),
            ("/?urlencoded=true", empty),
            ("/", empty),
            ("/.", dot),
            ("/%2e?urlencoded=true", dot),
            ("/%2E.?urlencoded=true", dots),
            (&long, length),
        ] {
            assert_eq!(key_of(target), Err((status, text.to_owned())), "{target}");
        }
    }

    #[test]
    fn a_key_of_512_bytes_is_accepted_however_it_is_encoded() {
        let target = format!("/{}?urlencoded=true", "%C3%A9".repeat(256));
        assert_eq!(key_of(&target), Ok("\u{e9}".repeat(256)));
    }

    #[test]
    fn a_target_begins_after_the_prefix_of_the_api() {
        let uri = "/binding/ns/a%2Fb?urlencoded=true".parse().unwrap();
        assert_eq!(Target::after(&uri, "/binding/ns").key().unwrap(), "a/b");
        for bare in ["/binding/ns", "/binding/ns/", "/binding/ns?prefix=a"] {
            assert_eq!(Target::after(&bare.parse().unwrap(), "/binding/ns").path(), "/", "{bare}");
        }
    }

    #[test]
    fn a_url_of_the_runtime_is_cut_to_its_target() {
        for (url, path, query) in [
            ("https://fake-host/a?urlencoded=true", "/a", "urlencoded=true"),
            ("https://fake-host", "/", ""),
            ("https://fake-host?prefix=a%2F", "/", "prefix=a%2F"),
            ("https://fake-host/bulk/get", "/bulk/get", ""),
        ] {
            let target = Target::of_url(url.as_bytes()).unwrap();
            assert_eq!((target.path(), target.query().0), (path, query), "{url}");
        }
        for url in ["", "/a", "https:/a", "https://fake-host/a b", "https://fake-host/\u{1}"] {
            assert!(Target::of_url(url.as_bytes()).is_err(), "{url:?}");
        }
        assert!(Target::of_url(b"https://fake-host/\xff").is_err());
    }
}
