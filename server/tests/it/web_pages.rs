//! Requests that a web page makes a browser send: refused by every API, and at every path.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, StatusCode};

use crate::{http::http2, process::Server};

/// What a browser could request: a method, a target, and a header that changes what answers.
const REQUESTS: [(&str, &str, &str); 20] = [
    ("GET", "/healthz", ""),
    ("GET", "/readyz", ""),
    ("GET", "/metrics", ""),
    ("GET", "/binding/n/k", ""),
    ("PUT", "/binding/n/k", ""),
    ("DELETE", "/binding/n/k", ""),
    ("GET", "/k", "Waypost-Namespace: n\r\n"),
    ("GET", "/k", "Waypost-Namespace: n\r\nCF-KV-FLPROD-405: x\r\n"),
    ("GET", "/binding/n?", "MF-URL: https://fake-host/k\r\n"),
    ("GET", "/ratelimit?namespace=n&limit=1&period=60", ""),
    ("POST", "/ratelimit", ""),
    ("POST", "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", ""),
    ("GET", "/v1/namespaces", ""),
    ("DELETE", "/v1/namespaces/n", ""),
    ("POST", "/v1/cluster/verify", ""),
    ("POST", "/v1/doctor", ""),
    ("GET", "/", ""),
    ("GET", "/favicon.ico", ""),
    ("BREW", "/v1/nowhere", ""),
    ("OPTIONS", "/binding/n/k", "Access-Control-Request-Method: PUT\r\n"),
];

/// The headers of a request from the page of another site, and the part of them that the refusal repeats.
const PAGES: [(&str, &str); 8] = [
    ("Host: localhost\r\nOrigin: http://evil.example\r\n", "Origin: http://evil.example"),
    ("Host: localhost\r\nOrigin: null\r\n", "Origin: null"),
    ("Host: localhost\r\nOrigin: http://localhost:3000\r\n", "Origin: http://localhost:3000"),
    ("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n", "Sec-Fetch-Site: cross-site"),
    ("Host: localhost\r\nSec-Fetch-Site: same-site\r\n", "Sec-Fetch-Site: same-site"),
    ("Host: evil.example\r\n", "Host: evil.example"),
    ("Host: evil.example\r\nSec-Fetch-Site: same-origin\r\n", "Host: evil.example"),
    (
        "Host: evil.example\r\nOrigin: http://evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
        "Host: evil.example",
    ),
];

fn is_denied(server: &Server) -> bool {
    let check =
        "GET /ratelimit?namespace=n&limit=1&period=60&status=429 HTTP/1.1\r\nHost: x\r\n\r\n";
    server.connect().request(check).status == 429
}

#[test]
fn every_api_and_every_path_refuses_web_pages() {
    let server = Server::start(&["--namespaces", "n"]);
    for (method, target, header) in REQUESTS {
        for (headers, says) in PAGES {
            let mut peer = server.connect();
            let head = format!("{method} {target} HTTP/1.1\r\n{headers}{header}\r\n");
            let response = peer.request(head);
            assert_eq!(response.status, 403, "{method} {target} {headers}");
            assert!(response.body.contains(says), "{says}: {}", response.body);
            assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        }
    }
    assert!(!is_denied(&server), "nothing was counted");
    let get = "GET /binding/n/k HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(server.connect().request(get).status, 404, "nothing was stored");
}

#[test]
fn a_refusal_does_not_wait_for_the_body() {
    let server = Server::start(&["--namespaces", "n"]);
    let mut peer = server.connect();
    let head = "PUT /binding/n/k HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1000000\r\n\r\n";
    assert_eq!(peer.request(head).status, 403);
}

#[test]
fn a_page_of_the_server_itself_and_a_typed_address_are_served() {
    let server = Server::start(&["--namespaces", "n"]);
    let mut peer = server.connect();
    let address = &server.address;
    for headers in [
        format!("Host: {address}\r\nOrigin: http://{address}\r\nSec-Fetch-Site: same-origin\r\n"),
        format!("Host: {address}\r\nSec-Fetch-Site: none\r\n"),
        "Host: localhost:1\r\nOrigin: http://localhost:1\r\n".into(),
        "Host: fake-host\r\n".into(),
        "Host: foo.localhost\r\n".into(),
        "Host: [::1]:8420\r\n".into(),
    ] {
        let response = peer.request(format!("GET /healthz HTTP/1.1\r\n{headers}\r\n"));
        assert_eq!(response.status, 200, "{headers}{}", response.body);
    }
    // The target replaces Host.
    for (target, host, status) in [
        ("http://evil.example/healthz", "localhost", 403),
        ("http://localhost/healthz", "evil.example", 200),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(peer.request(head).status, status, "{target}");
    }
}

#[test]
fn a_host_is_allowed_by_its_name() {
    let server = Server::start(&["--allowed-hosts", "kv.example.com,b.example"]);
    let mut peer = server.connect();
    for (headers, status) in [
        ("Host: kv.example.com\r\n", 200),
        ("Host: KV.example.com:443\r\nOrigin: https://kv.example.com\r\n", 200),
        ("Host: b.example\r\n", 200),
        ("Host: b.example\r\nOrigin: https://kv.example.com\r\n", 403),
        ("Host: a.kv.example.com\r\n", 403),
        ("Host: example.com\r\n", 403),
    ] {
        let response = peer.request(format!("GET /healthz HTTP/1.1\r\n{headers}\r\n"));
        assert_eq!(response.status, status, "{headers}{}", response.body);
    }
}

#[tokio::test]
async fn http2_refuses_pages_and_takes_any_authority() {
    let server = Server::start(&[]);
    let (mut sender, _connection) = http2::<Empty<Bytes>>(&server.address).await;
    for (header, expected) in [
        (("x", "x"), StatusCode::OK),
        (("origin", "http://rls.example.com"), StatusCode::FORBIDDEN),
        (("sec-fetch-site", "cross-site"), StatusCode::FORBIDDEN),
    ] {
        let request = Request::get("http://rls.example.com/healthz").header(header.0, header.1);
        let request = request.body(Empty::new()).expect("a request");
        let response = sender.send_request(request).await.expect("the server answers");
        assert_eq!(response.status(), expected, "{header:?}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        response.into_body().collect().await.expect("the body is complete");
    }
}

#[test]
fn no_browser_guesses_the_type_of_a_response() {
    let server = Server::start(&["--namespaces", "n"]);
    let host = "Host: x\r\n";
    for (line, headers, status) in [
        ("PUT /binding/n/k HTTP/1.1", "Host: x\r\nContent-Length: 0\r\n", 200),
        ("GET /binding/n/k HTTP/1.1", host, 200),
        ("GET /binding/n/other HTTP/1.1", host, 404),
        ("GET /binding/n HTTP/1.1", host, 200),
        ("GET /metrics HTTP/1.1", host, 200),
        ("GET /v1/namespaces HTTP/1.1", host, 200),
        ("GET /nowhere HTTP/1.1", host, 404),
        ("BREW /healthz HTTP/1.1", host, 405),
        ("GET /ratelimit?x=y HTTP/1.1", host, 400),
        ("GET /\u{7f} HTTP/1.1", host, 400),
        ("no HTTP", host, 400),
    ] {
        let response = server.connect().request(format!("{line}\r\n{headers}\r\n"));
        assert_eq!(response.status, status, "{line}: {}", response.body);
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{line}");
    }
    for target in ["/binding/n/k", "/healthz", "/nowhere"] {
        let mut peer = server.connect();
        peer.send(format!("HEAD {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        assert!(peer.rest().contains("x-content-type-options: nosniff\r\n"), "{target}");
    }
}
