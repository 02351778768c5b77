//! Get: one key's value, its metadata and expiry in headers.

use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use kv_core::{Entry, NamespaceId, Version};

use super::{
    call::{Call, METADATA},
    metadata,
    refusal::Refusal,
};
use crate::{
    app::App,
    http::{Body, reply},
    kv::{expiry, value},
};

/// When the entry expires, in Unix seconds.
const EXPIRATION: HeaderName = HeaderName::from_static("cf-expiration");

/// Responds to a get. Most reads take microseconds from the store's cache, so this blocks the thread,
/// which costs less than a switch to another one.
pub(super) fn respond(
    app: &App,
    namespace: NamespaceId,
    call: &Call<'_>,
) -> Result<Response<Body>, Refusal> {
    let query = call.target.query();
    let key = call.target.key()?;
    if let Some(seconds) = query.text("cache_ttl") {
        expiry::check_cache_ttl(&seconds)?;
    }
    let Some(entry) = app.store.get(namespace, key.as_bytes())? else {
        return Ok(missing(call));
    };
    Ok(found(entry, call.method == Method::HEAD))
}

/// A missing key is not an error: the runtime returns `null` for a 404.
fn missing(call: &Call<'_>) -> Response<Body> {
    let is_read = call.reads_refusals();
    let body = if is_read { Body::full("There is no such key.\n") } else { Body::empty() };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::NOT_FOUND;
    if is_read {
        response.headers_mut().insert(header::CONTENT_TYPE, reply::TEXT);
    }
    response
}

/// The response with a value; without its body, for a HEAD.
fn found(entry: Entry, is_head: bool) -> Response<Body> {
    let mut response = value::response(entry.body, is_head);
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag(entry.version));
    if let Some(expires_at) = entry.expires_at {
        headers.insert(EXPIRATION, HeaderValue::from(expires_at));
    }
    if let Some(json) = entry.metadata {
        headers.insert(METADATA, metadata::header(&json));
    }
    response
}

/// The version of an entry as an `ETag`: its text in quotes. It is written without `format!`, because
/// this is on the path of every get.
pub(super) fn etag(version: Version) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'"'; 51];
    text[17] = b'-';
    let mut write = |start: usize, bytes: &[u8]| {
        for (at, byte) in bytes.iter().enumerate() {
            text[start + 2 * at] = HEX[usize::from(byte >> 4)];
            text[start + 2 * at + 1] = HEX[usize::from(byte & 15)];
        }
    };
    write(1, &version.hlc.0.to_be_bytes());
    write(18, &version.origin.0);
    HeaderValue::from_bytes(&text).expect("hexadecimal digits are valid in a header")
}

#[cfg(test)]
mod tests {
    use kv_core::{Hlc, OriginId};

    use super::*;

    #[test]
    fn an_etag_is_the_quoted_version() {
        let origin = OriginId(std::array::from_fn(|at| u8::try_from(at * 17).unwrap()));
        let version = Version { hlc: Hlc(0x0123_4567_89ab_cdef), origin };
        assert_eq!(etag(version).to_str().unwrap(), format!("\"{version}\""));
    }
}
