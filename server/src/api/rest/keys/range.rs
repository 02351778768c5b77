//! Lists that Cloudflare's service does not have: in reverse, of a range, with values, by metadata.

use std::ops::Bound;

use bytes::Bytes;
use http::Response;
use kv_core::{Body as Value, Key, Metadata, NamespaceId, ReadError, Store, limits::MAX_KEY_BYTES};
use serde_json::Value as Json;

use super::{
    super::{
        envelope,
        failure::{Failure, code},
        numbers,
    },
    Key as KeyInfo,
};
use crate::{
    http::Body,
    kv::{Invalid, cursor, query::Query},
    metrics::Metrics,
};

/// After so many bytes of values a page ends.
const MAX_PAGE_BYTES: usize = 2 << 20;
/// Longer values are not in lists.
const MAX_LISTED_BYTES: u64 = 1 << 20;
/// The most keys that are read for a page if a filter leaves out most of them.
const MAX_EXAMINED: usize = 100_000;

/// A list of a range of keys.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeRequest {
    /// The least key.
    lower: Bound<Vec<u8>>,
    /// The key before which the range ends.
    upper: Bound<Vec<u8>>,
    /// Whether the last key comes first.
    is_reverse: bool,
    /// Whether the values are shown.
    has_values: bool,
    /// What the metadata must contain.
    filter: Option<Json>,
    /// At most this many keys.
    limit: usize,
}

/// A key of a page, with its value if that is shown.
struct Row {
    /// The key.
    key: Key,
    /// When it expires, in Unix seconds.
    expires_at: Option<u64>,
    /// Its metadata.
    metadata: Option<Metadata>,
    /// Its value.
    value: Option<Value>,
}

/// The parameters of which any makes a list one of these.
const PARAMETERS: [&str; 6] = ["reverse", "values", "start", "start_after", "end", "metadata"];

impl RangeRequest {
    /// Reads the query of a list; none if it is one that Cloudflare's service has as well.
    ///
    /// # Errors
    /// If a value is out of bounds.
    pub fn parse(query: Query<'_>) -> Result<Option<RangeRequest>, Failure> {
        let is_ours = PARAMETERS.iter().any(|name| query.get(name).is_some());
        is_ours.then(|| RangeRequest::of(query)).transpose()
    }

    /// Reads the query of a list, or of the keys to delete.
    ///
    /// # Errors
    /// If a value is out of bounds.
    pub fn of(query: Query<'_>) -> Result<RangeRequest, Failure> {
        let limit = numbers::limit(query)?;
        let is_reverse = truth(query, "reverse")?;
        let has_values = truth(query, "values")?;
        let prefix = key(query, "prefix")?.unwrap_or_default();
        let mut upper = after_prefix(&prefix).map_or(Bound::Unbounded, Bound::Excluded);
        let mut lower = Bound::Included(prefix);
        if let Some(start) = key(query, "start")? {
            lower = later(lower, Bound::Included(start));
        }
        if let Some(after) = key(query, "start_after")? {
            lower = later(lower, Bound::Excluded(after));
        }
        if let Some(end) = key(query, "end")? {
            upper = earlier(upper, end);
        }
        match cursor::decode(&query.text("cursor").unwrap_or_default())? {
            Some(last) if is_reverse => upper = earlier(upper, last),
            Some(last) => lower = later(lower, Bound::Excluded(last)),
            None => {}
        }
        let filter = query.get("metadata").map(|text| {
            serde_json::from_slice(&text).map_err(|error| {
                let message = format!(
                    "invalid metadata: {error}: use JSON that the metadata must contain, such as {{\"role\":\"admin\"}}"
                );
                Failure::invalid(code::METADATA, message)
            })
        });
        let filter = filter.transpose()?;
        Ok(RangeRequest { lower, upper, is_reverse, has_values, filter, limit })
    }

    /// Whether an entry with this metadata is shown.
    fn shows(&self, metadata: Option<&Metadata>) -> bool {
        let Some(wanted) = &self.filter else { return true };
        let found = metadata.and_then(|text| serde_json::from_str(text).ok());
        found.is_some_and(|found: Json| contains(&found, wanted))
    }

    /// The entries of the range, in order.
    fn rows(&self, store: &Store, namespace: NamespaceId) -> Rows {
        let all = store.range(namespace, (self.lower.clone(), self.upper.clone()));
        let row = |item: Result<(Key, kv_core::Entry), ReadError>| {
            item.map(|(key, entry)| {
                let kv_core::Entry { expires_at, metadata, body, .. } = entry;
                Row { key, expires_at, metadata, value: Some(body) }
            })
        };
        let listed = |item: Result<kv_core::Listed, ReadError>| {
            item.map(|kv_core::Listed { key, expires_at, metadata, .. }| Row {
                key,
                expires_at,
                metadata,
                value: None,
            })
        };
        match (self.has_values, self.is_reverse) {
            (true, false) => Box::new(all.map(row)),
            (true, true) => Box::new(all.rev().map(row)),
            (false, false) => Box::new(all.keys().map(listed)),
            (false, true) => Box::new(all.keys().rev().map(listed)),
        }
    }
}

/// The entries of a range.
type Rows = Box<dyn Iterator<Item = Result<Row, ReadError>>>;

/// The keys of a range, at most `most`, and whether these are all.
pub(in super::super) fn keys(
    store: &Store,
    namespace: NamespaceId,
    request: &RangeRequest,
    most: usize,
) -> Result<(Vec<Key>, bool), ReadError> {
    let mut keys = Vec::new();
    for row in request.rows(store, namespace) {
        match row {
            Ok(row) if !request.shows(row.metadata.as_ref()) => {}
            Ok(_) if keys.len() == most => return Ok((keys, false)),
            Ok(row) => keys.push(row.key),
            // Its key is not known here.
            Err(ReadError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((keys, true))
}

/// A page of a list.
#[derive(Default)]
struct Collected {
    /// The keys, with the values that are shown.
    rows: Vec<(Row, Option<Bytes>)>,
    /// The key after which the next page begins; none if this one is the last.
    next: Option<Key>,
    /// How many entries are damaged.
    damaged: usize,
}

/// Reads a page.
fn collect(rows: Rows, request: &RangeRequest) -> Result<Collected, ReadError> {
    let mut page = Collected::default();
    let (mut bytes, mut examined, mut last) = (0, 0, None);
    for row in rows {
        let mut row = match row {
            Ok(row) => row,
            Err(ReadError::Damaged { .. }) => {
                page.damaged += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        let is_shown = request.shows(row.metadata.as_ref());
        let is_full = page.rows.len() == request.limit || bytes >= MAX_PAGE_BYTES;
        if examined == MAX_EXAMINED || is_shown && is_full {
            page.next = last;
            break;
        }
        examined += 1;
        last = Some(row.key.clone());
        if !is_shown {
            continue;
        }
        let value = row.value.take().filter(|value| value.len() <= MAX_LISTED_BYTES);
        match value.map(Value::read).transpose() {
            Ok(value) => {
                bytes += value.as_ref().map_or(0, Bytes::len);
                page.rows.push((row, value));
            }
            Err(ReadError::Damaged { .. }) => page.damaged += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(page)
}

/// Responds to a list. Reads the disk. Entries that are damaged are left out and counted.
pub(in super::super) fn respond(
    store: &Store,
    metrics: &Metrics,
    namespace: NamespaceId,
    request: &RangeRequest,
) -> Result<Response<Body>, Failure> {
    let page = collect(request.rows(store, namespace), request)?;
    if page.damaged > 0 {
        let keys = page.damaged;
        tracing::error!(%namespace, keys, "a list left out entries that are damaged on this disk");
        metrics.left_out_of_lists(keys);
    }
    let next = page.next.map(|key| cursor::encode(&key)).unwrap_or_default();
    let shown = page.rows.iter().map(|(row, value)| {
        let key = KeyInfo::new(&row.key, row.expires_at, row.metadata.as_deref());
        match value {
            Some(value) => key.with_value(value),
            None => key,
        }
    });
    let shown: Vec<_> = shown.collect();
    Ok(envelope::page(&shown, super::CursorInfo::new(shown.len(), &next)))
}

/// Whether a parameter is given as true.
fn truth(query: Query<'_>, name: &str) -> Result<bool, Failure> {
    match query.text(name).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => {
            let other = crate::kv::invalid::shown(other);
            let message = format!("invalid {name} '{other}': use 'true' or 'false'");
            Err(Failure::invalid(code::INVALID, message))
        }
    }
}

/// The bytes of a parameter that is a key or the beginning of one.
fn key(query: Query<'_>, name: &str) -> Result<Option<Vec<u8>>, Failure> {
    match query.get(name) {
        Some(key) if key.len() > MAX_KEY_BYTES => Err(Invalid::key_too_long(key.len()).into()),
        key => Ok(key.map(|key| key.into_owned())),
    }
}

/// The first bytes after all keys with a prefix; none if there are no such.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let end = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut after = prefix[..=end].to_vec();
    after[end] += 1;
    Some(after)
}

/// The later of two lower bounds.
fn later(one: Bound<Vec<u8>>, other: Bound<Vec<u8>>) -> Bound<Vec<u8>> {
    let rank = |bound: &Bound<Vec<u8>>| match bound {
        Bound::Unbounded => (Vec::new(), false),
        Bound::Included(key) => (key.clone(), false),
        Bound::Excluded(key) => (key.clone(), true),
    };
    if rank(&other) > rank(&one) { other } else { one }
}

/// The earlier of an upper bound and a key before which the range ends.
fn earlier(one: Bound<Vec<u8>>, end: Vec<u8>) -> Bound<Vec<u8>> {
    match one {
        Bound::Excluded(other) if other <= end => Bound::Excluded(other),
        _ => Bound::Excluded(end),
    }
}

/// Whether JSON contains other JSON: objects have at least the fields with values that are contained, all else is equal.
fn contains(found: &Json, wanted: &Json) -> bool {
    match (found, wanted) {
        (Json::Object(found), Json::Object(wanted)) => wanted
            .iter()
            .all(|(name, wanted)| found.get(name).is_some_and(|found| contains(found, wanted))),
        (found, wanted) => found == wanted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_range_is_what_all_its_bounds_allow() {
        let bounds = |query| {
            let request = RangeRequest::of(Query(query)).expect(query);
            (request.lower, request.upper)
        };
        let (from, after) = (
            |key: &str| Bound::Included(key.as_bytes().to_vec()),
            |key: &str| Bound::Excluded(key.as_bytes().to_vec()),
        );
        for (query, expected) in [
            ("", (from(""), Bound::Unbounded)),
            ("prefix=a", (from("a"), after("b"))),
            ("prefix=%FF", (Bound::Included(vec![255]), Bound::Unbounded)),
            ("prefix=a&start=ab&end=ac", (from("ab"), after("ac"))),
            ("prefix=a&start=A&end=c", (from("a"), after("b"))),
            ("start=x&start_after=x", (after("x"), Bound::Unbounded)),
            ("start=x&start_after=w", (from("x"), Bound::Unbounded)),
            ("cursor=eA", (after("x"), Bound::Unbounded)),
            ("cursor=eA&reverse=true&end=z", (from(""), after("x"))),
        ] {
            assert_eq!(bounds(query), expected, "{query}");
        }
        for query in ["reverse=yes", "values=1", "metadata={", "cursor=?", "limit=2"] {
            assert!(RangeRequest::of(Query(query)).is_err(), "{query}");
        }
    }

    #[test]
    fn metadata_contains_what_all_its_fields_contain() {
        let found = json!({"role": "admin", "of": {"a": 1, "b": [1, 2]}});
        for wanted in [json!({}), json!({"role": "admin"}), json!({"of": {"a": 1}}), found.clone()]
        {
            assert!(contains(&found, &wanted), "{wanted}");
        }
        for wanted in
            [json!({"role": "x"}), json!({"of": {"b": [1]}}), json!({"none": null}), json!(1)]
        {
            assert!(!contains(&found, &wanted), "{wanted}");
        }
    }
}
