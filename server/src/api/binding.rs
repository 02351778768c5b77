//! The binding door: Workers KV, as the runtime (workerd) speaks it to the service that stands
//! behind a `kvNamespace` binding.
//!
//! | call | request | answer |
//! |---|---|---|
//! | get | `GET /KEY` | the value; metadata and expiry in headers; 404 |
//! | put | `PUT /KEY` | empty |
//! | delete | `DELETE /KEY` | empty, also if there was no such key |
//! | list | `GET /?prefix=…` | JSON |
//! | bulk get | `POST /bulk/get` | JSON |
//!
//! Which namespace is meant is not part of it: the router knows from a header, or the path before
//! ([`Target`]). What a Worker sees of a refusal is its status and reason phrase ([`Refusal`]).
//!
//! The modules that only turn bytes into meaning and back ([`target`], [`options`], [`metadata`],
//! [`cursor`], [`list`], [`bulk`], [`json`], [`proxied`]) are functions of their arguments alone.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, request::Parts};
use kv_core::{Key, NamespaceId, Operation, Store, WriteError};

use crate::{
    app::App,
    body::{Body, RequestBody},
};

pub mod bulk;
pub mod cursor;
mod get;
mod incoming;
pub mod json;
pub mod list;
pub mod metadata;
pub mod options;
mod pieces;
pub mod proxied;
mod put;
pub mod refusal;
pub mod target;

pub use refusal::Refusal;
pub use target::Target;

use incoming::Incoming;

const METADATA: HeaderName = HeaderName::from_static("cf-kv-metadata");

/// A header that every call of a runtime has, and nobody else's.
const RUNTIME: HeaderName = HeaderName::from_static("cf-kv-flprod-405");

const KEY_METHODS: &str = "GET, HEAD, PUT, DELETE";

/// What a call says, its body aside.
struct Call<'a> {
    method: &'a Method,
    headers: &'a HeaderMap,
    target: &'a Target,
    is_proxied: bool,
}

impl Call<'_> {
    fn metadata(&self) -> Result<Option<&HeaderValue>, Refusal> {
        let name = if self.is_proxied { proxied::METADATA } else { METADATA };
        let mut values = self.headers.get_all(name).iter();
        let metadata = values.next();
        if values.next().is_some() {
            return Err(Refusal::invalid("Invalid metadata. Please specify it once."));
        }
        Ok(metadata)
    }

    fn is_of_runtime(&self) -> bool {
        self.is_proxied || self.headers.contains_key(RUNTIME)
    }

    /// Whether the body of a refusal is of use. A runtime does not read it, and then can't use the
    /// connection again.
    fn reads_refusals(&self) -> bool {
        self.method != Method::HEAD && !self.is_of_runtime()
    }
}

/// Answers a call of the binding door.
pub async fn serve(
    app: &App,
    request: Request<RequestBody>,
    namespace: &str,
    target: Target,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    run(app, &parts, body, namespace, &target, false).await
}

/// Answers a call that comes wrapped, as miniflare sends it to a `remoteProxyConnectionString`.
pub async fn serve_proxied(
    app: &App,
    request: Request<RequestBody>,
    namespace: &str,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    match proxied::target(&parts.headers) {
        Ok(target) => run(app, &parts, body, namespace, &target, true).await,
        Err(refusal) => refusal.into_response(true),
    }
}

async fn run(
    app: &App,
    parts: &Parts,
    body: RequestBody,
    namespace: &str,
    target: &Target,
    is_proxied: bool,
) -> Response<Body> {
    let call = Call { method: &parts.method, headers: &parts.headers, target, is_proxied };
    let mut body = Incoming::new(body, &parts.headers);
    match answer(app, &call, namespace, &mut body).await {
        Ok(response) => response,
        Err(refusal) => {
            let close = refusal.close || !body.drain().await;
            Refusal { close, ..refusal }.into_response(call.reads_refusals())
        }
    }
}

async fn answer(
    app: &App,
    call: &Call<'_>,
    name: &str,
    body: &mut Incoming,
) -> Result<Response<Body>, Refusal> {
    let path = call.target.path();
    let is_list = path == "/" && matches!(*call.method, Method::GET | Method::HEAD);
    let is_get = !is_list && matches!(*call.method, Method::GET | Method::HEAD);
    let found = app.store.namespaces().resolve(name).map(|namespace| namespace.id);
    let unknown = || Refusal::unknown_namespace(name, is_get && call.is_of_runtime());
    let namespace = found.ok_or_else(unknown)?;
    if is_get || is_list {
        // A body means nothing here, but the next request comes behind it.
        body.drain().await;
    }
    match *call.method {
        _ if is_list => {
            let ask = list::Ask::parse(call.target.query())?;
            blocking(app, move |store| list::answer(store, namespace, &ask)).await
        }
        Method::GET | Method::HEAD => get::answer(app, namespace, call),
        Method::PUT => put::answer(app, namespace, call, body).await,
        Method::DELETE => delete(app, namespace, call, body).await,
        Method::POST if path == "/bulk/get" => bulk_get(app, namespace, body).await,
        Method::POST => Err(Refusal::method(call.method, KEY_METHODS)),
        _ if path == "/bulk/get" => {
            Err(Refusal::method(call.method, "GET, HEAD, PUT, DELETE, POST"))
        }
        _ => Err(Refusal::method(call.method, KEY_METHODS)),
    }
}

/// Answers a delete. Its response must have no body: the runtime would not read it.
async fn delete(
    app: &App,
    namespace: NamespaceId,
    call: &Call<'_>,
    body: &mut Incoming,
) -> Result<Response<Body>, Refusal> {
    let key = Key::new(call.target.key()?.as_bytes()).map_err(WriteError::from)?;
    if !body.drain().await {
        return Err(Refusal::cut_body());
    }
    app.writes.submit(Operation::Delete { namespace, key }).await?;
    Ok(Response::new(Body::empty()))
}

async fn bulk_get(
    app: &App,
    namespace: NamespaceId,
    body: &mut Incoming,
) -> Result<Response<Body>, Refusal> {
    let Some(request) = body.whole(bulk::MAX_REQUEST_BYTES, &bulk::READING).await? else {
        let limit = bulk::MAX_REQUEST_BYTES;
        return Err(Refusal::too_large(format!(
            "The body of a bulk get has at most {limit} bytes."
        )));
    };
    let ask = bulk::Ask::parse(&request)?;
    blocking(app, move |store| bulk::answer(store, namespace, ask)).await
}

/// Runs what may read much of the disk where it holds up no connection.
async fn blocking<F>(app: &App, answer: F) -> Result<Response<Body>, Refusal>
where
    F: FnOnce(&Store) -> Result<Response<Body>, Refusal> + Send + 'static,
{
    let store = app.store.clone();
    let task = tokio::task::spawn_blocking(move || answer(&store));
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a read did not end");
        let text = "The server failed to answer; its log says why.";
        Err(Refusal::new(http::StatusCode::INTERNAL_SERVER_ERROR, text))
    })
}
