//! Values in responses.

use http::{HeaderValue, Response, header};

use crate::http::{Body, stream};

/// The response with a value; without its body, for a HEAD.
///
/// A HEAD gets `Content-Length` explicitly, because its empty body does not show the length of the value.
#[must_use]
pub fn response(value: kv_core::Body, is_head: bool) -> Response<Body> {
    let length = value.len();
    let body = match value {
        _ if is_head => Body::empty(),
        kv_core::Body::Inline(bytes) => Body::full(bytes),
        kv_core::Body::Large(reader) => stream::body(reader, Some(length)),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let bytes = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, bytes);
    if is_head {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}
