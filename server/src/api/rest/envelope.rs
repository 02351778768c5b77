//! The envelope of every response except a value: `result`, `success`, `errors`, `messages`, `result_info`.

use http::{Response, StatusCode};
use serde::Serialize;

use crate::http::{Body, reply};

/// A number and a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Note {
    /// The number, by which clients tell cases apart.
    pub code: u32,
    /// The sentence.
    pub message: String,
}

/// The envelope.
#[derive(Debug, Serialize)]
pub(super) struct Envelope<T, I> {
    /// What the call returns; null if it failed.
    pub(super) result: T,
    /// Whether the call succeeded.
    pub(super) success: bool,
    /// Why it failed.
    pub(super) errors: Vec<Note>,
    /// What else is to say.
    pub(super) messages: Vec<Note>,
    /// The page of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result_info: Option<I>,
}

/// The response of a call that succeeded.
pub(super) fn success(result: impl Serialize) -> Response<Body> {
    noted(result, vec![])
}

/// [`success`] with messages.
pub(super) fn noted(result: impl Serialize, messages: Vec<Note>) -> Response<Body> {
    let result_info = None::<()>;
    let envelope = Envelope { result, success: true, errors: vec![], messages, result_info };
    reply::json(StatusCode::OK, &envelope)
}

/// The response of a list.
pub(super) fn page(result: impl Serialize, info: impl Serialize) -> Response<Body> {
    let (errors, messages) = (vec![], vec![]);
    let envelope = Envelope { result, success: true, errors, messages, result_info: Some(info) };
    reply::json(StatusCode::OK, &envelope)
}
