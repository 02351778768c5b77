//! Small responses.

use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::Serialize;

use crate::body::Body;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A sentence for a person; a newline is added, for terminals.
pub fn text(status: StatusCode, sentence: impl Into<String>) -> Response<Body> {
    let mut sentence = sentence.into();
    sentence.push('\n');
    with_type(status, TEXT, sentence)
}

/// A JSON document.
pub fn json(status: StatusCode, document: &impl Serialize) -> Response<Body> {
    match serde_json::to_string(document) {
        Ok(mut text) => {
            text.push('\n');
            with_type(status, JSON, text)
        }
        // Not reached with the types of this crate: their maps have text keys.
        Err(error) => text_of_error(&error),
    }
}

/// A body of this type.
pub fn with_type(status: StatusCode, kind: HeaderValue, body: String) -> Response<Body> {
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn text_of_error(error: &serde_json::Error) -> Response<Body> {
    text(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer is no JSON: {error}"))
}
