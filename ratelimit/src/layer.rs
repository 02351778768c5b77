//! A layer for tower services: answers 429 Too Many Requests, with the fields that show a client when to
//! retry.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderValue, Response, StatusCode, header};
use tower_layer::Layer;
use tower_service::Service;

use crate::clock::{Clock, SystemClock};
use crate::decision::Decision;
use crate::headers;
use crate::limit::Limit;
use crate::limiter::Limiter;
use crate::request::Request;

/// Limits the HTTP requests of a service, by a key that a function extracts from each.
///
/// A request without a key (`None`) is not limited. A denied request gets status 429 with an empty body
/// and does not reach the service. Every limited response has `RateLimit-Policy` and `RateLimit`; a denial
/// also has `Retry-After` (RFC 9110). See [`headers`].
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use ratelimit::{Limit, Limiter, RateLimitLayer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Arc::new(Limiter::builder().build()?);
/// let limit = Limit::sliding(100, Duration::from_secs(60))?;
/// let layer = RateLimitLayer::new(limiter, "api", limit, |request: &http::Request<String>| {
///     request.headers().get("x-api-key").map(|key| key.as_bytes().to_vec())
/// });
/// # use tower_layer::Layer;
/// # let _service = layer.layer(());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RateLimitLayer<F, C: Clock = SystemClock> {
    shared: Arc<Shared<F, C>>,
}

#[derive(Debug)]
struct Shared<F, C: Clock> {
    limiter: Arc<Limiter<C>>,
    name: String,
    limit: Limit,
    key: F,
}

impl<F, C: Clock> RateLimitLayer<F, C> {
    /// Creates a layer that counts in the namespace `name`, which is also the policy's name in the
    /// response fields.
    pub fn new(limiter: Arc<Limiter<C>>, name: impl Into<String>, limit: Limit, key: F) -> Self {
        RateLimitLayer { shared: Arc::new(Shared { limiter, name: name.into(), limit, key }) }
    }
}

impl<F, C: Clock> Clone for RateLimitLayer<F, C> {
    fn clone(&self) -> Self {
        RateLimitLayer { shared: Arc::clone(&self.shared) }
    }
}

impl<S, F, C: Clock> Layer<S> for RateLimitLayer<F, C> {
    type Service = RateLimited<S, F, C>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimited { inner, shared: Arc::clone(&self.shared) }
    }
}

/// A service whose requests are limited. [`RateLimitLayer`] creates it.
#[derive(Debug)]
pub struct RateLimited<S, F, C: Clock = SystemClock> {
    inner: S,
    shared: Arc<Shared<F, C>>,
}

impl<S: Clone, F, C: Clock> Clone for RateLimited<S, F, C> {
    fn clone(&self) -> Self {
        RateLimited { inner: self.inner.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S, F, K, C, B, R> Service<http::Request<B>> for RateLimited<S, F, C>
where
    S: Service<http::Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    F: Fn(&http::Request<B>) -> Option<K>,
    K: AsRef<[u8]>,
    C: Clock,
    R: Default + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let Shared { limiter, name, limit, key } = &*self.shared;
        let Some(key) = key(&request) else {
            return Box::pin(self.inner.call(request));
        };
        let decision = limiter.check(&Request::new(name.as_str(), &key, *limit));
        let fields = Fields::new(name, limit, &decision);
        if !decision.allowed {
            let mut response = Response::new(R::default());
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            fields.put(&mut response);
            return Box::pin(std::future::ready(Ok(response)));
        }
        let inner = self.inner.call(request);
        Box::pin(async move {
            let mut response = inner.await?;
            fields.put(&mut response);
            Ok(response)
        })
    }
}

/// The fields of one response.
struct Fields {
    policy: Option<HeaderValue>,
    state: Option<HeaderValue>,
    retry_after: Option<u64>,
}

impl Fields {
    fn new(name: &str, limit: &Limit, decision: &Decision) -> Fields {
        Fields {
            policy: headers::policy(name, limit).try_into().ok(),
            state: headers::state(name, decision).try_into().ok(),
            retry_after: headers::retry_after(decision).filter(|_| !decision.allowed),
        }
    }

    /// Adds the fields to a response. It appends, because the fields are lists and an inner layer may
    /// have added its own.
    fn put<R>(self, response: &mut Response<R>) {
        let fields = response.headers_mut();
        if let Some(policy) = self.policy {
            fields.append(headers::RATELIMIT_POLICY, policy);
        }
        if let Some(state) = self.state {
            fields.append(headers::RATELIMIT, state);
        }
        if let Some(seconds) = self.retry_after {
            fields.insert(header::RETRY_AFTER, seconds.into());
        }
    }
}
