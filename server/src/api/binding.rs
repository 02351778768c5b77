//! The binding API: Workers KV, in the protocol that the runtime (workerd) speaks to the service behind
//! a `kvNamespace` binding.
//!
//! | call | request | response |
//! |---|---|---|
//! | get | `GET /KEY` | the value; metadata and expiry in headers; 404 |
//! | put | `PUT /KEY` | empty |
//! | delete | `DELETE /KEY` | empty, also if there was no such key |
//! | list | `GET /?prefix=…` | JSON |
//! | bulk get | `POST /bulk/get` | JSON |
//!
//! The namespace is not part of the protocol: the router has it from a header, or from the path before
//! ([`Target`]). Of a refusal, a Worker sees the status and the reason phrase ([`Refusal`]).
//!
//! The modules that only convert bytes to meaning and back ([`target`], [`options`], [`metadata`],
//! [`cursor`], [`list`], [`bulk`], [`json`], [`proxied`]) are functions of their arguments alone.

use std::sync::Arc;

use http::{Method, Request, Response, request::Parts};
use kv_core::{Key, NamespaceId, Operation, Store, WriteError, limits::MAX_VALUE_BYTES};

use crate::{
    app::App,
    http::{Body, RequestBody, incoming::Incoming},
};

pub mod bulk;
mod call;
pub mod cursor;
mod get;
pub mod json;
pub mod list;
pub mod metadata;
pub mod options;
pub mod proxied;
mod put;
pub mod refusal;
pub mod target;

pub use refusal::Refusal;
pub use target::Target;

use call::Call;

/// The methods of a key's path, for the header `Allow`.
const KEY_METHODS: &str = "GET, HEAD, PUT, DELETE";

/// How much of a body is read in all before it is refused. A runtime writes its whole body before it
/// reads the response, and reports a connection that ends before that as a network failure.
const MAX_DISCARDED_BYTES: u64 = 2 * MAX_VALUE_BYTES;

/// Responds to a call.
pub async fn serve(
    app: &App,
    request: Request<RequestBody>,
    namespace: &str,
    target: Target,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    run(app, &parts, body, namespace, &call(&parts, &target, false)).await
}

/// Responds to a wrapped call, as miniflare sends it to a `remoteProxyConnectionString`.
pub async fn serve_proxied(
    app: &App,
    request: Request<RequestBody>,
    namespace: &str,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    match proxied::target(&parts.headers) {
        Ok(target) => run(app, &parts, body, namespace, &call(&parts, &target, true)).await,
        Err(refusal) => refusal.into_response(true),
    }
}

/// Returns the parts of a call that its handlers read.
fn call<'a>(parts: &'a Parts, target: &'a Target, is_proxied: bool) -> Call<'a> {
    Call { method: &parts.method, headers: &parts.headers, target, is_proxied }
}

/// Responds to a call, and reads the rest of its body before a refusal.
async fn run(
    app: &App,
    parts: &Parts,
    body: RequestBody,
    namespace: &str,
    call: &Call<'_>,
) -> Response<Body> {
    let mut body = Incoming::new(body, &parts.headers);
    match respond(app, call, namespace, &mut body).await {
        Ok(response) => response,
        Err(refusal) => {
            let close = refusal.close || !body.discard(MAX_DISCARDED_BYTES).await;
            Refusal { close, ..refusal }.into_response(call.reads_refusals())
        }
    }
}

/// Performs a call.
async fn respond(
    app: &App,
    call: &Call<'_>,
    name: &str,
    body: &mut Incoming,
) -> Result<Response<Body>, Refusal> {
    let path = call.target.path();
    let is_list = path == "/" && matches!(*call.method, Method::GET | Method::HEAD);
    let is_get = !is_list && matches!(*call.method, Method::GET | Method::HEAD);
    let found = app.store.namespaces().resolve(name).map(|namespace| namespace.id);
    let unknown = || {
        if app.store.lacks_namespaces() {
            return Refusal::damaged_namespace(name);
        }
        Refusal::unknown_namespace(name, is_get && call.is_from_runtime())
    };
    let namespace = found.ok_or_else(unknown)?;
    if is_get || is_list {
        // A body means nothing here, but the next request follows it.
        body.discard(MAX_DISCARDED_BYTES).await;
    }
    match *call.method {
        _ if is_list => {
            let request = list::Request::parse(call.target.query())?;
            let metrics = Arc::clone(&app.metrics);
            let list = move |store: &Store| list::respond(store, &metrics, namespace, request);
            blocking(app, list).await
        }
        Method::GET | Method::HEAD => get::respond(app, namespace, call),
        Method::PUT => put::respond(app, namespace, call, body, MAX_DISCARDED_BYTES).await,
        Method::DELETE => delete(app, namespace, call, body).await,
        Method::POST if path == "/bulk/get" => bulk_get(app, namespace, body).await,
        Method::POST => Err(Refusal::method(call.method, KEY_METHODS)),
        _ if path == "/bulk/get" => {
            Err(Refusal::method(call.method, "GET, HEAD, PUT, DELETE, POST"))
        }
        _ => Err(Refusal::method(call.method, KEY_METHODS)),
    }
}

/// Responds to a delete. The response must have no body, because the runtime would not read it.
async fn delete(
    app: &App,
    namespace: NamespaceId,
    call: &Call<'_>,
    body: &mut Incoming,
) -> Result<Response<Body>, Refusal> {
    let key = Key::new(call.target.key()?.as_bytes()).map_err(WriteError::from)?;
    if !body.discard(MAX_DISCARDED_BYTES).await {
        return Err(Refusal::cut_body());
    }
    app.writes.submit(Operation::Delete { namespace, key }).await?;
    Ok(Response::new(Body::empty()))
}

/// Responds to a bulk get.
async fn bulk_get(
    app: &App,
    namespace: NamespaceId,
    body: &mut Incoming,
) -> Result<Response<Body>, Refusal> {
    let body = body.whole(bulk::MAX_REQUEST_BYTES, Some(&app.long_bodies)).await?;
    let request = bulk::Request::parse(&body)?;
    blocking(app, move |store| bulk::respond(store, namespace, request)).await
}

/// Runs what may read much of the disk on a thread that serves no connections.
async fn blocking<F>(app: &App, respond: F) -> Result<Response<Body>, Refusal>
where
    F: FnOnce(&Store) -> Result<Response<Body>, Refusal> + Send + 'static,
{
    let store = app.store.clone();
    let task = tokio::task::spawn_blocking(move || respond(&store));
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a read panicked");
        let text = "The server failed to answer; its log says why.";
        Err(Refusal::new(http::StatusCode::INTERNAL_SERVER_ERROR, text))
    })
}
