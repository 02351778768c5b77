//! Bulk get: up to 100 keys in one call.

use std::collections::HashSet;

use kv_core::{Body as Value, Entry, NamespaceId, ReadError, Store, limits::MAX_VALUE_BYTES};
use serde::Deserialize;

use super::{
    error::KvError,
    expiry,
    invalid::{Invalid, Rule, shown},
    key::check_key,
    metadata, text,
};
use crate::http::json::object;

mod reply;

pub use reply::{Reply, Shape};

/// The most keys of one call.
pub const MAX_KEYS: usize = 100;

/// The longest request, in bytes. A hundred keys of the greatest length, with each byte escaped by six,
/// take 300 KiB.
pub const MAX_REQUEST_BYTES: usize = 400 * 1024;

/// A bulk get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The keys, each once, in the order of the request.
    pub keys: Vec<String>,
    /// The form of the reply.
    pub shape: Shape,
}

/// The JSON of a request.
#[derive(Deserialize)]
struct Written {
    /// The keys that are requested, with repetitions.
    keys: Vec<String>,
    r#type: Option<String>,
    #[serde(default, rename = "withMetadata")]
    with_metadata: Option<bool>,
    #[serde(default, rename = "cacheTtl")]
    cache_ttl: Option<CacheTtl>,
}

/// The runtime writes this number as a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum CacheTtl {
    /// The form in which workerd writes it.
    Text(String),
    /// The form in which other clients write it.
    Number(serde_json::Number),
}

impl Request {
    /// Reads the body of a bulk get.
    ///
    /// # Errors
    /// If it is not the JSON of a bulk get, or a value is out of bounds.
    pub fn parse(body: &[u8]) -> Result<Request, Invalid> {
        let written: Written = object(&text::decode(body)).map_err(|error| {
            let why = error.without_path();
            Invalid::new(Rule::BulkGet, format!("The body is not the JSON of a bulk get: {why}"))
        })?;
        let is_json = match written.r#type.as_deref() {
            None | Some("" | "text") => false,
            Some("json") => true,
            Some(other) => {
                let text =
                    format!("\"{}\" is not a valid type. Use \"json\" or \"text\"", shown(other));
                return Err(Invalid::new(Rule::BulkGet, text));
            }
        };
        if written.keys.len() > MAX_KEYS {
            return Err(Invalid::new(Rule::BulkGet, "You can request a maximum of 100 keys"));
        }
        if written.keys.is_empty() {
            return Err(Invalid::new(Rule::BulkGet, "You must request a minimum of 1 key"));
        }
        written.keys.iter().try_for_each(|key| check_key(key))?;
        match written.cache_ttl {
            None => {}
            Some(CacheTtl::Text(seconds)) => expiry::check_cache_ttl(&seconds)?,
            Some(CacheTtl::Number(seconds)) => expiry::check_cache_ttl(&seconds.to_string())?,
        }
        let shape = Shape { is_json, with_metadata: written.with_metadata.unwrap_or_default() };
        Ok(Request { keys: unique(written.keys), shape })
    }
}

/// Drops repeated keys.
fn unique(mut keys: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    keys.retain(|key| seen.insert(key.clone()));
    keys
}

/// Reads the entries of a bulk get from the disk.
///
/// # Errors
/// If the values are too long together, one is not JSON although that was requested, or the store can't be read.
pub fn answer(store: &Store, namespace: NamespaceId, request: Request) -> Result<Reply, KvError> {
    let mut entries = store.get_many(namespace, &request.keys)?;
    check_total(&entries)?;
    if request.shape.is_json {
        for (key, entry) in request.keys.iter().zip(&mut entries) {
            if !check_json(store, namespace, key, entry)? {
                let text = "At least one of the requested keys corresponds to a non-json value";
                return Err(Invalid::new(Rule::BulkGet, text).into());
            }
        }
        check_total(&entries)?;
    }
    let entries = request.keys.into_iter().zip(entries).collect();
    Ok(Reply::new(entries, request.shape))
}

/// Checks that the values together are not larger than one value may be.
fn check_total(entries: &[Option<Entry>]) -> Result<(), Invalid> {
    let total: u64 = entries.iter().flatten().map(|entry| entry.body.len()).sum();
    if total > MAX_VALUE_BYTES {
        return Err(Invalid::new(
            Rule::TotalLength,
            "Total size of request exceeds the limit of 25MB",
        ));
    }
    Ok(())
}

/// Whether the value is JSON. A large one is read twice, here and then for the reply, so that it is
/// never in memory whole; for that, a second reader of the same version is opened.
fn check_json(
    store: &Store,
    namespace: NamespaceId,
    key: &str,
    entry: &mut Option<Entry>,
) -> Result<bool, ReadError> {
    loop {
        let Some(first) = entry else { return Ok(true) };
        if let Value::Inline(value) = &first.body {
            return Ok(metadata::is_json(&text::decode(value)));
        }
        match store.get(namespace, key)? {
            Some(Entry { version, body: Value::Large(reader), .. }) if version == first.version => {
                return text::is_json(reader);
            }
            // It was replaced in between. The newer value is as good.
            newer => *entry = newer,
        }
    }
}

#[cfg(test)]
mod tests;
