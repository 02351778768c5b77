//! List: a page of keys, without their values.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use kv_core::{ListQuery, Listed, NamespaceId, Page, ReadError, Store};
use serde::Serialize;

use super::{options, refusal::Refusal};
use crate::{
    http::{
        Body, reply,
        stream::{self, PIECE_BYTES, Pieces},
    },
    kv::{ListRequest, cursor, list, query::Query},
    metrics::Metrics,
};

/// Reads the query of a list.
///
/// # Errors
/// If a value is out of bounds.
pub fn parse(query: Query<'_>) -> Result<ListRequest, Refusal> {
    Ok(ListRequest::parse(query, options::list_limit(query)?)?)
}

/// Responds to a list. Reads the disk. Keys whose entries are damaged are left out and counted.
///
/// The reply is written while its client reads it: a piece of it is in memory, and no view of the store is held
/// between two pieces. So a long page is not one snapshot, as two pages are not.
pub(super) fn respond(
    store: &Store,
    metrics: &Arc<Metrics>,
    namespace: NamespaceId,
    request: ListRequest,
) -> Result<Response<Body>, Refusal> {
    let mut listing = Listing {
        store: store.clone(),
        metrics: Arc::clone(metrics),
        namespace,
        left: request.limit,
        request,
        reply: Reply::default(),
    };
    listing.fill()?;
    let body = match listing.reply.is_done {
        true => Body::full(listing.reply.out),
        false => stream::offloaded(listing),
    };
    Ok(reply::with_type(StatusCode::OK, reply::JSON, body))
}

/// How many keys are read at a time: with everything in them escaped, their JSON takes less than 200 KiB.
const READ_KEYS: usize = 32;

/// A page that is written piece by piece.
struct Listing {
    /// The store.
    store: Store,
    /// The metrics.
    metrics: Arc<Metrics>,
    /// The namespace.
    namespace: NamespaceId,
    /// The request; `after` moves with the keys that are written.
    request: ListRequest,
    /// The keys that the page may still have.
    left: usize,
    /// The JSON.
    reply: Reply,
}

impl Listing {
    /// Writes until the buffer has enough for a piece, or the page ends.
    fn fill(&mut self) -> Result<(), ReadError> {
        while !self.reply.is_done && self.reply.out.len() < PIECE_BYTES {
            let query = ListQuery {
                prefix: &self.request.prefix,
                after: self.request.after.as_deref(),
                limit: self.left.min(READ_KEYS),
            };
            let page = self.store.list(self.namespace, &query)?;
            list::count_damaged(&self.metrics, self.namespace, page.damaged.len());
            page.entries.iter().for_each(|entry| self.reply.key(entry));
            self.left = self.left.saturating_sub(page.entries.len());
            let last = page.entries.last().map(|entry| entry.key.to_vec());
            if page.complete || self.left == 0 || last.is_none() {
                let next = last.or(self.request.after.take()).filter(|_| !page.complete);
                self.reply.end(next.as_deref());
            } else {
                self.request.after = last;
            }
        }
        Ok(())
    }
}

impl Pieces for Listing {
    fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        self.fill()?;
        let piece = std::mem::take(&mut self.reply.out);
        Ok((!piece.is_empty()).then(|| piece.into()))
    }
}

/// The JSON of a list: `{"keys":[…],"list_complete":false,"cursor":"…"}`.
#[derive(Default)]
struct Reply {
    /// The bytes that are written and not taken yet.
    out: Vec<u8>,
    /// Whether a key is written.
    has_keys: bool,
    /// Whether the end is written.
    is_done: bool,
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

impl Reply {
    /// Writes a key.
    fn key(&mut self, entry: &Listed) {
        let before: &[u8] = if self.has_keys { b"," } else { br#"{"keys":["# };
        self.out.extend_from_slice(before);
        self.has_keys = true;
        let key = Key {
            // Keys that this API stored are text; those of an embedded writer may be any bytes.
            name: String::from_utf8_lossy(&entry.key),
            expiration: entry.expires_at,
            metadata: entry.metadata.as_deref(),
        };
        serde_json::to_writer(&mut self.out, &key)
            .expect("texts and numbers can be written as JSON");
    }

    /// Writes the end, with the key after which the next page begins if there is one.
    fn end(&mut self, next: Option<&[u8]>) {
        if !self.has_keys {
            self.out.extend_from_slice(br#"{"keys":["#);
        }
        let end = match next {
            None => r#"],"list_complete":true}"#.into(),
            Some(key) => format!(r#"],"list_complete":false,"cursor":"{}"}}"#, cursor::encode(key)),
        };
        self.out.extend_from_slice(end.as_bytes());
        self.is_done = true;
    }
}

/// The JSON of a page.
#[must_use]
pub fn encode(page: &Page) -> Vec<u8> {
    let mut reply = Reply::default();
    page.entries.iter().for_each(|entry| reply.key(entry));
    let last = page.entries.last().filter(|_| !page.complete);
    reply.end(last.map(|entry| entry.key.as_bytes()));
    reply.out
}

#[cfg(test)]
mod tests {
    use kv_core::{Hlc, Key, Metadata, OriginId, Version};

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
        let all = ListRequest { prefix: vec![], after: None, limit: 1000 };
        for (query, expected) in [
            ("", all.clone()),
            ("prefix=&cursor=", all.clone()),
            ("prefix=a%2F+b", ListRequest { prefix: b"a/ b".to_vec(), ..all.clone() }),
            ("prefix=%ED%A0%80", ListRequest { prefix: b"\xed\xa0\x80".to_vec(), ..all.clone() }),
            (
                "key_count_limit=5&cursor=YQ",
                ListRequest { after: Some(b"a".to_vec()), limit: 5, ..all },
            ),
        ] {
            assert_eq!(parse(Query(query)), Ok(expected), "{query}");
        }
        let long = format!("prefix={}", "x".repeat(513));
        for (query, status) in [("cursor=!", 400), ("key_count_limit=0", 400), (&long, 414)] {
            assert_eq!(parse(Query(query)).unwrap_err().status, status, "{query}");
        }
    }
}
