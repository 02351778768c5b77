//! The API of overrides: other limits for single keys, while the server runs. `waypost limit` uses it.
//!
//! | request | body | response |
//! |---|---|---|
//! | `GET /v1/limits` | | 200 `{"limits":[…]}`, each a [`LimitInfo`]: what can be overridden, and what has overrides |
//! | `GET /v1/limits/{name}/overrides` | | 200 `{"overrides":[…]}`, each an [`OverrideInfo`], the first 1000 by key; `"next"` is the path of the next page |
//! | `GET /v1/limits/{name}/overrides/{key}` | | 200 and the override; 404 if there is none |
//! | `PUT /v1/limits/{name}/overrides/{key}` | [`NewOverride`] | 200 and the override, which applies from now on |
//! | `DELETE /v1/limits/{name}/overrides/{key}` | | 200 and the override as it was; the limit applies again |
//! | `GET /v1/limits/top?count=20` | | 200 `{"seconds":…,"denied":[…]}`, each a [`TopKey`]: the keys that this location has denied most in the last one to two minutes. It needs the scope `ops` |
//!
//! Name and key are percent-encoded UTF-8 or bytes. The key is the rest of the path, so a `/` in it may stand for itself.
//!
//! | `{name}` | applies to |
//! |---|---|
//! | a limit of the configuration | the checks that name it |
//! | `rls:DOMAIN`, a domain of Envoy's limits | the descriptor whose counter has this key, such as `tenant=a,path=/login,` |
//! | `namespace:NAMESPACE`, or the namespace of a limit of the configuration | every check that counts in this namespace: those of a binding, and of callers that send their own limit |
//!
//! An override of a limit wins over one of its namespace. A refusal is `{"error":"a sentence"}` with 400 (a bad body or
//! path), 403 (the token lacks the scope `ratelimit:override`), 404 (no such limit, or no such override), 405, 413, 507
//! (too many overrides), or 503 (no writes for now).

mod body;
mod info;
mod path;

use hyper::{
    Method, Request, Response, StatusCode,
    header::{ALLOW, HeaderValue},
};
use kv_core::{InvalidWrite, LimitOverride, Operation, WriteError};

pub use self::{
    body::NewOverride,
    info::{LimitInfo, LimitList, OverrideInfo, OverrideList, TopKey, TopList},
};
use self::{
    info::page,
    path::{Place, Subject},
};
use crate::{
    access::{Grant, Need},
    app::App,
    http::{
        Body, RequestBody,
        incoming::{Incoming, Unread},
        problem::{MAX_BODY_BYTES, Problem, Refused, too_long},
        reply,
    },
};

/// The path of this API.
pub(crate) const PATH: &str = "/v1/limits";

/// Responds to a request.
pub async fn serve(app: &App, grant: &Grant, request: Request<RequestBody>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
    let outcome = match (path::read(path), &head.method) {
        (Err(refused), _) => Err(refused),
        (Ok(Place::All), &Method::GET) => Ok(list_limits(app, grant)),
        (Ok(Place::Top), &Method::GET) => top(app, grant, query),
        (Ok(Place::Overrides { name }), &Method::GET) => list(app, grant, &name, query),
        (Ok(Place::One { name, key }), &Method::GET) => show(app, grant, &name, &key),
        (Ok(Place::One { name, key }), &Method::PUT) => {
            let body = Incoming::new(body, &head.headers);
            put(app, grant, (&name, &key), body).await
        }
        (Ok(Place::One { name, key }), &Method::DELETE) => delete(app, grant, (&name, &key)).await,
        (Ok(place), method) => Ok(no_method(&place, method)),
    };
    outcome.unwrap_or_else(Refused::response)
}

/// The 405 of a path that has other methods.
fn no_method(place: &Place, method: &Method) -> Response<Body> {
    let allowed = match place {
        Place::All | Place::Top | Place::Overrides { .. } => "GET",
        Place::One { .. } => "GET, PUT, DELETE",
    };
    let sentence = format!("this path has no method {method}: use {allowed}");
    let mut response = Problem::response(StatusCode::METHOD_NOT_ALLOWED, sentence);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// `GET /v1/limits`.
fn list_limits(app: &App, grant: &Grant) -> Response<Body> {
    let rates = app.rate_limits.load();
    let limits = info::limits(&rates, &app.store.overrides());
    let is_permitted =
        |limit: &LimitInfo| grant.check(Need::Override(limit.namespace.as_bytes())).is_ok();
    let limits = limits.into_iter().filter(is_permitted).collect();
    reply::json(StatusCode::OK, &LimitList { limits })
}

/// `GET /v1/limits/top`.
fn top(app: &App, grant: &Grant, query: &str) -> Result<Response<Body>, Refused> {
    permit(app, grant, Need::Ops)?;
    let count = path::count(query)?;
    Ok(reply::json(StatusCode::OK, &TopList::new(app.rate_limits.load().denied_now(count))))
}

/// Checks that the sender may do something.
fn permit(app: &App, grant: &Grant, need: Need<'_>) -> Result<(), Refused> {
    grant.check(need).map_err(|forbidden| {
        app.metrics.access().refused("scope");
        Refused::new(StatusCode::FORBIDDEN, forbidden.to_string())
    })
}

/// Finds what a name stands for, if the sender may override it.
fn find(app: &App, grant: &Grant, name: &[u8]) -> Result<Subject, Refused> {
    let rates = app.rate_limits.load();
    let subject = path::subject(&rates, &app.store.overrides(), name);
    let need = match &subject {
        // Where it counted, and where it still counts at other locations, is not known here.
        Some(subject) if subject.is_left_over() => Need::Admin,
        Some(subject) => Need::Override(&subject.namespace),
        None => Need::Override(name),
    };
    permit(app, grant, need)?;
    subject.ok_or_else(|| path::unknown(&rates, grant, name))
}

/// `GET /v1/limits/{name}/overrides`.
fn list(app: &App, grant: &Grant, name: &[u8], query: &str) -> Result<Response<Body>, Refused> {
    let subject = find(app, grant, name)?;
    let after = path::after(query)?;
    let all = app.store.overrides();
    let list = page(&all, (name, &subject), after.as_deref(), app.store.now_ms());
    Ok(reply::json(StatusCode::OK, &list))
}

/// `GET /v1/limits/{name}/overrides/{key}`.
fn show(app: &App, grant: &Grant, name: &[u8], key: &[u8]) -> Result<Response<Body>, Refused> {
    let subject = find(app, grant, name)?;
    let found = current(app, &subject, key).ok_or_else(|| path::no_override(name, key))?;
    Ok(reply::json(StatusCode::OK, &OverrideInfo::new(name, &found)))
}

/// The override of a key that applies now.
fn current(app: &App, subject: &Subject, key: &[u8]) -> Option<LimitOverride> {
    let all = app.store.overrides();
    let found = all.get(subject.target(), key)?;
    found.is_current(app.store.now_ms()).then(|| found.as_ref().clone())
}

/// `PUT /v1/limits/{name}/overrides/{key}`.
async fn put(
    app: &App,
    grant: &Grant,
    (name, key): (&[u8], &[u8]),
    mut body: Incoming,
) -> Result<Response<Body>, Refused> {
    let subject = find(app, grant, name)?;
    let bad = |error: String| Refused::new(StatusCode::BAD_REQUEST, error);
    let bytes = match body.whole(MAX_BODY_BYTES, None).await {
        Ok(bytes) => bytes,
        Err(Unread::TooLong { .. }) => {
            return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, too_long()));
        }
        Err(unread) => return Err(bad(unread.to_string())),
    };
    let now = app.store.now_ms();
    let (rule, expires_at) = NewOverride::read(&bytes)?.rule(subject.limit.as_ref(), now)?;
    let one = LimitOverride::new(subject.target(), key, rule, expires_at)
        .map_err(|error| bad(format!("{error}: hash longer keys")))?;
    write(app, Operation::put_override(&one)).await?;
    tracing::info!(limit = %String::from_utf8_lossy(name), ?rule, "set an override of a limit");
    Ok(reply::json(StatusCode::OK, &OverrideInfo::new(name, &one)))
}

/// `DELETE /v1/limits/{name}/overrides/{key}`.
async fn delete(
    app: &App,
    grant: &Grant,
    (name, key): (&[u8], &[u8]),
) -> Result<Response<Body>, Refused> {
    let subject = find(app, grant, name)?;
    let found = current(app, &subject, key).ok_or_else(|| path::no_override(name, key))?;
    write(app, Operation::delete_override(subject.target(), key)).await?;
    tracing::info!(limit = %String::from_utf8_lossy(name), "deleted an override of a limit");
    Ok(reply::json(StatusCode::OK, &OverrideInfo::new(name, &found)))
}

/// Performs a write.
async fn write(app: &App, operation: Operation) -> Result<(), Refused> {
    match app.writes.submit(operation).await {
        Ok(_written) => Ok(()),
        Err(error @ WriteError::Invalid(InvalidWrite::Overrides)) => {
            Err(Refused::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}
