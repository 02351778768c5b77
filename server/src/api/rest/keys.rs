//! Keys: a page of them, with their expirations and metadata.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Response;
use kv_core::{ListQuery, Listed, NamespaceId, Page, ReadError, Store};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{envelope, failure::Failure, numbers};
use crate::{
    http::Body,
    kv::{ListRequest, cursor, list, query::Query},
    metrics::Metrics,
};

pub mod range;

/// Reads the query of a list.
///
/// # Errors
/// If a value is out of bounds.
pub fn parse(query: Query<'_>) -> Result<ListRequest, Failure> {
    Ok(ListRequest::parse(query, numbers::limit(query)?)?)
}

/// A key of a list.
#[derive(Clone, Serialize)]
struct Key<'a> {
    /// The key; bytes that are not text are replaced.
    name: Cow<'a, str>,
    /// When it expires, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<u64>,
    /// Its metadata as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<RawValue>>,
    /// Its value as text or base64, if the list shows values.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'a, str>>,
    /// Whether the value is base64.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    base64: bool,
}

impl<'a> Key<'a> {
    /// A key without its value.
    fn new(key: &'a [u8], expiration: Option<u64>, metadata: Option<&str>) -> Key<'a> {
        let name = String::from_utf8_lossy(key);
        let metadata = metadata.and_then(metadata_json);
        Key { name, expiration, metadata, value: None, base64: false }
    }

    /// The same with its value, which is base64 if it is not text.
    fn with_value(self, value: &'a [u8]) -> Key<'a> {
        let text = str::from_utf8(value);
        let base64 = text.is_err();
        let value = text.map_or_else(|_not_text| STANDARD.encode(value).into(), Cow::Borrowed);
        Key { value: Some(value), base64, ..self }
    }
}

/// The position in a list that has cursors.
#[derive(Serialize)]
struct CursorInfo<'a> {
    /// How many keys this page has.
    count: usize,
    /// Where the next page begins; empty after the last.
    cursor: &'a str,
    /// The same, as older SDKs read it.
    cursors: Cursors<'a>,
}

impl<'a> CursorInfo<'a> {
    /// The position after a page of so many keys.
    fn new(count: usize, cursor: &'a str) -> CursorInfo<'a> {
        CursorInfo { count, cursor, cursors: Cursors { after: cursor } }
    }
}

/// The cursor where older SDKs look for it.
#[derive(Serialize)]
struct Cursors<'a> {
    /// Where the next page begins; empty after the last.
    after: &'a str,
}

/// The JSON of metadata. Text of an embedded writer that is not JSON becomes a string.
pub(super) fn metadata_json(text: &str) -> Option<Box<RawValue>> {
    let raw = RawValue::from_string(text.to_owned());
    raw.or_else(|_not_json| serde_json::value::to_raw_value(text)).ok()
}

/// Responds to a list. Reads the disk. Keys whose entries are damaged are left out and counted.
pub(super) fn respond(
    store: &Store,
    metrics: &Metrics,
    namespace: NamespaceId,
    request: ListRequest,
) -> Result<Response<Body>, Failure> {
    let page = read(store, metrics, namespace, request)?;
    let last = page.entries.last().filter(|_| !page.complete);
    let next = last.map(|entry| cursor::encode(&entry.key)).unwrap_or_default();
    let keys: Vec<_> = page.entries.iter().map(key).collect();
    Ok(envelope::page(&keys, CursorInfo::new(keys.len(), &next)))
}

/// The JSON of a key.
fn key(entry: &Listed) -> Key<'_> {
    Key::new(&entry.key, entry.expires_at, entry.metadata.as_deref())
}

/// Reads a page. A page without keys is the last one: an SDK stops there even if it has a cursor.
fn read(
    store: &Store,
    metrics: &Metrics,
    namespace: NamespaceId,
    mut request: ListRequest,
) -> Result<Page, ReadError> {
    loop {
        let after = request.after.as_deref();
        let query = ListQuery { prefix: &request.prefix, after, limit: request.limit };
        let mut page = store.list(namespace, &query)?;
        list::count_damaged(metrics, namespace, page.damaged.len());
        if !page.entries.is_empty() || page.complete {
            return Ok(page);
        }
        match page.damaged.pop() {
            Some(last) => request.after = Some(last.to_vec()),
            None => return Ok(Page { complete: true, ..page }),
        }
    }
}
