//! Small responses.

use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::Serialize;

use super::Body;

/// The content type of a sentence.
pub const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The content type of a JSON document.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A sentence for a person, with a newline added for terminals.
pub fn text(status: StatusCode, sentence: impl Into<String>) -> Response<Body> {
    let mut sentence = sentence.into();
    sentence.push('\n');
    with_type(status, TEXT, sentence)
}

/// A JSON document, with a newline added for terminals.
pub fn json(status: StatusCode, document: &impl Serialize) -> Response<Body> {
    match serde_json::to_string(document) {
        Ok(mut text) => {
            text.push('\n');
            with_type(status, JSON, text)
        }
        // Unreachable with the types of this crate: their maps have text keys.
        Err(error) => {
            let error = format!("the response can't be written as JSON: {error}");
            text(StatusCode::INTERNAL_SERVER_ERROR, error)
        }
    }
}

/// A body of this content type.
pub fn with_type(status: StatusCode, kind: HeaderValue, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
