//! A call: a request that is sent, perhaps several times, until there is a response.

use std::{
    error::Error as StdError,
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use crate::{
    address::Address,
    connect::Connector,
    envelope::{self, Envelope},
    error::{ConnectError, Error},
    retry::Retry,
    upload::Upload,
};

/// A call.
pub(crate) struct Call {
    /// The method.
    pub(crate) method: Method,
    /// The path below that of the API, and the query.
    pub(crate) path: String,
    /// The type of the body.
    pub(crate) content_type: Option<HeaderValue>,
    /// The body.
    pub(crate) body: Upload,
    /// Whether performing it twice is harmless.
    pub(crate) is_idempotent: bool,
}

impl Call {
    /// A call without a body that may be performed twice.
    pub(crate) fn new(method: Method, path: String) -> Call {
        let body = Upload::from("");
        Call { method, path, content_type: None, body, is_idempotent: true }
    }

    /// The same with a body of JSON.
    pub(crate) fn json(self, body: Vec<u8>) -> Call {
        let content_type = Some(HeaderValue::from_static("application/json"));
        Call { body: body.into(), content_type, ..self }
    }
}

/// Sends calls to one server.
pub(crate) struct Caller {
    /// The server.
    pub(crate) address: Arc<Address>,
    /// The connections.
    pub(crate) http: legacy::Client<Connector, Upload>,
    /// The header with the token.
    pub(crate) authorization: Option<HeaderValue>,
    /// How long a response may take while nothing is sent.
    pub(crate) timeout: Duration,
    /// When a call is repeated.
    pub(crate) retry: Retry,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Caller { address, timeout, retry, .. } = self;
        f.debug_struct("Caller")
            .field("address", &address.to_string())
            .field("timeout", timeout)
            .field("retry", retry)
            .finish_non_exhaustive()
    }
}

impl Caller {
    /// Sends a call and reads its envelope.
    pub(crate) async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<Envelope<T>, Error> {
        let response = self.send(call).await?;
        envelope::read(&self.address, self.timeout, response).await
    }

    /// Sends a call whose result has no meaning.
    pub(crate) async fn perform(&self, call: Call) -> Result<(), Error> {
        self.call::<serde::de::IgnoredAny>(call).await.map(drop)
    }

    /// Sends a call whose result must be there.
    pub(crate) async fn result<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        let envelope = self.call(call).await?;
        envelope.result.ok_or_else(|| self.not_this_api(StatusCode::OK))
    }

    /// The error of a response without what it must have.
    pub(crate) fn not_this_api(&self, status: StatusCode) -> Error {
        Error::NotThisApi { address: Address::clone(&self.address), status }
    }

    /// Sends a call until it succeeds or no retry may help.
    pub(crate) async fn send(&self, call: Call) -> Result<Response<Incoming>, Error> {
        let Call { method, path, content_type, mut body, is_idempotent } = call;
        let uri = self.address.uri(&path);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let again = body.again();
            let mut request = Request::builder().method(&method).uri(&uri).body(body)?;
            let headers = request.headers_mut();
            headers.extend(content_type.clone().map(|value| (CONTENT_TYPE, value)));
            headers.extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
            let error = match self.attempt(request).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let may_repeat = error.is_retryable() && (is_idempotent || !error.is_unknown());
            let Some(next) = again.filter(|_| may_repeat) else { return Err(error) };
            let random = getrandom::u32().unwrap_or_default();
            let Some(wait) = self.retry.wait(attempt, error.retry_after(), random) else {
                return Err(error);
            };
            sleep(wait).await;
            body = next;
        }
    }

    /// Sends a request once.
    async fn attempt(&self, request: Request<Upload>) -> Result<Response<Incoming>, Error> {
        let sent = request.body().sent();
        let mut response = Box::pin(self.http.request(request));
        let mut before = 0;
        let response = loop {
            match timeout(self.timeout, &mut response).await {
                Ok(response) => break response,
                Err(_elapsed) => {
                    let now = sent.load(Ordering::Relaxed);
                    if now == before {
                        let address = Address::clone(&self.address);
                        return Err(Error::TimedOut { address, timeout: self.timeout });
                    }
                    before = now;
                }
            }
        };
        let response = response.map_err(|error| self.unanswered(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(envelope::failure(&self.address, self.timeout, response).await)
    }

    /// The error of a request without a response.
    fn unanswered(&self, error: legacy::Error) -> Error {
        let address = Address::clone(&self.address);
        if let Some(reason) = find::<ConnectError>(&error).filter(|_| error.is_connect()) {
            return Error::Connect { address, reason: reason.clone() };
        }
        if let Some(reason) = find::<std::io::Error>(&error).filter(|_| has_user(&error)) {
            return Error::Upload(std::io::Error::new(reason.kind(), reason.to_string()));
        }
        Error::Broken { address, reason: error.into() }
    }
}

/// Whether the body of the request failed.
fn has_user(error: &legacy::Error) -> bool {
    find::<hyper::Error>(error).is_some_and(hyper::Error::is_user)
}

/// The error of this type among the causes of another one.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
