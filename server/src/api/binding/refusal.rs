//! Refusals: a status and a sentence. The sentence goes into the reason phrase, because that is all that
//! a Worker sees of it, and into the body, for people.

use std::{borrow::Cow, fmt::Write as _};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use hyper::ext::ReasonPhrase;
use kv_core::{NamespaceId, ReadError, WriteError};

use crate::{
    http::{Body, incoming::Unread, reply},
    kv::{Invalid, KvError, Rule, error::Unwritten, invalid::shown},
    terminal::shell_word,
};

/// The longest reason phrase, in bytes. A longer one is cut, as in miniflare.
const MAX_PHRASE_BYTES: usize = 512;

/// The longest title that the command to create a namespace repeats, in characters.
const MAX_TITLE_CHARS: usize = 100;

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the response.
    pub status: StatusCode,
    /// What failed and what to do.
    pub text: Cow<'static, str>,
    /// Seconds after which the same call may succeed, if it may.
    pub retry_after: Option<u8>,
    /// The methods that this path has, if it lacks the one of the call.
    pub allow: Option<&'static str>,
    /// The request's body was not read to its end, so its connection must end.
    pub close: bool,
}

impl Refusal {
    /// A refusal of this status with this sentence.
    #[must_use]
    pub fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { status, text: text.into(), retry_after: None, allow: None, close: false }
    }

    /// A 400.
    #[must_use]
    pub fn invalid(text: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, text)
    }

    /// The path has no such method; `allow` lists those that it has.
    #[must_use]
    pub fn method(method: &http::Method, allow: &'static str) -> Refusal {
        let text =
            format!("{} is not a method of this path. Use one of {allow}.", shown(method.as_str()));
        Refusal { allow: Some(allow), ..Refusal::new(StatusCode::METHOD_NOT_ALLOWED, text) }
    }

    /// The 503 for a name that no readable namespace has, while the row of some namespace is damaged: it may be
    /// that one.
    #[must_use]
    pub fn damaged_namespace(name: &str) -> Refusal {
        Refusal::busy(format!(
            "No namespace {} can be read, and the row of a namespace is damaged on the disk of this location. It is \
             fetched from the other locations, if there are any: try again. If it stays so, create the namespace again; \
             its entries are still there.",
            shown(name)
        ))
    }

    /// There is no such namespace.
    ///
    /// A runtime must not receive a 404 for a single get (`null_for_404`): it would return `null`, and a
    /// Worker with a misspelt namespace would find all its keys missing without an error.
    #[must_use]
    pub fn unknown_namespace(namespace: &str, null_for_404: bool) -> Refusal {
        if namespace.is_empty() {
            return Refusal::invalid("The name of the namespace is empty.");
        }
        let status = if null_for_404 { StatusCode::BAD_REQUEST } else { StatusCode::NOT_FOUND };
        let (name, command) = (shown(namespace), creation(namespace));
        Refusal::new(status, format!("Unknown namespace {name}. Make it with: {command}"))
    }

    /// The request's body was cut off. The client may be gone.
    #[must_use]
    pub fn cut_body() -> Refusal {
        let text = "The body of the request was cut off. Nothing was written.";
        Refusal { close: true, ..Refusal::invalid(text) }
    }

    /// A 503 that is temporary.
    pub(super) fn busy(text: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { retry_after: Some(1), ..Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text) }
    }

    /// The response to a client that reads bodies, or (`false`) to a runtime, which does not and would
    /// lose the connection.
    #[must_use]
    pub fn into_response(self, with_body: bool) -> Response<Body> {
        let body = if with_body { Body::full(format!("{}\n", self.text)) } else { Body::empty() };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        response.extensions_mut().insert(phrase(&self.text));
        let headers = response.headers_mut();
        if with_body {
            headers.insert(header::CONTENT_TYPE, reply::TEXT);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(u16::from(seconds)));
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

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Refusal {
        let retry_after = (invalid.rule == Rule::WriteRate).then_some(1);
        Refusal { retry_after, ..Refusal::new(invalid.status, invalid.text) }
    }
}

impl From<KvError> for Refusal {
    fn from(error: KvError) -> Refusal {
        match error {
            KvError::Invalid(invalid) => invalid.into(),
            KvError::Unread(unread) => unread.into(),
            KvError::Write(error) => error.into(),
            KvError::Read(error) => error.into(),
        }
    }
}

impl From<Unread> for Refusal {
    fn from(unread: Unread) -> Refusal {
        match unread {
            Unread::Cut => Refusal::cut_body(),
            Unread::TooLong { limit } => Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("The body of this request has at most {limit} bytes."),
            ),
            Unread::Busy => {
                Refusal::busy("Too many long requests are being read. Try again in a second.")
            }
        }
    }
}

impl From<WriteError> for Refusal {
    fn from(error: WriteError) -> Refusal {
        match error {
            WriteError::UnknownNamespace(id) => Refusal::unknown_namespace(&id.to_string(), false),
            error => Unwritten::from(error).into(),
        }
    }
}

impl From<Unwritten> for Refusal {
    fn from(unwritten: Unwritten) -> Refusal {
        let Unwritten { status, text, retry_after } = unwritten;
        Refusal { retry_after, ..Refusal::new(status, text) }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Refusal {
        if let ReadError::UnknownNamespace(id) = error {
            // It was dropped since its name was resolved.
            return Refusal::unknown_namespace(&id.to_string(), false);
        }
        tracing::error!(%error, "a read failed");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("The read failed: {error}."))
    }
}

/// The command that creates the namespace of this name, quoted for a shell.
fn creation(name: &str) -> String {
    const CREATE: &str = "waypost namespace create";
    // An id can't be a title.
    if name.parse::<NamespaceId>().is_ok() {
        return format!("{CREATE} TITLE --id {name}");
    }
    if name.chars().count() > MAX_TITLE_CHARS || name.chars().any(char::is_control) {
        return format!("{CREATE} TITLE");
    }
    let dashes = if name.starts_with('-') { "-- " } else { "" };
    format!("{CREATE} {dashes}{}", shell_word(name))
}

/// A sentence as a reason phrase: printable ASCII, everything else escaped as in JSON.
///
/// Bytes outside ASCII would be legal, but workerd 1.20261117.1 then drops the whole phrase.
#[must_use]
pub fn phrase(text: &str) -> ReasonPhrase {
    let mut phrase = String::with_capacity(text.len());
    for letter in text.chars() {
        let before = phrase.len();
        match letter {
            ' '..='~' => phrase.push(letter),
            _ => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    write!(phrase, "\\u{unit:04x}").expect("writing to a string does not fail");
                }
            }
        }
        if phrase.len() > MAX_PHRASE_BYTES {
            phrase.truncate(before);
            break;
        }
    }
    ReasonPhrase::try_from(Bytes::from(phrase))
        .expect("printable ASCII is valid in a reason phrase")
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use kv_core::{InvalidWrite, MemberId};

    use super::*;

    #[test]
    fn a_phrase_is_printable_ascii_of_at_most_512_bytes() {
        for (text, expected) in [
            ("", String::new()),
            ("Key names must not be empty", "Key names must not be empty".into()),
            ("a\r\nb\tc\u{7f}", "a\\u000d\\u000ab\\u0009c\\u007f".into()),
            ("\u{e9} \u{1f600}", "\\u00e9 \\ud83d\\ude00".into()),
            (&"x".repeat(600), "x".repeat(512)),
            (&"\u{1f600}".repeat(100), "\\ud83d\\ude00".repeat(42)),
        ] {
            assert_eq!(phrase(text).as_bytes(), expected.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn an_unknown_namespace_is_a_404_except_where_that_becomes_null() {
        let text = "Unknown namespace prod. Make it with: waypost namespace create prod";
        for (null_for_404, status) in [(true, 400), (false, 404)] {
            let refusal = Refusal::unknown_namespace("prod", null_for_404);
            assert_eq!((refusal.status.as_u16(), &refusal.text[..]), (status, text));
            assert_eq!(Refusal::unknown_namespace("", null_for_404).status, 400);
        }
    }

    #[test]
    fn the_command_that_makes_a_namespace_can_be_pasted_into_a_shell() {
        let id = "0F2ac74b498b48028cb68387c421e279";
        for (name, arguments) in [
            ("a-b.c_d", "a-b.c_d"),
            ("na\u{ef}ve", "na\u{ef}ve"),
            (id, &format!("TITLE --id {id}")),
            ("a b; rm *", "'a b; rm *'"),
            ("it's $HOME", r"'it'\''s $HOME'"),
            ("-x", "-- -x"),
            ("a\nb", "TITLE"),
            (&"x".repeat(101), "TITLE"),
        ] {
            assert_eq!(creation(name), format!("waypost namespace create {arguments}"));
        }
    }

    #[tokio::test]
    async fn a_sentence_is_in_the_phrase_and_for_people_in_the_body() {
        for (with_body, expected) in [(true, "Wait \u{e9}.\n"), (false, "")] {
            let refusal = Refusal { close: true, ..Refusal::busy("Wait \u{e9}.") };
            let response = refusal.into_response(with_body);
            assert_eq!(response.status(), 503);
            assert_eq!(response.headers()[header::RETRY_AFTER], "1");
            assert_eq!(response.headers()[header::CONNECTION], "close");
            assert_eq!(response.headers().contains_key(header::CONTENT_TYPE), with_body);
            let reason = response.extensions().get::<ReasonPhrase>().unwrap();
            assert_eq!(reason.as_bytes(), b"Wait \\u00e9.");
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), expected);
        }
    }

    #[test]
    fn every_refused_write_reports_whether_it_was_written() {
        for (error, status, retry, expected) in [
            (WriteError::QueueFull, 503, Some(1), "Try again"),
            (WriteError::DiskFull, 507, None, "Delete entries"),
            (WriteError::Closed, 503, Some(1), "Nothing was written"),
            (WriteError::ReadOnly("it is".into()), 503, None, "it is. Nothing was written"),
            (WriteError::EndOfTime, 503, None, "its clock shows the year 2200"),
            (WriteError::Superseded(MemberId([1; 16])), 503, None, "nothing was written"),
            (WriteError::TooManyOrigins, 503, None, "nothing was written"),
            (WriteError::Failed("it is".into()), 500, None, "it is. Nothing was written"),
            (WriteError::OutcomeUnknown("it is".into()), 500, None, "is not known: it is"),
            (WriteError::Invalid(InvalidWrite::Value), 400, None, "a value has at most"),
        ] {
            let refusal = Refusal::from(error);
            assert_eq!((refusal.status.as_u16(), refusal.retry_after), (status, retry));
            assert!(refusal.text.contains(expected), "{}", refusal.text);
        }
    }
}
