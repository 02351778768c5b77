//! The envelope of every response except a value.

use std::time::Duration;

use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{address::Address, error::Error};

/// Responses are shorter.
const MAX_BYTES: usize = 128 << 20;

/// A header by which a server says whether a retry may help.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// The wait before a retry, in milliseconds.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// A number and a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Note {
    /// The number, in Cloudflare's API.
    #[serde(default)]
    pub code: u32,
    /// The sentence.
    pub message: String,
}

/// The envelope.
#[derive(Deserialize)]
pub(crate) struct Envelope<T> {
    /// What the call returns.
    pub(crate) result: Option<T>,
    /// Why it failed.
    #[serde(default)]
    errors: Option<Vec<Note>>,
    /// What else is to say.
    #[serde(default)]
    pub(crate) messages: Option<Vec<Note>>,
    /// The position in a list.
    #[serde(default)]
    pub(crate) result_info: Option<Info>,
}

/// The position in a list.
#[derive(Deserialize)]
pub(crate) struct Info {
    /// Where the next page begins; empty after the last.
    pub(crate) cursor: Option<String>,
}

/// Reads the envelope of a response that succeeded.
pub(crate) async fn read<T: DeserializeOwned>(
    address: &Address,
    timeout: Duration,
    response: Response<Incoming>,
) -> Result<Envelope<T>, Error> {
    let status = response.status();
    let body = collect(address, timeout, response.into_body()).await?;
    let not_this_api = |_not_json| Error::NotThisApi { address: address.clone(), status };
    serde_json::from_slice(&body).map_err(not_this_api)
}

/// Reads a whole body.
async fn collect(
    address: &Address,
    timeout: Duration,
    body: Incoming,
) -> Result<bytes::Bytes, Error> {
    let body = tokio::time::timeout(timeout, Limited::new(body, MAX_BYTES).collect()).await;
    let body = body.map_err(|_elapsed| Error::TimedOut { address: address.clone(), timeout })?;
    let broken = |reason| Error::Broken { address: address.clone(), reason };
    Ok(body.map_err(broken)?.to_bytes())
}

/// The error that a response reports.
pub(crate) async fn failure(
    address: &Address,
    timeout: Duration,
    response: Response<Incoming>,
) -> Error {
    let (parts, body) = response.into_parts();
    let status = parts.status;
    let body = match collect(address, timeout, body).await {
        Ok(body) => body,
        Err(error) => return error,
    };
    let errors = serde_json::from_slice::<Envelope<serde::de::IgnoredAny>>(&body)
        .ok()
        .and_then(|envelope| envelope.errors)
        .filter(|errors| !errors.is_empty());
    let may_pass = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
        || status.is_server_error();
    let (code, message) = match &errors {
        Some(errors) => {
            let texts: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
            (Some(errors[0].code), texts.join("; "))
        }
        // A proxy before the server.
        None if may_pass => (None, format!("{address} reports {status}")),
        None => return Error::NotThisApi { address: address.clone(), status },
    };
    let forbids = parts.headers.get(SHOULD_RETRY).is_some_and(|value| value == "false");
    let retry_after = retry_after(&parts.headers);
    let is_retryable = may_pass && !forbids;
    Error::Refused { status, code, message, retry_after, is_retryable }
}

/// The wait that a response names. A date counts from the date of the response, so that no clock of this machine matters.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(ms) = text(RETRY_AFTER_MS).and_then(|text| text.trim().parse().ok()) {
        return Some(Duration::from_millis(ms));
    }
    let after = text(header::RETRY_AFTER)?.trim();
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(after).ok()?;
    let now = httpdate::parse_http_date(text(header::DATE)?).ok()?;
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_of_a_response_is_in_seconds_milliseconds_or_a_date() {
        let wait = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, header::HeaderValue::from_static(value));
            }
            retry_after(&headers)
        };
        assert_eq!(wait(&[]), None);
        assert_eq!(wait(&[("retry-after", "3")]), Some(Duration::from_secs(3)));
        assert_eq!(
            wait(&[("retry-after", "3"), ("retry-after-ms", "20")]),
            Some(Duration::from_millis(20))
        );
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let later = ("retry-after", "Sun, 06 Nov 1994 08:49:44 GMT");
        assert_eq!(wait(&[date, later]), Some(Duration::from_secs(7)));
        assert_eq!(wait(&[later]), None);
        assert_eq!(wait(&[("retry-after", "soon")]), None);
    }
}
