//! Failures: a status, and an error with a number that clients act on.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use kv_core::{ReadError, WriteError};

use super::envelope::{Envelope, Note};
use crate::{
    http::{Body, incoming::Unread, reply},
    kv::{Invalid, KvError, Rule, error::Unwritten, invalid::shown},
};

/// The numbers of errors, as clients know them.
pub mod code {
    /// The token is not one that verifies.
    pub const INVALID_TOKEN: u32 = 1000;
    /// The token is missing, is not accepted, or permits too little.
    pub const AUTHENTICATION: u32 = 10000;
    /// No endpoint has the path.
    pub const NO_ROUTE: u32 = 7003;
    /// The service can't do this now.
    pub const UNAVAILABLE: u32 = 10001;
    /// The number of a page is not one.
    pub const PAGE: u32 = 10007;
    /// The length of a page is not one.
    pub const PER_PAGE: u32 = 10008;
    /// There is no such key.
    pub const NO_KEY: u32 = 10009;
    /// The id of a namespace is not one.
    pub const NAMESPACE_ID: u32 = 10011;
    /// The body of a request is malformed.
    pub const BODY: u32 = 10012;
    /// There is no such namespace.
    pub const NO_NAMESPACE: u32 = 10013;
    /// A namespace has this title.
    pub const TITLE_TAKEN: u32 = 10014;
    /// There is no title.
    pub const NO_TITLE: u32 = 10019;
    /// An account has too many namespaces.
    pub const TOO_MANY_NAMESPACES: u32 = 10018;
    /// There are too many requests.
    pub const TOO_MANY_REQUESTS: u32 = 10022;
    /// The value or the body is too large.
    pub const TOO_LARGE: u32 = 10024;
    /// This server does not have what was asked for.
    pub const NOT_ENTITLED: u32 = 10026;
    /// The limit of a list is not one.
    pub const LIMIT: u32 = 10028;
    /// The request is not valid.
    pub const INVALID: u32 = 10029;
    /// The key is too long.
    pub const KEY_TOO_LONG: u32 = 10030;
    /// The expiration is not one.
    pub const EXPIRATION: u32 = 10033;
    /// The time to live is not one.
    pub const TTL: u32 = 10034;
    /// The cursor is not one.
    pub const CURSOR: u32 = 10041;
    /// The key is not allowed.
    pub const KEY_NAME: u32 = 10042;
    /// The order of a list is not one.
    pub const ORDER: u32 = 10043;
    /// The direction of a list is not one.
    pub const DIRECTION: u32 = 10044;
    /// Too many bulk requests run.
    pub const BULK_BUSY: u32 = 10046;
    /// The metadata is not valid.
    pub const METADATA: u32 = 10047;
    /// The endpoint has no such method.
    pub const METHOD: u32 = 10405;
}

/// A header by which the official clients decide whether they retry.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status of the response.
    pub status: StatusCode,
    /// The number of the error.
    pub code: u32,
    /// What failed, why, and what to do.
    pub message: Cow<'static, str>,
    /// Seconds after which the same call may succeed, if it may.
    pub retry_after: Option<u8>,
    /// The methods that this path has, if it lacks the one of the call.
    pub allow: Option<&'static str>,
    /// The request's body was not read to its end, so its connection must end.
    pub close: bool,
}

impl Failure {
    /// A failure with this status, number and sentence.
    #[must_use]
    pub fn new(status: StatusCode, code: u32, message: impl Into<Cow<'static, str>>) -> Failure {
        let message = message.into();
        Failure { status, code, message, retry_after: None, allow: None, close: false }
    }

    /// A 400.
    #[must_use]
    pub fn invalid(code: u32, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// No endpoint has this path, or its account does not exist.
    #[must_use]
    pub fn no_route(path: &str) -> Failure {
        let path = shown(path);
        let message =
            format!("Could not route to {path}, perhaps your object identifier is invalid?");
        Failure::new(StatusCode::NOT_FOUND, code::NO_ROUTE, message)
    }

    /// The endpoint has no such method; `allow` lists those that it has.
    #[must_use]
    pub fn method(method: &Method, allow: &'static str) -> Failure {
        let message =
            format!("{} is not a method of this path. Use one of {allow}.", shown(method.as_str()));
        let failure = Failure::new(StatusCode::METHOD_NOT_ALLOWED, code::METHOD, message);
        Failure { allow: Some(allow), ..failure }
    }

    /// The namespace of `operation` does not exist.
    #[must_use]
    pub fn no_namespace(operation: &str) -> Failure {
        let message = format!("{operation}: 'namespace not found'");
        Failure::new(StatusCode::NOT_FOUND, code::NO_NAMESPACE, message)
    }

    /// The key of `operation` does not exist.
    #[must_use]
    pub fn no_key(operation: &str) -> Failure {
        let message = format!("{operation}: 'key not found'");
        Failure::new(StatusCode::NOT_FOUND, code::NO_KEY, message)
    }

    /// A 503 that is temporary.
    #[must_use]
    pub fn busy(message: impl Into<Cow<'static, str>>) -> Failure {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Failure { retry_after: Some(1), ..Failure::new(status, code::UNAVAILABLE, message) }
    }

    /// The response.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        let error = Note { code: self.code, message: self.message.into_owned() };
        let envelope = Envelope {
            result: (),
            success: false,
            errors: vec![error],
            messages: vec![],
            result_info: None::<()>,
        };
        let mut response = reply::json(self.status, &envelope);
        let headers = response.headers_mut();
        match self.retry_after {
            Some(seconds) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(u16::from(seconds)));
            }
            // The clients would retry it at once, twice.
            None if self.status.is_server_error() => {
                headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
            }
            None => {}
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Failure {
        let code = match invalid.rule {
            Rule::KeyName => code::KEY_NAME,
            Rule::KeyLength => code::KEY_TOO_LONG,
            Rule::Cursor => code::CURSOR,
            Rule::Ttl => code::TTL,
            Rule::Expiration => code::EXPIRATION,
            Rule::Metadata | Rule::MetadataLength => code::METADATA,
            Rule::ValueLength | Rule::TotalLength => code::TOO_LARGE,
            Rule::WriteRate => code::TOO_MANY_REQUESTS,
            Rule::KeyEncoding | Rule::CacheTtl | Rule::BulkGet => code::INVALID,
        };
        let retry_after = (invalid.rule == Rule::WriteRate).then_some(1);
        match invalid.rule {
            Rule::Metadata => Failure::new(invalid.status, code, "metadata must be valid json"),
            _ => Failure { retry_after, ..Failure::new(invalid.status, code, invalid.text) },
        }
    }
}

impl From<Unread> for Failure {
    fn from(unread: Unread) -> Failure {
        match unread {
            Unread::Cut => {
                let message = "The body of the request was cut off.";
                Failure { close: true, ..Failure::invalid(code::BODY, message) }
            }
            Unread::TooLong { limit } => Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                code::TOO_LARGE,
                format!("The body of this request has at most {limit} bytes."),
            ),
            Unread::Busy => {
                Failure::busy("Too many long requests are being read. Try again in a second.")
            }
        }
    }
}

impl From<Unwritten> for Failure {
    fn from(unwritten: Unwritten) -> Failure {
        let Unwritten { status, text, retry_after } = unwritten;
        let code = match status {
            StatusCode::BAD_REQUEST => code::INVALID,
            StatusCode::NOT_FOUND => code::NO_NAMESPACE,
            _ => code::UNAVAILABLE,
        };
        Failure { retry_after, ..Failure::new(status, code, text) }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Failure {
        match error {
            WriteError::UnknownNamespace(_) => Failure::no_namespace("put"),
            error => Unwritten::from(error).into(),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        if let ReadError::UnknownNamespace(_) = error {
            // It was dropped since its id was looked up.
            return Failure::no_namespace("get");
        }
        tracing::error!(%error, "a read failed");
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Failure::new(status, code::UNAVAILABLE, format!("The read failed: {error}."))
    }
}

impl From<KvError> for Failure {
    fn from(error: KvError) -> Failure {
        match error {
            KvError::Invalid(invalid) => invalid.into(),
            KvError::Unread(unread) => unread.into(),
            KvError::Write(error) => error.into(),
            KvError::Read(error) => error.into(),
        }
    }
}

/// The failure of a call whose task panicked.
pub(super) fn panicked(error: &tokio::task::JoinError) -> Failure {
    tracing::error!(%error, "a call panicked");
    let message = "The server failed to answer; its log says why.";
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, code::UNAVAILABLE, message)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_failure_is_an_envelope_with_its_headers() {
        let failure = Failure { close: true, ..Failure::busy("Wait \u{e9}.") };
        let response = failure.into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(response.headers()[header::CONNECTION], "close");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let expected = serde_json::json!({
            "result": null,
            "success": false,
            "errors": [{"code": 10001, "message": "Wait \u{e9}."}],
            "messages": [],
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn clients_do_not_retry_what_lasts() {
        let lasting = Failure::from(WriteError::Failed("it is".into())).into_response();
        assert_eq!(lasting.headers()[SHOULD_RETRY], "false");
        let busy = Failure::from(WriteError::QueueFull).into_response();
        assert!(!busy.headers().contains_key(SHOULD_RETRY));
        assert!(!Failure::no_key("get").into_response().headers().contains_key(SHOULD_RETRY));
    }
}
