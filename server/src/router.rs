//! Which API a request goes to.
//!
//! The binding API comes first and receives the raw path: nothing is decoded, merged or normalised
//! before it, because `//`, `..` and `%2F` are parts of keys. (axum and matchit decode path parameters,
//! which is why only the few fixed routes use them.)

mod access;
mod audited;

use std::{borrow::Cow, sync::Arc};

use arc_swap::ArcSwap;
use hyper::{
    Method, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, UPGRADE},
};
use percent_encoding::percent_decode_str;
use tower::ServiceExt as _;

use crate::{
    access::{ApiName, Apis, Client, Grant},
    api::{
        binding::{self, target::Target},
        cluster, doctor, limits, namespaces, ops, ratelimit,
        rest::{self, Rest},
        rls::{self, Rls},
        tokens,
    },
    app::App,
    audit::{Act, Actor},
    http::{
        Body, RequestBody,
        incoming::Incoming,
        problem::{self, MAX_BODY_BYTES, Problem},
        reply,
    },
    metrics::Api,
    web_pages::WebPages,
};

use self::{access::Entry, audited::Asked};

/// The namespace of a request, on any path. It wins over all routes, because a key may be `metrics`.
static NAMESPACE: HeaderName = HeaderName::from_static("waypost-namespace");

/// The URL of a call that miniflare's remote proxy client forwards.
static PROXIED_URL: HeaderName = HeaderName::from_static("mf-url");

/// The path of the binding API where the path contains the namespace.
const BINDING: &str = "/binding/";

/// Sends each request to its API.
#[derive(Debug)]
pub struct Router {
    /// The state that the APIs share.
    app: Arc<App>,
    /// Envoy's limits.
    rls: ArcSwap<Rls>,
    /// Refuses what web pages make a browser send.
    web_pages: ArcSwap<WebPages>,
    /// The state of the REST API.
    rest: Rest,
    /// The APIs with fixed paths.
    fixed: axum::Router,
}

impl Router {
    /// The routes of `app`, with `rls` as the limits of Envoy, for requests that `web_pages` does not refuse.
    #[must_use]
    pub fn new(app: Arc<App>, rls: Rls, web_pages: WebPages) -> Router {
        let fixed = ops::routes()
            .merge(namespaces::routes())
            .merge(cluster::routes())
            .merge(doctor::routes())
            .merge(tokens::routes())
            .method_not_allowed_fallback(async |method: Method, uri: Uri| {
                let sentence = format!("this path has no method {method}");
                nothing(&uri, StatusCode::METHOD_NOT_ALLOWED, sentence)
            })
            .fallback(async |uri: Uri| nothing(&uri, StatusCode::NOT_FOUND, NO_API.into()))
            .with_state(Arc::clone(&app));
        Router {
            app,
            rls: ArcSwap::from_pointee(rls),
            web_pages: ArcSwap::from_pointee(web_pages),
            rest: Rest::default(),
            fixed,
        }
    }

    /// The state that all APIs share.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Replaces Envoy's limits, after a reload.
    pub fn replace_rls(&self, rls: Rls) {
        self.rls.store(Arc::new(rls));
    }

    /// Replaces the rules for web pages, after a reload.
    pub fn replace_web_pages(&self, web_pages: WebPages) {
        self.web_pages.store(Arc::new(web_pages));
    }

    /// Responds to a request of this client, and reports which API did.
    pub async fn answer(
        &self,
        request: Request<RequestBody>,
        client: &Client,
    ) -> (Api, Response<Body>) {
        let api = api_of(&request);
        let entry = Entry::of(&self.app, api, request.method(), client);
        // No page has a token.
        if entry.is_free()
            && let Err(refusal) = self.web_pages.load().check(&request)
        {
            let response = nothing(request.uri(), refusal.status(), refusal.to_string());
            return (Api::None, response);
        }
        if !request.uri().path().starts_with('/') {
            return (Api::None, reply::text(StatusCode::BAD_REQUEST, NO_PATH));
        }
        if !client.apis().serve(api) {
            return (Api::None, elsewhere(request, api, client.apis()).await);
        }
        let (grant, request) = match access::admit(&self.app, request, api, (client, entry)).await {
            Ok(admitted) => admitted,
            Err(refusal) => return (Api::None, refusal),
        };
        let Some(asked) = Asked::of(api, request.method(), request.uri().path()) else {
            return self.perform(request, api, &grant).await;
        };
        let (api, response) = self.perform(request, api, &grant).await;
        let actor = Actor { client, token: grant.token() };
        let act = Act {
            action: asked.action,
            target: &asked.target,
            status: response.status(),
            detail: response.extensions().get(),
        };
        self.app.audit.act(actor, &act);
        (api, response)
    }

    /// Performs a request whose sender is known.
    async fn perform(
        &self,
        request: Request<RequestBody>,
        api: Api,
        grant: &Grant,
    ) -> (Api, Response<Body>) {
        let headers = request.headers();
        if let Some(namespace) = headers.get(&NAMESPACE).cloned() {
            if headers.get_all(&NAMESPACE).iter().nth(1).is_some() {
                return (Api::None, reply::text(StatusCode::BAD_REQUEST, TWO_NAMESPACES));
            }
            return (Api::Binding, self.by_header(request, &namespace, grant).await);
        }
        if let Some(rest) = request.uri().path().strip_prefix(BINDING) {
            let segment = rest.split('/').next().unwrap_or(rest);
            let end = BINDING.len() + segment.len();
            return (Api::Binding, self.by_path(request, end, grant).await);
        }
        if let Some(refusal) = refuse_small(api, &request) {
            return (api, finish(request, refusal).await);
        }
        let response = match api {
            Api::Rest => rest::serve(&self.app, &self.rest, grant, request).await,
            Api::Ratelimit => ratelimit::serve(&self.app, grant, request).await,
            Api::Rls => rls::serve(&self.app, &self.rls.load_full(), grant, request).await,
            Api::Limits => limits::serve(&self.app, grant, request).await,
            Api::None => nothing(request.uri(), StatusCode::NOT_FOUND, NO_API.into()),
            _ => match self.fixed.clone().oneshot(request).await {
                Ok(response) => response.map(Body::new),
                Err(never) => match never {},
            },
        };
        (api, response)
    }

    /// Responds to a call whose namespace is in a header.
    async fn by_header(
        &self,
        request: Request<RequestBody>,
        namespace: &HeaderValue,
        grant: &Grant,
    ) -> Response<Body> {
        let Ok(namespace) = str::from_utf8(namespace.as_bytes()) else {
            let sentence = "the header Waypost-Namespace is not UTF-8";
            return reply::text(StatusCode::BAD_REQUEST, sentence);
        };
        let target = Target::whole(request.uri());
        binding::serve(&self.app, request, (namespace, grant), target).await
    }

    /// `end` is the end of the namespace's segment in the raw path.
    async fn by_path(
        &self,
        request: Request<RequestBody>,
        end: usize,
        grant: &Grant,
    ) -> Response<Body> {
        let prefix = &request.uri().path()[..end];
        let namespace = match percent_decode_str(&prefix[BINDING.len()..]).decode_utf8() {
            Ok(Cow::Borrowed("")) => return reply::text(StatusCode::NOT_FOUND, NO_NAMESPACE),
            Ok(namespace) => namespace.into_owned(),
            Err(_not_utf8) => {
                let sentence = "the namespace in the path is not UTF-8";
                return reply::text(StatusCode::BAD_REQUEST, sentence);
            }
        };
        if request.headers().contains_key(&PROXIED_URL) || is_proxy_session(&request) {
            return binding::serve_proxied(&self.app, request, (&namespace, grant)).await;
        }
        let target = Target::after(request.uri(), prefix);
        binding::serve(&self.app, request, (&namespace, grant), target).await
    }
}

/// miniflare's remote proxy client also opens a WebSocket, which KV never uses.
fn is_proxy_session(request: &Request<RequestBody>) -> bool {
    let names_binding = |uri: &Uri| {
        uri.query()
            .is_some_and(|query| query.split('&').any(|pair| pair.starts_with("MF-Binding=")))
    };
    request.headers().contains_key(UPGRADE) && names_binding(request.uri())
}

/// Why the small JSON APIs refuse a request by its head, if they do: for the length of its body, so that a client that
/// waits for a `100 Continue` receives the refusal instead; or for its query, which would be ignored. Only the list of
/// namespaces has one, which it checks.
fn refuse_small(api: Api, request: &Request<RequestBody>) -> Option<Response<Body>> {
    let uri = request.uri();
    if !matches!(api, Api::Namespaces | Api::Cluster | Api::Doctor | Api::Tokens) {
        return None;
    }
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        return Some(Problem::response(StatusCode::PAYLOAD_TOO_LARGE, problem::too_long()));
    }
    let is_list = *request.method() == Method::GET && uri.path() == "/v1/namespaces";
    if is_list || uri.query().is_none_or(str::is_empty) {
        return None;
    }
    let sentence = "this request has no parameters in its query: put them into the body, as JSON, if it has one";
    Some(Problem::response(StatusCode::BAD_REQUEST, sentence))
}

/// How much of a body is read in all after a refusal, so that a client that sends everything before it reads the
/// response receives it.
const MAX_DISCARDED_BYTES: u64 = 1 << 20;

/// Reads the rest of a refused request, or closes its connection after the response.
async fn finish(request: Request<RequestBody>, mut refusal: Response<Body>) -> Response<Body> {
    let is_http2 = request.version() == Version::HTTP_2;
    let (head, body) = request.into_parts();
    let is_read = Incoming::new(body, &head.headers).discard_refused(MAX_DISCARDED_BYTES).await;
    if !is_read && !is_http2 {
        refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    refusal
}

/// A response that no API made, in the form of the API that the path belongs to.
fn nothing(uri: &Uri, status: StatusCode, sentence: String) -> Response<Body> {
    match api_of_path(uri.path()) {
        Api::Namespaces | Api::Cluster | Api::Doctor | Api::Tokens | Api::Limits => {
            Problem::response(status, sentence)
        }
        _ => reply::text(status, sentence),
    }
}

/// The response of an API that the listener does not serve.
async fn elsewhere(request: Request<RequestBody>, api: Api, apis: Apis) -> Response<Body> {
    let name = ApiName::of(api).map_or("", ApiName::as_str);
    let error = format!(
        "this listener does not serve the API {name}, only {apis}: use another listener, or add it to the `apis` of \
         this one"
    );
    match api {
        Api::Rls => Problem::response(StatusCode::NOT_FOUND, error),
        _ => access::refused(request, api, StatusCode::NOT_FOUND, error).await,
    }
}

/// The API of a request.
fn api_of(request: &Request<RequestBody>) -> Api {
    if request.headers().contains_key(&NAMESPACE) {
        return Api::Binding;
    }
    api_of_path(request.uri().path())
}

/// The API of a path, for a request that names no namespace in a header.
fn api_of_path(path: &str) -> Api {
    match path {
        _ if path.starts_with(BINDING) => Api::Binding,
        _ if rest::is_here(path) => Api::Rest,
        ratelimit::PATH => Api::Ratelimit,
        _ if rls::is_here(path) => Api::Rls,
        "/healthz" | "/readyz" | "/metrics" => Api::Ops,
        _ if path.starts_with("/v1/namespaces") => Api::Namespaces,
        _ if path.starts_with("/v1/cluster") => Api::Cluster,
        "/v1/doctor" => Api::Doctor,
        _ if path.starts_with("/v1/tokens") => Api::Tokens,
        _ if path.starts_with(limits::PATH) => Api::Limits,
        _ => Api::None,
    }
}

/// The refusal of a target without a path.
const NO_PATH: &str = "the target of a request is a path, which begins with /, or a whole URL";

/// The refusal of a repeated header.
const TWO_NAMESPACES: &str = "the header Waypost-Namespace is there more than once";

/// The refusal of a path below `/binding/` without a namespace.
const NO_NAMESPACE: &str = "the path names no namespace: use /binding/NAMESPACE/KEY";

/// The response to a path that no API has.
const NO_API: &str = "nothing is here. Keys are at /binding/NAMESPACE/KEY, or at any path with \
    the header `Waypost-Namespace: NAMESPACE`; namespaces at /v1/namespaces; Cloudflare's API v4 at /client/v4; the cluster at /v1/cluster; rate limits at /ratelimit, and their overrides at /v1/limits; tokens at /v1/tokens; \
    see also /healthz, /readyz, /metrics";
