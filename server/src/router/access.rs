//! Whom a request is from, and which API that permits. What it permits within an API, such as namespaces and keys, is decided by
//! the API, which knows how a request names them.

use std::sync::Arc;

use hyper::{
    Method, Request, Response, StatusCode,
    header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use kv_core::AccessTokens;

use crate::{
    access::{Answer, Client, Demand, Forbidden, Grant, Need, Unauthenticated},
    api::{binding, ops, rest, rls},
    app::App,
    audit::Actor,
    http::{Body, RequestBody, problem::Problem},
    metrics::Api,
};

/// The tokens at one moment, and what a request needs by them: both the check of web pages and that of the token follow it.
pub(super) struct Entry {
    /// The tokens.
    tokens: Arc<AccessTokens>,
    /// What the request needs.
    demand: Demand,
}

impl Entry {
    /// Finds out what a request of a client needs.
    pub(super) fn of(app: &App, api: Api, method: &Method, client: &Client) -> Entry {
        let tokens = app.store.tokens();
        let demand = app.gate.demand(client, &tokens, may_lack_tokens(app, api, method));
        Entry { tokens, demand }
    }

    /// Whether the request needs no token.
    pub(super) fn is_free(&self) -> bool {
        self.demand == Demand::Nothing
    }
}

/// Finds out what a request permits, and checks that it permits the API. Probes of health need no token.
///
/// # Errors
/// The response to a request that is refused.
pub(super) async fn admit(
    app: &App,
    request: Request<RequestBody>,
    api: Api,
    (client, entry): (&Client, Entry),
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
    let Entry { tokens, demand } = entry;
    let grant = match app.gate.admit(client, request.headers(), &tokens, demand) {
        Ok(grant) => grant,
        Err(why) => return Err(unauthenticated(app, request, api, client, why).await),
    };
    match need(api).and_then(|need| grant.check(need).err()) {
        None => Ok((grant, request)),
        Some(why) => {
            app.audit.refused(Actor { client, token: grant.token() }, "scope");
            Err(forbidden(app, request, api, &why).await)
        }
    }
}

/// Whether a request needs a token because the store may lack those of its cluster. The state of a location that joins
/// contains no data, and whoever makes it join must see it.
fn may_lack_tokens(app: &App, api: Api, method: &Method) -> bool {
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

/// The response to a request without a token that is accepted.
async fn unauthenticated(
    app: &App,
    request: Request<RequestBody>,
    api: Api,
    client: &Client,
    why: Unauthenticated,
) -> Response<Body> {
    app.metrics.access().refused(why.reason());
    app.audit.refused(Actor { client, token: None }, why.reason());
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
