//! Which API a request goes to.
//!
//! The binding API comes first and receives the raw path: nothing is decoded, merged or normalised
//! before it, because `//`, `..` and `%2F` are parts of keys. (axum and matchit decode path parameters,
//! which is why only the few fixed routes use them.)

use std::{borrow::Cow, sync::Arc};

use hyper::{
    Method, Request, Response, StatusCode, Uri,
    header::{HeaderName, HeaderValue, ORIGIN, UPGRADE},
};
use percent_encoding::percent_decode_str;
use tower::ServiceExt as _;

use crate::{
    api::{
        binding::{self, target::Target},
        cluster, doctor, namespaces, ops, ratelimit,
        rest::{self, Rest},
        rls::{self, Rls},
    },
    app::App,
    http::{Body, RequestBody, problem::Problem, reply},
    metrics::Api,
};

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
    rls: Arc<Rls>,
    /// The state of the REST API.
    rest: Rest,
    /// The APIs with fixed paths.
    fixed: axum::Router,
}

impl Router {
    /// The routes of `app`, with `rls` as the limits of Envoy.
    #[must_use]
    pub fn new(app: Arc<App>, rls: Rls) -> Router {
        let fixed = ops::routes()
            .merge(namespaces::routes())
            .merge(cluster::routes())
            .merge(doctor::routes())
            .method_not_allowed_fallback(async |method: Method, uri: Uri| {
                let sentence = format!("this path has no method {method}");
                nothing(&uri, StatusCode::METHOD_NOT_ALLOWED, sentence)
            })
            .fallback(async |uri: Uri| nothing(&uri, StatusCode::NOT_FOUND, NO_API.into()))
            .with_state(Arc::clone(&app));
        Router { app, rls: Arc::new(rls), rest: Rest::default(), fixed }
    }

    /// The state that all APIs share.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Responds to a request, and reports which API did.
    pub async fn answer(&self, request: Request<RequestBody>) -> (Api, Response<Body>) {
        let headers = request.headers();
        if headers.contains_key(ORIGIN) {
            return (Api::None, reply::text(StatusCode::FORBIDDEN, NO_PAGES));
        }
        if !request.uri().path().starts_with('/') {
            return (Api::None, reply::text(StatusCode::BAD_REQUEST, NO_PATH));
        }
        if let Some(namespace) = headers.get(&NAMESPACE).cloned() {
            if headers.get_all(&NAMESPACE).iter().nth(1).is_some() {
                return (Api::None, reply::text(StatusCode::BAD_REQUEST, TWO_NAMESPACES));
            }
            return (Api::Binding, self.by_header(request, &namespace).await);
        }
        if let Some(rest) = request.uri().path().strip_prefix(BINDING) {
            let segment = rest.split('/').next().unwrap_or(rest);
            let end = BINDING.len() + segment.len();
            return (Api::Binding, self.by_path(request, end).await);
        }
        if rest::is_here(request.uri().path()) {
            return (Api::Rest, rest::serve(&self.app, &self.rest, request).await);
        }
        if request.uri().path() == ratelimit::PATH {
            return (Api::Ratelimit, ratelimit::serve(&self.app, request).await);
        }
        if rls::is_here(request.uri().path()) {
            return (Api::Rls, rls::serve(&self.app, &self.rls, request).await);
        }
        let api = api_of(request.uri().path());
        let response = match self.fixed.clone().oneshot(request).await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        };
        (api, response)
    }

    /// Responds to a call whose namespace is in a header.
    async fn by_header(
        &self,
        request: Request<RequestBody>,
        namespace: &HeaderValue,
    ) -> Response<Body> {
        let Ok(namespace) = str::from_utf8(namespace.as_bytes()) else {
            let sentence = "the header Waypost-Namespace is not UTF-8";
            return reply::text(StatusCode::BAD_REQUEST, sentence);
        };
        let target = Target::whole(request.uri());
        binding::serve(&self.app, request, namespace, target).await
    }

    /// `end` is the end of the namespace's segment in the raw path.
    async fn by_path(&self, request: Request<RequestBody>, end: usize) -> Response<Body> {
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
            return binding::serve_proxied(&self.app, request, &namespace).await;
        }
        let target = Target::after(request.uri(), prefix);
        binding::serve(&self.app, request, &namespace, target).await
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

/// The response of a path or method that does not exist, in the form of its API.
fn nothing(uri: &Uri, status: StatusCode, sentence: String) -> Response<Body> {
    match api_of(uri.path()) {
        Api::Namespaces | Api::Cluster | Api::Doctor => Problem::response(status, sentence),
        _ => reply::text(status, sentence),
    }
}

/// The API of a path with a fixed route.
fn api_of(path: &str) -> Api {
    match path {
        "/healthz" | "/readyz" | "/metrics" => Api::Ops,
        _ if path.starts_with("/v1/namespaces") => Api::Namespaces,
        _ if path.starts_with("/v1/cluster") => Api::Cluster,
        "/v1/doctor" => Api::Doctor,
        _ => Api::None,
    }
}

/// The refusal of a browser's request.
const NO_PAGES: &str = "requests of web pages (with an Origin header) are refused: \
    this server has no tokens yet that would tell them from yours";

/// The refusal of a target without a path.
const NO_PATH: &str = "the target of a request is a path, which begins with /, or a whole URL";

/// The refusal of a repeated header.
const TWO_NAMESPACES: &str = "the header Waypost-Namespace is there more than once";

/// The refusal of a path below `/binding/` without a namespace.
const NO_NAMESPACE: &str = "the path names no namespace: use /binding/NAMESPACE/KEY";

/// The response to a path that no API has.
const NO_API: &str = "nothing is here. Keys are at /binding/NAMESPACE/KEY, or at any path with \
    the header `Waypost-Namespace: NAMESPACE`; namespaces at /v1/namespaces; Cloudflare's API v4 at /client/v4; the cluster at /v1/cluster; rate limits at /ratelimit; \
    see also /healthz, /readyz, /metrics";
