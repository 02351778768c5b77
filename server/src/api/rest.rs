//! The REST API: Cloudflare's API v4 for Workers KV, which its SDKs, `wrangler kv` and Terraform speak. All paths
//! begin with `/client/v4`; `N` is `/accounts/local/storage/kv/namespaces`.
//!
//! | call | request | result |
//! |---|---|---|
//! | list namespaces | `GET N?page=…&per_page=…&order=…&direction=…` | namespaces |
//! | create, show, rename, drop one | `POST N`, `GET`, `PUT`, `DELETE N/{id}` | namespace; null |
//! | list keys | `GET N/{id}/keys?prefix=…&limit=…&cursor=…` | names, expirations, metadata |
//! | delete keys | `DELETE N/{id}/keys?prefix=…` | how many |
//! | get, put, delete a value | `GET`, `PUT`, `DELETE N/{id}/values/{key}` | the bytes; null |
//! | get metadata | `GET N/{id}/metadata/{key}` | JSON |
//! | bulk put | `PUT N/{id}/bulk` | how many, and the keys that failed |
//! | bulk delete | `POST N/{id}/bulk/delete`, `DELETE N/{id}/bulk` | the same |
//! | bulk get | `POST N/{id}/bulk/get` | values by key |
//! | account and user | `GET /accounts`, `/accounts/local`, `/memberships`, `/user`, `…/tokens/verify` | objects |
//!
//! Every response except a value is an envelope (`envelope`). A [`Failure`] has a number on which clients act. [`Route`] finds
//! the endpoint from the raw path, so that a key is decoded once.

use std::sync::Arc;

use http::{
    Method, Request, Response, StatusCode,
    header::{CONNECTION, HeaderValue},
    request::Parts,
};

use crate::{
    access::Grant,
    admission::Admission,
    app::App,
    http::{Body, RequestBody, incoming::Incoming},
    kv::query::Query,
};

mod accounts;
mod auth;
mod blocking;
pub mod bulk;
mod envelope;
pub mod failure;
pub mod keys;
mod limits;
pub mod multipart;
mod namespaces;
pub mod numbers;
pub mod route;
mod values;

use blocking::blocking;
use limits::MAX_DISCARDED_BYTES;

pub use failure::Failure;
pub use route::Route;

/// Whether a path belongs to this API.
#[must_use]
pub fn is_here(path: &str) -> bool {
    path.strip_prefix(route::BASE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The state of this API.
#[derive(Debug)]
pub struct Rest {
    /// Bounds the bulk writes at a time.
    bulk: Admission,
}

impl Default for Rest {
    fn default() -> Self {
        Rest { bulk: bulk::admission() }
    }
}

/// Responds to a request, and reads the rest of its body before a refusal.
pub async fn serve(
    app: &Arc<App>,
    rest: &Rest,
    grant: &Grant,
    request: Request<RequestBody>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut body = Incoming::new(body, &parts.headers);
    match respond(app, (rest, grant), &parts, &mut body).await {
        Ok(response) => response,
        Err(failure) => {
            let close = failure.close || !body.discard(MAX_DISCARDED_BYTES).await;
            Failure { close, ..failure }.into_response()
        }
    }
}

/// The response to a request that is refused before it comes here. The rest of its body is read first.
pub(crate) async fn refuse(
    request: Request<RequestBody>,
    status: StatusCode,
    text: String,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut response = auth::refusal(parts.uri.path(), status, text);
    if !Incoming::new(body, &parts.headers).discard_refused(MAX_DISCARDED_BYTES).await {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Performs a call.
async fn respond(
    app: &Arc<App>,
    (rest, grant): (&Rest, &Grant),
    parts: &Parts,
    body: &mut Incoming,
) -> Result<Response<Body>, Failure> {
    let path = parts.uri.path();
    let route = Route::of(path).ok_or_else(|| Failure::no_route(path))?;
    if !route.has(&parts.method) {
        return Err(Failure::method(&parts.method, route.methods()));
    }
    let query = Query(parts.uri.query().unwrap_or(""));
    auth::authorize(app, grant, route, (&parts.method, query))?;
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
        (Route::Keys(id), &Method::DELETE) => {
            bulk::delete_range((app, grant), &rest.bulk, (id, query), body).await
        }
        (Route::Keys(id), _) => list_keys(app, id, query).await,
        (Route::Value(id, key), &Method::PUT) => {
            values::put((app, grant), parts, (id, key), body).await
        }
        (Route::Value(id, key), &Method::DELETE) => {
            values::delete((app, grant), (id, key), body).await
        }
        (Route::Value(id, key), method) => values::get(app, method, (id, key)),
        (Route::Metadata(id, key), _) => values::metadata(app, (id, key)),
        (Route::Bulk(id), &Method::PUT) => {
            bulk::write((app, grant), &rest.bulk, (id, bulk::Kind::Put), body).await
        }
        (Route::Bulk(id) | Route::BulkDelete(id), _) => {
            bulk::write((app, grant), &rest.bulk, (id, bulk::Kind::Delete), body).await
        }
        (Route::BulkGet(id), _) => bulk::get((app, grant), id, body).await,
    }
}

/// Responds to a list of keys.
async fn list_keys(app: &Arc<App>, id: &str, query: Query<'_>) -> Result<Response<Body>, Failure> {
    let namespace = namespaces::find(&app.store, id, "list keys")?;
    let metrics = Arc::clone(&app.metrics);
    if let Some(request) = keys::range::RangeRequest::parse(query)? {
        let respond = move |store: &_| keys::range::respond(store, &metrics, namespace, &request);
        return blocking(app, respond).await;
    }
    let request = keys::parse(query)?;
    blocking(app, move |store| keys::respond(store, &metrics, namespace, request)).await
}
