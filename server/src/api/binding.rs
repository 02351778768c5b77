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
//! The modules that only convert bytes to meaning and back ([`target`], [`options`], [`parameters`],
//! [`metadata`], [`list`], [`proxied`]) are functions of their arguments alone. What a key, an expiration or a value may be is in
//! [`crate::kv`].

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode, header::EXPECT, request::Parts};
use http_body::Body as _;
use kv_core::{Key, NamespaceId, Operation, Store, WriteError, limits::MAX_VALUE_BYTES};

use crate::{
    access::{Grant, Keys},
    app::App,
    http::{Body, RequestBody, incoming::Incoming, reply},
    kv::{
        bulk_get,
        permission::{Access, Named},
    },
};

mod call;
mod get;
pub mod list;
pub mod metadata;
pub mod options;
pub mod parameters;
mod permission;
pub mod proxied;
mod put;
pub mod refusal;
pub mod target;

pub use refusal::Refusal;
pub use target::Target;

use call::Call;
use parameters::Parameters;
use permission::Permission;

/// The methods of a key's path, for the header `Allow`.
const KEY_METHODS: &str = "GET, HEAD, PUT, DELETE";

/// How much of a body is read in all before it is refused. A runtime writes its whole body before it
/// reads the response, and reports a connection that ends before that as a network failure.
const MAX_DISCARDED_BYTES: u64 = 2 * MAX_VALUE_BYTES;

/// Responds to a call to a namespace, which is named by its title or its id, with what its sender may do.
pub async fn serve(
    app: &App,
    request: Request<RequestBody>,
    namespace: (&str, &Grant),
    target: Target,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    run(app, &parts, body, namespace, &call_of(&parts, &target, false)).await
}

/// Responds to a wrapped call, as miniflare sends it to a `remoteProxyConnectionString`.
pub async fn serve_proxied(
    app: &App,
    request: Request<RequestBody>,
    namespace: (&str, &Grant),
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    match proxied::target(&parts.headers) {
        Ok(target) => run(app, &parts, body, namespace, &call_of(&parts, &target, true)).await,
        Err(refusal) => refusal.into_response(true),
    }
}

/// Responds with this status to a call that fails before its namespace is known. A runtime takes a 404 for a key
/// without a value, so it receives 400 instead.
pub async fn refuse(
    request: Request<RequestBody>,
    status: StatusCode,
    text: String,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let target = Target::whole(&parts.uri);
    let call = call_of(&parts, &target, parts.headers.contains_key(proxied::URL));
    let is_misread = status == StatusCode::NOT_FOUND && call.is_from_runtime();
    let status = if is_misread { StatusCode::BAD_REQUEST } else { status };
    // A client that waits for permission to send its body does not send it.
    let is_waiting = parts.headers.contains_key(EXPECT) && !body.is_end_stream();
    let mut body = Incoming::new(body, &parts.headers);
    let close = is_waiting || !body.discard(MAX_DISCARDED_BYTES).await;
    Refusal { close, ..Refusal::new(status, text) }.into_response(call.reads_refusals())
}

/// Returns the parts of a call that its handlers read.
fn call_of<'a>(parts: &'a Parts, target: &'a Target, is_proxied: bool) -> Call<'a> {
    Call { method: &parts.method, headers: &parts.headers, target, is_proxied }
}

/// Responds to a call, and reads the rest of its body before a refusal.
async fn run(
    app: &App,
    parts: &Parts,
    body: RequestBody,
    namespace: (&str, &Grant),
    call: &Call<'_>,
) -> Response<Body> {
    let mut body = Incoming::new(body, &parts.headers);
    match respond(app, call, namespace, &mut body).await {
        Ok(response) => response,
        Err(refusal) => {
            let close = refusal.close || !body.discard_refused(MAX_DISCARDED_BYTES).await;
            Refusal { close, ..refusal }.into_response(call.reads_refusals())
        }
    }
}

/// Performs a call.
async fn respond(
    app: &App,
    call: &Call<'_>,
    (name, grant): (&str, &Grant),
    body: &mut Incoming,
) -> Result<Response<Body>, Refusal> {
    let path = call.target.path();
    let is_list = path == "/" && matches!(*call.method, Method::GET | Method::HEAD);
    let is_get = !is_list && matches!(*call.method, Method::GET | Method::HEAD);
    let found = app.store.namespaces().resolve(name).map(|namespace| namespace.id);
    let permission = Permission { app, grant, namespace: Named { name, id: found } };
    permission.check_head(call, is_list)?;
    let unknown = || {
        if app.store.lacks_namespaces() {
            return Refusal::damaged_namespace(name);
        }
        Refusal::unknown_namespace(name, is_get && call.is_from_runtime())
    };
    let namespace = found.ok_or_else(unknown)?;
    if let Some(parameters) = parameters(call, is_list) {
        check_parameters(app, call, parameters)?;
    }
    if is_get || is_list {
        // A body means nothing here, but the next request follows it.
        body.discard(MAX_DISCARDED_BYTES).await;
    }
    match *call.method {
        _ if is_list => {
            let request = list::parse(call.target.query())?;
            let metrics = Arc::clone(&app.metrics);
            let list = move |store: &Store| list::respond(store, &metrics, namespace, request);
            blocking(app, list).await
        }
        Method::GET | Method::HEAD => get::respond(app, namespace, call),
        Method::PUT => put::respond(permission, namespace, call, body, MAX_DISCARDED_BYTES).await,
        Method::DELETE => delete(permission, namespace, call, body).await,
        Method::POST if path == "/bulk/get" => bulk_get(permission, namespace, body).await,
        Method::POST => Err(Refusal::method(call.method, KEY_METHODS)),
        _ if path == "/bulk/get" => {
            Err(Refusal::method(call.method, "GET, HEAD, PUT, DELETE, POST"))
        }
        _ => Err(Refusal::method(call.method, KEY_METHODS)),
    }
}

/// The parameters of a call; none of one that is refused for its method.
fn parameters(call: &Call<'_>, is_list: bool) -> Option<Parameters> {
    match *call.method {
        _ if is_list => Some(parameters::LIST),
        Method::GET | Method::HEAD => Some(parameters::GET),
        Method::PUT => Some(parameters::PUT),
        Method::DELETE => Some(parameters::DELETE),
        Method::POST if call.target.path() == "/bulk/get" => Some(parameters::BULK_GET),
        _ => None,
    }
}

/// Checks the parameters of a call. Those of a runtime are only counted: a newer one may send more, and its Workers
/// must work.
fn check_parameters(app: &App, call: &Call<'_>, parameters: Parameters) -> Result<(), Refusal> {
    let checked = parameters.check(call.target.query());
    if checked.is_err() && call.is_from_runtime() {
        app.metrics.requests().ignored_parameters();
        return Ok(());
    }
    checked
}

/// Responds to a delete. The response must have no body, because the runtime would not read it.
async fn delete(
    permission: Permission<'_>,
    namespace: NamespaceId,
    call: &Call<'_>,
    body: &mut Incoming,
) -> Result<Response<Body>, Refusal> {
    let key = Key::new(call.target.key()?.as_bytes()).map_err(WriteError::from)?;
    if !body.discard(MAX_DISCARDED_BYTES).await {
        return Err(Refusal::cut_body());
    }
    permission.recheck()?;
    permission.app.writes.submit(Operation::Delete { namespace, key }).await?;
    Ok(Response::new(Body::empty()))
}

/// Responds to a bulk get.
async fn bulk_get(
    permission: Permission<'_>,
    namespace: NamespaceId,
    body: &mut Incoming,
) -> Result<Response<Body>, Refusal> {
    let app = permission.app;
    let body = body.whole(bulk_get::MAX_REQUEST_BYTES, Some(&app.long_bodies)).await?;
    let request = bulk_get::Request::parse(&body)?;
    request.keys.iter().try_for_each(|key| permission.check(Access::Read, Keys::With(key)))?;
    let answer = move |store: &Store| {
        let reply = bulk_get::answer(store, namespace, request)?.into_body()?;
        Ok(reply::with_type(http::StatusCode::OK, reply::JSON, reply))
    };
    blocking(app, answer).await
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
        Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, text))
    })
}
