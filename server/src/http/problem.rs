//! Refusals of the JSON APIs: a status and `{"error":"a sentence"}`.

use axum::{
    extract::rejection::{BytesRejection, PathRejection},
    response::IntoResponse,
};
use hyper::{
    Response, StatusCode,
    header::{HeaderValue, RETRY_AFTER},
};
use kv_core::{WriteError, limits::MAX_TITLE_BYTES};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Body, json, reply};

/// The longest body of a small JSON API, in bytes: several times a title, an id and some spaces.
pub const MAX_BODY_BYTES: usize = 64 << 10;

/// The body of a refusal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// What failed, why, and what to do.
    pub error: String,
}

impl Problem {
    /// The response with this status and sentence.
    pub fn response(status: StatusCode, error: impl Into<String>) -> Response<Body> {
        reply::json(status, &Problem { error: error.into() })
    }
}

/// The sentence for a body that is longer than [`MAX_BODY_BYTES`].
#[must_use]
pub fn too_long() -> String {
    format!(
        "the body is longer than {MAX_BODY_BYTES} bytes: a title or name has {MAX_TITLE_BYTES} at most"
    )
}

/// Why a JSON API refuses a request.
#[derive(Debug)]
pub struct Refused {
    /// The status of the response.
    status: StatusCode,
    /// What failed, why, and what to do.
    error: String,
    /// When the client may retry, if it is known.
    retry_after: Option<HeaderValue>,
}

impl Refused {
    /// A refusal with this status and sentence.
    #[must_use]
    pub fn new(status: StatusCode, error: impl Into<String>) -> Refused {
        Refused { status, error: error.into(), retry_after: None }
    }

    /// The response.
    #[must_use]
    pub fn response(self) -> Response<Body> {
        let mut response = Problem::response(self.status, self.error);
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        response
    }
}

/// Reads a body, which must be JSON like `example`.
///
/// # Errors
/// A 400 that names the field and the reason, and repeats the example.
pub fn parse<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, Refused> {
    json::object_from_slice(body).map_err(|error| {
        let error = format!("the body must be JSON like {example}: {error}");
        Refused::new(StatusCode::BAD_REQUEST, error)
    })
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.error)
    }
}

impl From<PathRejection> for Refused {
    fn from(rejection: PathRejection) -> Refused {
        Refused::new(rejection.status(), rejection.body_text())
    }
}

impl From<BytesRejection> for Refused {
    fn from(rejection: BytesRejection) -> Refused {
        let text = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_long(),
            _ => rejection.body_text(),
        };
        Refused::new(rejection.status(), text)
    }
}

impl From<WriteError> for Refused {
    fn from(error: WriteError) -> Refused {
        let retry = matches!(error, WriteError::QueueFull);
        let status = match error {
            WriteError::UnknownNamespace(_) => StatusCode::NOT_FOUND,
            WriteError::Invalid(_) => StatusCode::BAD_REQUEST,
            WriteError::Taken(_) => StatusCode::CONFLICT,
            WriteError::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
            WriteError::QueueFull
            | WriteError::ReadOnly(_)
            | WriteError::EndOfTime
            | WriteError::Superseded(_)
            | WriteError::TooManyOrigins
            | WriteError::Closed => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let retry_after = retry.then(|| HeaderValue::from_static("1"));
        Refused { status, error: error.to_string(), retry_after }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> axum::response::Response {
        self.response().into_response()
    }
}
