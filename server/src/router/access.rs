//! Whom a request is from, and what that permits: everything about access is decided here, except for the namespaces of
//! limits, which are in the body of a request or in its path.

use hyper::{
    Method, Request, Response, StatusCode,
    header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};

use crate::{
    access::{Answer, Client, Forbidden, Grant, Need, Space, Unauthenticated},
    api::{binding, ops, rest, rls},
    app::App,
    http::{Body, RequestBody, problem::Problem},
    metrics::Api,
};

/// Finds out what a request permits, and checks that it permits the API. Probes of health need no token.
///
/// # Errors
/// The response to a request that is refused.
pub(super) async fn admit(
    app: &App,
    request: Request<RequestBody>,
    api: Api,
    client: &Client,
) -> Result<(Grant, Request<RequestBody>), Response<Body>> {
    let path = request.uri().path();
    let is_open = match api {
        Api::Ops => path != ops::METRICS,
        Api::Rls => rls::is_health(path),
        _ => false,
    };
    if is_open {
        return Ok((Grant::Free, request));
    }
    let tokens = app.store.tokens();
    let is_partial = may_lack_tokens(app, api, request.method());
    let grant = match app.gate.admit(client, request.headers(), &tokens, is_partial) {
        Ok(grant) => grant,
        Err(why) => return Err(unauthenticated(app, request, api, client, why).await),
    };
    match need(api).and_then(|need| grant.check(need).err()) {
        None => Ok((grant, request)),
        Some(why) => Err(forbidden(app, request, api, &why).await),
    }
}

/// Whether a request needs a token because the store may lack those of its cluster. The state of a location that joins
/// contains no data, and whoever makes it join must see it.
pub(super) fn may_lack_tokens(app: &App, api: Api, method: &Method) -> bool {
    let is_status = match api {
        Api::Ops => true,
        Api::Cluster => matches!(*method, Method::GET | Method::HEAD),
        _ => false,
    };
    !is_status && app.may_lack_tokens()
}

/// What a request needs, as far as its API alone says.
fn need(api: Api) -> Option<Need<'static>> {
    match api {
        Api::Namespaces | Api::Cluster | Api::Doctor | Api::Tokens => Some(Need::Admin),
        Api::Ops => Some(Need::Ops),
        Api::Binding | Api::Rest | Api::Ratelimit | Api::Rls | Api::Limits | Api::None => None,
    }
}

/// Checks that a call of the binding API is permitted. Of its methods, PUT and DELETE write; a bulk get is a POST.
///
/// # Errors
/// The response to a request that is refused.
pub(super) async fn admit_to(
    app: &App,
    request: Request<RequestBody>,
    name: &str,
    grant: &Grant,
) -> Result<Request<RequestBody>, Response<Body>> {
    if let Grant::Free = grant {
        return Ok(request);
    }
    let checked = {
        let namespaces = app.store.namespaces();
        let found = namespaces.resolve(name);
        let title = found.map_or(name, |found| &found.title);
        let space = Space { title, id: found.map(|found| found.id) };
        grant.check(match *request.method() {
            Method::GET | Method::HEAD | Method::POST => Need::KvRead(space),
            _ => Need::KvWrite(space),
        })
    };
    match checked {
        Ok(()) => Ok(request),
        Err(why) => Err(forbidden(app, request, Api::Binding, &why).await),
    }
}

/// The response to a request without a token that is accepted.
async fn unauthenticated(
    app: &App,
    request: Request<RequestBody>,
    api: Api,
    client: &Client,
    why: Unauthenticated,
) -> Response<Body> {
    app.metrics.access().refused(why.reason());
    let (status, text) = match app.gate.refused(client, why).await {
        Answer::Refuse => (StatusCode::UNAUTHORIZED, why.to_string()),
        Answer::TooMany => (StatusCode::TOO_MANY_REQUESTS, TOO_MANY_REFUSED.to_owned()),
    };
    let mut response = refused(request, api, status, text).await;
    let (name, value) = match status {
        StatusCode::UNAUTHORIZED => (WWW_AUTHENTICATE, why.challenge()),
        _ => (RETRY_AFTER, "1"),
    };
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

/// The response to a request that its token does not permit.
async fn forbidden(
    app: &App,
    request: Request<RequestBody>,
    api: Api,
    why: &Forbidden,
) -> Response<Body> {
    app.metrics.access().refused("scope");
    refused(request, api, StatusCode::FORBIDDEN, why.to_string()).await
}

/// The response to a request that does not come to its API, in the form of the API.
pub(super) async fn refused(
    request: Request<RequestBody>,
    api: Api,
    status: StatusCode,
    text: String,
) -> Response<Body> {
    match api {
        Api::Binding => binding::refuse(request, status, text).await,
        Api::Rest => rest::refuse(request, status, text).await,
        Api::Rls => rls::refused(&request, status, text),
        _ => Problem::response(status, text),
    }
}

/// The refusal of a token when many others are refused.
const TOO_MANY_REFUSED: &str = "too many tokens of this address were refused in the last minute: try again in a second, \
    with a token that is accepted";
