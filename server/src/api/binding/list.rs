//! List: a page of keys, without their values.

use http::{Response, StatusCode};
use kv_core::{ListQuery, NamespaceId, Page, Store, limits::MAX_KEY_BYTES};
use serde::Serialize;

use super::{options, refusal::Refusal};
use crate::{
    http::{Body, reply},
    kv::{Invalid, cursor, query::Query},
    metrics::Metrics,
};

/// A list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Only keys that start with this. It is not text: a prefix that is not UTF-8 matches no keys.
    pub prefix: Vec<u8>,
    /// Only keys after this one.
    pub after: Option<Vec<u8>>,
    /// At most this many keys, 1 to 1000.
    pub limit: usize,
}

impl Request {
    /// Reads the query of a list.
    ///
    /// # Errors
    /// If a value is out of bounds.
    pub fn parse(query: Query<'_>) -> Result<Request, Refusal> {
        let limit = options::list_limit(query)?;
        let prefix = query.get("prefix").unwrap_or_default().into_owned();
        if prefix.len() > MAX_KEY_BYTES {
            return Err(Invalid::key_too_long(prefix.len()).into());
        }
        let after = cursor::decode(&query.text("cursor").unwrap_or_default())?;
        Ok(Request { prefix, after, limit })
    }
}

/// Responds to a list. Reads the disk. Keys whose entries are damaged are left out and counted. The reply is in memory
/// until its client has read it or has exceeded the time limit: 1000 keys of 512 bytes with metadata of 1024 bytes are
/// 1.6 MB, or several times as much if everything must be escaped.
pub(super) fn respond(
    store: &Store,
    metrics: &Metrics,
    namespace: NamespaceId,
    request: &Request,
) -> Result<Response<Body>, Refusal> {
    let query = ListQuery {
        prefix: &request.prefix,
        after: request.after.as_deref(),
        limit: request.limit,
    };
    let page = store.list(namespace, &query)?;
    if !page.damaged.is_empty() {
        // The keys may be personal data: `waypost cluster status` names them, the log does not.
        let keys = page.damaged.len();
        tracing::error!(%namespace, keys, "a list left out keys whose entries are damaged on this disk");
        metrics.left_out_of_lists(keys);
    }
    Ok(reply::with_type(StatusCode::OK, reply::JSON, encode(&page)))
}

/// The JSON of a list.
#[derive(Serialize)]
struct Reply<'a> {
    /// The keys of the page, in order.
    keys: Vec<Key<'a>>,
    /// Whether no key follows the page.
    list_complete: bool,
    /// Where the next page begins; none after the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// A key of a list, as JSON.
#[derive(Serialize)]
struct Key<'a> {
    /// The key; bytes that are not text are replaced.
    name: std::borrow::Cow<'a, str>,
    /// When the key expires, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<u64>,
    /// JSON text in a JSON string, which the runtime parses a second time.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
}

/// The JSON of a page.
#[must_use]
pub fn encode(page: &Page) -> Vec<u8> {
    let keys = page.entries.iter().map(|entry| Key {
        // Keys that this API stored are text; those of an embedded writer may be any bytes.
        name: String::from_utf8_lossy(&entry.key),
        expiration: entry.expires_at,
        metadata: entry.metadata.as_deref(),
    });
    let last = page.entries.last().filter(|_| !page.complete);
    let reply = Reply {
        keys: keys.collect(),
        list_complete: page.complete,
        cursor: last.map(|entry| cursor::encode(&entry.key)),
    };
    serde_json::to_vec(&reply).expect("texts and numbers can be written as JSON")
}

#[cfg(test)]
mod tests {
    use kv_core::{Hlc, Key, Listed, Metadata, OriginId, Version};

    use super::*;

    fn listed(key: &'static [u8], expires_at: Option<u64>, metadata: Option<&str>) -> Listed {
        Listed {
            key: Key::new(key).unwrap(),
            version: Version { hlc: Hlc(1), origin: OriginId([0; 16]) },
            metadata: metadata.map(|text| Metadata::new(text).unwrap()),
            expires_at,
        }
    }

    #[test]
    fn a_page_contains_only_what_is_set() {
        let page = Page {
            entries: vec![
                listed(b"a\"\n", None, None),
                listed("\u{e9}".as_bytes(), Some(2_000_000_000), Some(r#""s""#)),
                listed(b"\xff", None, Some(r#"{"a":1}"#)),
            ],
            damaged: vec![],
            complete: true,
        };
        let expected = concat!(
            r#"{"keys":[{"name":"a\"\n"},"#,
            "{\"name\":\"\u{e9}\",",
            r#""expiration":2000000000,"metadata":"\"s\""},"#,
            "{\"name\":\"\u{fffd}\",",
            r#""metadata":"{\"a\":1}"}],"list_complete":true}"#
        );
        assert_eq!(str::from_utf8(&encode(&page)), Ok(expected));
    }

    #[test]
    fn only_a_page_that_is_not_the_last_has_a_cursor() {
        let entries = vec![listed(b"a", None, None), listed(b"\xff", None, None)];
        let more = encode(&Page { entries, damaged: vec![], complete: false });
        let json: serde_json::Value = serde_json::from_slice(&more).unwrap();
        assert_eq!(json["list_complete"], false);
        assert_eq!(json["cursor"], "_w");
        let none = encode(&Page { entries: vec![], damaged: vec![], complete: true });
        assert_eq!(none, br#"{"keys":[],"list_complete":true}"#);
    }

    #[test]
    fn a_query_is_a_list_request() {
        let all = Request { prefix: vec![], after: None, limit: 1000 };
        for (query, expected) in [
            ("", all.clone()),
            ("prefix=&cursor=", all.clone()),
            ("prefix=a%2F+b", Request { prefix: b"a/ b".to_vec(), ..all.clone() }),
            ("prefix=%ED%A0%80", Request { prefix: b"\xed\xa0\x80".to_vec(), ..all.clone() }),
            (
                "key_count_limit=5&cursor=YQ",
                Request { after: Some(b"a".to_vec()), limit: 5, ..all },
            ),
        ] {
            assert_eq!(Request::parse(Query(query)), Ok(expected), "{query}");
        }
        let long = format!("prefix={}", "x".repeat(513));
        for (query, status) in [("cursor=!", 400), ("key_count_limit=0", 400), (&long, 414)] {
            assert_eq!(Request::parse(Query(query)).unwrap_err().status, status, "{query}");
        }
    }
}
