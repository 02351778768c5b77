//! The REST API: Cloudflare's API v4 for Workers KV, which its SDKs, `wrangler kv` and Terraform speak. All paths
//! begin with `/client/v4`; `N` is `/accounts/local/storage/kv/namespaces`.
//!
//! | call | request | result |
//! |---|---|---|
//! | list namespaces | `GET N?page=…&per_page=…&order=…&direction=…` | namespaces |
//! | create, show, rename, drop one | `POST N`, `GET`, `PUT`, `DELETE N/{id}` | namespace; null |
//! | account and user | `GET /accounts`, `/accounts/local`, `/memberships`, `/user`, `…/tokens/verify` | objects |
//!
//! Every response except a value is an [`envelope`]. A [`Failure`] has a number on which clients act. [`Route`] finds
//! the endpoint from the raw path, so that a key is decoded once.

use std::sync::Arc;

use http::{Method, Request, Response, request::Parts};

use crate::{
    app::App,
    http::{Body, RequestBody, incoming::Incoming},
    kv::query::Query,
};

mod accounts;
mod auth;
mod envelope;
pub mod failure;
mod namespaces;
pub mod numbers;
pub mod route;

pub use failure::Failure;
pub use route::Route;

/// How much of a body is read in all before it is refused: the longest of a bulk write. A client that writes its
/// whole body before it reads the response would not see it otherwise.
const MAX_DISCARDED_BYTES: u64 = 100 << 20;

/// Whether a path belongs to this API.
#[must_use]
pub fn is_here(path: &str) -> bool {
    path.strip_prefix(route::BASE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Responds to a request, and reads the rest of its body before a refusal.
pub async fn serve(app: &Arc<App>, request: Request<RequestBody>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut body = Incoming::new(body, &parts.headers);
    match respond(app, &parts, &mut body).await {
        Ok(response) => response,
        Err(failure) => {
            let close = failure.close || !body.discard(MAX_DISCARDED_BYTES).await;
            Failure { close, ..failure }.into_response()
        }
    }
}

/// Performs a call.
async fn respond(
    app: &Arc<App>,
    parts: &Parts,
    body: &mut Incoming,
) -> Result<Response<Body>, Failure> {
    auth::authorize(&parts.headers)?;
    let path = parts.uri.path();
    let route = Route::of(path).ok_or_else(|| Failure::no_route(path))?;
    if !route.has(&parts.method) {
        return Err(Failure::method(&parts.method, route.methods()));
    }
    let query = Query(parts.uri.query().unwrap_or(""));
    if matches!(parts.method, Method::GET | Method::HEAD) {
        // A body means nothing here, but the next request follows it.
        body.discard(MAX_DISCARDED_BYTES).await;
    }
    match (route, &parts.method) {
        (Route::User, _) => Ok(accounts::user()),
        (Route::VerifyToken, _) => Ok(accounts::verify_token()),
        (Route::Memberships, _) => accounts::memberships(query),
        (Route::Accounts, _) => accounts::accounts(query),
        (Route::Account, _) => Ok(accounts::account()),
        (Route::Namespaces, &Method::POST) => namespaces::create(app, body).await,
        (Route::Namespaces, _) => namespaces::list(app, query),
        (Route::Namespace(id), &Method::PUT) => namespaces::rename(app, id, body).await,
        (Route::Namespace(id), &Method::DELETE) => namespaces::remove(app, id).await,
        (Route::Namespace(id), _) => namespaces::show(app, id),
        _ => Err(Failure::no_route(path)),
    }
}
