//! Requests to all APIs, compared with a map: no request causes a server error, and gets, lists and
//! deletes match the puts.
#![no_main]

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use libfuzzer_sys::fuzz_target;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use waypost::{
    access::{Apis, Client, Origin},
    api::binding::{Target, metadata},
    app::App,
    http::{Body, RequestBody},
    kv::text,
    router::Router,
};
use waypost_fuzz::server::{NAMESPACE, app, router};

#[derive(Arbitrary, Debug)]
struct Call<'a> {
    verb: Verb,
    way: Way,
    path: Path<'a>,
    options: Vec<(Name, Text<'a>)>,
    metadata: Option<&'a [u8]>,
    header: Option<(&'a str, &'a [u8])>,
    body: Contents<'a>,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Verb {
    Get,
    Head,
    Put,
    Delete,
    Post,
    Patch,
}

/// How a request selects the namespace.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Way {
    Header,
    Path,
    Proxied,
    Unknown,
    /// It selects none, for the other APIs.
    None,
}

#[derive(Arbitrary, Debug)]
enum Path<'a> {
    Root,
    Bulk,
    Few(u8),
    Key(&'a str),
    Raw(&'a str),
    Namespaces(&'a str),
    Rest(&'a str),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Name {
    Urlencoded,
    CacheTtl,
    Expiration,
    ExpirationTtl,
    Prefix,
    Cursor,
    Limit,
}

#[derive(Arbitrary, Debug)]
enum Text<'a> {
    Fine,
    Small(u8),
    Any(&'a str),
}

#[derive(Arbitrary, Debug)]
enum Contents<'a> {
    Any(&'a [u8]),
    Many(u8, u16),
    Ask { keys: Vec<&'a str>, few: Vec<u8>, is_json: bool, with_metadata: bool },
    Title(&'a str),
}

fn encoded(text: &[u8]) -> String {
    percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn few(n: u8) -> String {
    ["a", "b", "a/b", "metrics", "\u{e9}"][usize::from(n) % 5].to_owned()
}

impl Verb {
    fn method(self) -> Method {
        match self {
            Verb::Get => Method::GET,
            Verb::Head => Method::HEAD,
            Verb::Put => Method::PUT,
            Verb::Delete => Method::DELETE,
            Verb::Post => Method::POST,
            Verb::Patch => Method::PATCH,
        }
    }
}

impl Contents<'_> {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Contents::Any(bytes) => bytes.to_vec(),
            Contents::Many(byte, n) => vec![*byte; 3 * usize::from(*n)],
            Contents::Ask { keys, few: n, is_json, with_metadata } => {
                let few = n.iter().map(|n| few(*n));
                let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).chain(few).collect();
                let kind = if *is_json { "json" } else { "text" };
                let request =
                    serde_json::json!({"keys": keys, "type": kind, "withMetadata": with_metadata});
                request.to_string().into_bytes()
            }
            Contents::Title(title) => {
                serde_json::json!({ "title": title }).to_string().into_bytes()
            }
        }
    }
}

impl Call<'_> {
    fn query(&self) -> String {
        let options = self.options.iter().map(|(name, text)| {
            let (name, fine) = match name {
                Name::Urlencoded => ("urlencoded", "true"),
                Name::CacheTtl => ("cache_ttl", "30"),
                Name::Expiration => ("expiration", "1900000000"),
                Name::ExpirationTtl => ("expiration_ttl", "60"),
                Name::Prefix => ("prefix", "a"),
                Name::Cursor => ("cursor", "YQ"),
                Name::Limit => ("key_count_limit", "2"),
            };
            match text {
                Text::Fine => format!("{name}={fine}"),
                Text::Small(n) => format!("{name}={n}"),
                Text::Any(text) => format!("{name}={}", encoded(text.as_bytes())),
            }
        });
        options.collect::<Vec<_>>().join("&")
    }

    /// The target of the call itself, from its path.
    fn target(&self) -> String {
        let (path, is_encoded) = match &self.path {
            Path::Root => ("/".into(), false),
            Path::Bulk => ("/bulk/get".into(), false),
            Path::Few(n) => (format!("/{}", encoded(few(*n).as_bytes())), true),
            Path::Key(key) => (format!("/{}", encoded(key.as_bytes())), true),
            Path::Raw(raw) => (format!("/{raw}"), false),
            Path::Namespaces("") => ("/v1/namespaces".into(), false),
            Path::Namespaces(name) => {
                (format!("/v1/namespaces/{}", encoded(name.as_bytes())), false)
            }
            Path::Rest(rest) => {
                (format!("/client/v4/accounts/local/storage/kv/namespaces{rest}"), false)
            }
        };
        let mark = if is_encoded { "urlencoded=true&" } else { "" };
        format!("{path}?{mark}{}", self.query())
    }

    /// The request as the router receives it; none if it is not valid HTTP.
    fn request(&self) -> Option<Request<RequestBody>> {
        let target = self.target();
        let uri = match self.way {
            Way::Path => format!("/binding/{NAMESPACE}{target}"),
            Way::Proxied => format!("/binding/{NAMESPACE}/ignored"),
            Way::Header | Way::Unknown | Way::None => target.clone(),
        };
        let body = Bytes::from(self.body.bytes());
        let mut request = Request::new(RequestBody::from(body));
        *request.method_mut() = self.verb.method();
        *request.uri_mut() = uri.parse().ok()?;
        let headers = request.headers_mut();
        let namespace = HeaderName::from_static("waypost-namespace");
        match self.way {
            Way::Header => drop(headers.insert(namespace, HeaderValue::from_static(NAMESPACE))),
            Way::Unknown => drop(headers.insert(namespace, HeaderValue::from_static("other"))),
            Way::Proxied => {
                let url = HeaderValue::try_from(format!("https://fake-host{target}")).ok()?;
                headers.insert("mf-url", url);
            }
            Way::Path | Way::None => {}
        }
        if let Some(text) = self.metadata {
            let is_proxied = self.way == Way::Proxied;
            let name = if is_proxied { "mf-header-cf-kv-metadata" } else { "cf-kv-metadata" };
            headers.insert(name, HeaderValue::from_bytes(text).ok()?);
        }
        if let Some((name, value)) = self.header {
            let name = HeaderName::try_from(name).ok()?;
            if headers.contains_key(&name) || name.as_str().contains("waypost") {
                return None;
            }
            headers.insert(name, HeaderValue::from_bytes(value).ok()?);
        }
        Some(request)
    }

    /// Whether it has no key: a fragment, from `#`, is not part of the path.
    fn is_at_root(&self) -> bool {
        self.target().parse::<Uri>().is_ok_and(|uri| uri.path() == "/")
    }

    /// The key of a call of the binding API.
    fn key(&self) -> Option<String> {
        let uri: Uri = self.target().parse().ok()?;
        Target::whole(&uri).key().ok().map(|key| key.into_owned())
    }
}

/// The value of a key, and its metadata as the store keeps it.
type Entry = (Vec<u8>, Option<Box<str>>);

struct World {
    _app: Arc<App>,
    router: Router,
    client: Client,
    entries: BTreeMap<String, Entry>,
    is_gone: bool,
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread().enable_all().build().expect("the runtime starts")
});

impl World {
    fn new() -> World {
        let app = app();
        let router = router(&app);
        let client = Client::new(Apis::ALL, Origin::Unix);
        World { _app: app, router, client, entries: BTreeMap::new(), is_gone: false }
    }

    async fn take(&mut self, call: &Call<'_>) {
        let Some(request) = call.request() else { return };
        let has_origin = request.headers().contains_key("origin");
        let answers_websocket = request.headers().contains_key("mf-url");
        let (_door, response) = self.router.answer(request, &self.client).await;
        let status = response.status();
        assert!(!status.is_server_error(), "{call:?}: {status}");
        let (head, body) = read(response).await;
        if has_origin {
            assert_eq!(status, StatusCode::FORBIDDEN);
            return;
        }
        let is_binding = match call.way {
            Way::Header | Way::Proxied => true,
            Way::Path => !answers_websocket,
            Way::Unknown => {
                assert!(status.is_client_error(), "the status for an unknown namespace: {status}");
                return;
            }
            Way::None => {
                // The request may have renamed or dropped the namespace.
                let there = self._app.store.namespaces();
                self.is_gone |= there.resolve(NAMESPACE).is_none();
                return;
            }
        };
        if is_binding && !self.is_gone {
            self.check(call, &head, &body);
        }
    }

    fn check(&mut self, call: &Call<'_>, head: &Response<()>, body: &[u8]) {
        let status = head.status();
        let is_list = call.is_at_root() && matches!(call.verb, Verb::Get | Verb::Head);
        let key = call.key();
        match call.verb {
            Verb::Get if is_list => {
                if status == StatusCode::OK {
                    self.check_list(call, body);
                }
            }
            Verb::Get | Verb::Head if !is_list => {
                let there = key.and_then(|key| self.entries.get(&key));
                match status {
                    StatusCode::OK => {
                        let (value, metadata) = there.expect("the value was never put");
                        assert!(call.verb == Verb::Head || body == value, "the value differs");
                        let expected = metadata.as_deref().map(metadata::header);
                        assert_eq!(head.headers().get("cf-kv-metadata"), expected.as_ref());
                    }
                    StatusCode::NOT_FOUND => assert!(there.is_none(), "a value was lost"),
                    _ => assert!(status.is_client_error()),
                }
            }
            Verb::Put if status.is_success() => {
                let metadata = call
                    .metadata
                    .map(|text| metadata::parse(text).expect("the server accepted the metadata"));
                let key = key.expect("only a key can be put");
                self.entries.insert(key, (call.body.bytes(), metadata));
            }
            Verb::Delete if status.is_success() => {
                assert!(body.is_empty(), "a runtime does not read this body");
                self.entries.remove(&key.expect("only a key can be deleted"));
            }
            Verb::Post if status.is_success() => self.check_bulk(call, body),
            _ => assert!(is_list || status.is_client_error(), "{call:?}: {status}"),
        }
    }

    fn check_list(&self, call: &Call<'_>, body: &[u8]) {
        let page: Value = serde_json::from_slice(body).expect("the page is JSON");
        let keys = page["keys"].as_array().expect("the keys are an array");
        let names: Vec<_> = keys.iter().filter_map(|key| key["name"].as_str()).collect();
        assert!(names.is_sorted() && names.iter().all(|name| self.entries.contains_key(*name)));
        if call.options.is_empty() && matches!(call.path, Path::Root) {
            assert_eq!(names.len(), self.entries.len(), "a key is missing");
            assert_eq!(page["list_complete"], true);
        }
    }

    fn check_bulk(&self, call: &Call<'_>, body: &[u8]) {
        let Contents::Ask { is_json, with_metadata, .. } = call.body else { return };
        // Values and metadata may be JSON that serde_json rejects: too deep, or with too large
        // numbers.
        let Ok(reply) = serde_json::from_slice::<BTreeMap<String, Value>>(body) else { return };
        for (key, mut value) in reply {
            let Some((bytes, metadata)) = self.entries.get(&key) else {
                assert!(value.is_null(), "{key:?} was never put, but is {value}");
                continue;
            };
            if with_metadata {
                let text = metadata.as_deref().unwrap_or("null");
                let expected: Value = serde_json::from_str(text).expect("the text parsed before");
                assert_eq!(value["metadata"], expected);
                value = value["value"].take();
            }
            let text = text::decode(bytes);
            let expected = if is_json {
                serde_json::from_str(&text).expect("the text parsed before")
            } else {
                Value::String(text)
            };
            assert_eq!(value, expected);
        }
    }
}

async fn read(response: Response<Body>) -> (Response<()>, Vec<u8>) {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("the store does not fail").to_bytes();
    (Response::from_parts(parts, ()), body.to_vec())
}

fuzz_target!(|calls: Vec<Call<'_>>| {
    RUNTIME.block_on(async {
        let mut world = World::new();
        for call in calls.iter().take(50) {
            world.take(call).await;
        }
    });
});
