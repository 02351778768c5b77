//! Bulk get: up to 100 keys in one call.

use std::collections::HashSet;

use http::{HeaderValue, Response, header};
use kv_core::{Body as Value, Entry, NamespaceId, ReadError, Store, limits::MAX_VALUE_BYTES};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::{
    json, options,
    refusal::{Refusal, shown},
    target::check_key,
};
use crate::body::Body;

mod reply;

pub use reply::{Reply, Shape};

/// The most keys of one call.
pub const MAX_KEYS: usize = 100;

/// The longest request that is looked at. A hundred of the longest keys, each byte escaped by six,
/// take 300 KiB.
pub const MAX_REQUEST_BYTES: usize = 400 * 1024;

/// Places for long requests that are being read: together they hold 25 MiB at most. Most requests
/// are short ([`super::incoming::SHORT_BYTES`]) and need none; those hold 16 KiB per connection at
/// most, which is 160 MB with as many connections as there may be.
pub(super) static READING: Semaphore = Semaphore::const_new(64);

/// What a bulk get asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The keys, each once, in the order of the request.
    pub keys: Vec<String>,
    /// What the reply looks like.
    pub shape: Shape,
}

#[derive(Deserialize)]
struct Request {
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
    Text(String),
    Number(serde_json::Number),
}

impl Ask {
    /// Reads the body of a bulk get.
    ///
    /// # Errors
    /// If it is not the JSON of one, or asks for what may not be.
    pub fn parse(body: &[u8]) -> Result<Ask, Refusal> {
        let request: Request = json::object(&json::decode(body)).map_err(|error| {
            Refusal::invalid(format!("The body is not the JSON of a bulk get: {error}"))
        })?;
        let is_json = match request.r#type.as_deref() {
            None | Some("" | "text") => false,
            Some("json") => true,
            Some(other) => {
                let text =
                    format!("\"{}\" is not a valid type. Use \"json\" or \"text\"", shown(other));
                return Err(Refusal::invalid(text));
            }
        };
        if request.keys.len() > MAX_KEYS {
            return Err(Refusal::invalid("You can request a maximum of 100 keys"));
        }
        if request.keys.is_empty() {
            return Err(Refusal::invalid("You must request a minimum of 1 key"));
        }
        request.keys.iter().try_for_each(|key| check_key(key))?;
        match request.cache_ttl {
            None => {}
            Some(CacheTtl::Text(seconds)) => options::check_cache_ttl(&seconds)?,
            Some(CacheTtl::Number(seconds)) => options::check_cache_ttl(&seconds.to_string())?,
        }
        let shape = Shape { is_json, with_metadata: request.with_metadata.unwrap_or_default() };
        Ok(Ask { keys: unique(request.keys), shape })
    }
}

fn unique(mut keys: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    keys.retain(|key| seen.insert(key.clone()));
    keys
}

/// Answers a bulk get. Reads the disk.
pub(super) fn answer(
    store: &Store,
    namespace: NamespaceId,
    ask: Ask,
) -> Result<Response<Body>, Refusal> {
    let mut entries = store.get_many(namespace, &ask.keys)?;
    check_total(&entries)?;
    if ask.shape.is_json {
        for (key, entry) in ask.keys.iter().zip(&mut entries) {
            if !check_json(store, namespace, key, entry)? {
                return Err(Refusal::invalid(
                    "At least one of the requested keys corresponds to a non-json value",
                ));
            }
        }
        check_total(&entries)?;
    }
    let entries = ask.keys.into_iter().zip(entries).collect();
    let mut response = Response::new(Reply::new(entries, ask.shape).into_body()?);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

fn check_total(entries: &[Option<Entry>]) -> Result<(), Refusal> {
    let total: u64 = entries.iter().flatten().map(|entry| entry.body.len()).sum();
    if total > MAX_VALUE_BYTES {
        return Err(Refusal::too_large("Total size of request exceeds the limit of 25MB"));
    }
    Ok(())
}

/// Whether the value is JSON. A large one is read twice, first here and then for the reply, so that
/// it need not be held: for that a second reader is taken, of the same version.
fn check_json(
    store: &Store,
    namespace: NamespaceId,
    key: &str,
    entry: &mut Option<Entry>,
) -> Result<bool, ReadError> {
    loop {
        let Some(first) = entry else { return Ok(true) };
        if let Value::Inline(value) = &first.body {
            return Ok(super::metadata::is_json(&json::decode(value)));
        }
        match store.get(namespace, key)? {
            Some(Entry { version, body: Value::Large(reader), .. }) if version == first.version => {
                return json::is_json(reader);
            }
            // Put meanwhile: the newer one will do as well.
            newer => *entry = newer,
        }
    }
}

#[cfg(test)]
mod tests;
