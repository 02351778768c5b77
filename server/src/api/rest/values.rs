//! Values: get, put and delete one, and its metadata.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, Method, Response, request::Parts};
use kv_core::{Attributes, Entry, Key, Metadata, NamespaceId, NewBody, Operation, WriteError};

use super::{
    auth, envelope, failure::Failure, keys::metadata_json, limits::MAX_PUT_BYTES, multipart,
    namespaces, numbers::whole,
};
use crate::{
    access::Grant,
    app::App,
    http::{Body, incoming::Incoming},
    kv::{
        Invalid, expiry,
        key::{check_key, decode_key},
        query::Query,
        upload, value,
    },
};

/// When the entry expires, in Unix seconds.
const EXPIRATION: HeaderName = HeaderName::from_static("expiration");

/// The namespace and the key of a path.
fn place<'a>(
    app: &App,
    (id, raw): (&str, &'a str),
    operation: &str,
) -> Result<(NamespaceId, Cow<'a, str>), Failure> {
    let namespace = namespaces::find(&app.store, id, operation)?;
    let key = decode_key(raw)?;
    check_key(&key)?;
    Ok((namespace, key))
}

/// The entry of a path. Most reads take microseconds from the store's cache, so this blocks the thread.
fn entry(app: &App, path: (&str, &str), operation: &str) -> Result<Entry, Failure> {
    let (namespace, key) = place(app, path, operation)?;
    app.store.get(namespace, key.as_bytes())?.ok_or_else(|| Failure::no_key(operation))
}

/// `GET …/values/{key}`.
pub(super) fn get(
    app: &App,
    method: &Method,
    path: (&str, &str),
) -> Result<Response<Body>, Failure> {
    let entry = entry(app, path, "get")?;
    let mut response = value::response(entry.body, method == Method::HEAD);
    if let Some(expires_at) = entry.expires_at {
        response.headers_mut().insert(EXPIRATION, HeaderValue::from(expires_at));
    }
    Ok(response)
}

/// `GET …/metadata/{key}`.
pub(super) fn metadata(app: &App, path: (&str, &str)) -> Result<Response<Body>, Failure> {
    let entry = entry(app, path, "get metadata")?;
    Ok(envelope::success(entry.metadata.as_deref().and_then(metadata_json)))
}

/// `PUT …/values/{key}`. A put replaces value, metadata and expiration together.
pub(super) async fn put(
    (app, grant): (&App, &Grant),
    parts: &Parts,
    path: (&str, &str),
    body: &mut Incoming,
) -> Result<Response<Body>, Failure> {
    let (namespace, key) = place(app, path, "put")?;
    let query = Query(parts.uri.query().unwrap_or(""));
    let [ttl, time] = ["expiration_ttl", "expiration"].map(|name| query.text(name).map(whole));
    let expires_at = expiry::of(
        ttl.as_deref(),
        time.as_deref(),
        (app.store.now_ms() / 1000, app.bounds.min_ttl()),
    )?;
    app.bounds.check_put(namespace, key.as_bytes()).map_err(Invalid::from)?;
    let (body, metadata): (NewBody, Option<Metadata>) = match multipart::boundary(&parts.headers)? {
        Some(boundary) => multipart::receive(app, body, boundary).await?,
        None => (upload::receive(app, body, MAX_PUT_BYTES).await?, None),
    };
    let key = Key::new(key.as_bytes()).map_err(WriteError::from)?;
    let attributes = Attributes { metadata, expires_at };
    auth::recheck(app, grant)?;
    app.writes.submit(Operation::Put { namespace, key, body, attributes }).await?;
    Ok(envelope::success(()))
}

/// `DELETE …/values/{key}`, which succeeds also if there is no such key.
pub(super) async fn delete(
    (app, grant): (&App, &Grant),
    path: (&str, &str),
    body: &mut Incoming,
) -> Result<Response<Body>, Failure> {
    const OPERATION: &str = "remove key";
    let (namespace, key) = place(app, path, OPERATION)?;
    let key = Key::new(key.as_bytes()).map_err(WriteError::from)?;
    body.discard(MAX_PUT_BYTES).await;
    auth::recheck(app, grant)?;
    match app.writes.submit(Operation::Delete { namespace, key }).await {
        Err(WriteError::UnknownNamespace(_)) => Err(Failure::no_namespace(OPERATION)),
        deleted => {
            deleted?;
            Ok(envelope::success(()))
        }
    }
}
