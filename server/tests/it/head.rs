//! Heads that are valid HTTP and that no API may accept, and parameters that no call has: each is refused, and
//! nothing is stored.

use crate::{
    http::{Peer, Response},
    process::Server,
};

const GET: &str = "GET /binding/n/k HTTP/1.1\r\nHost: x\r\n\r\n";

/// Sends a put of `body` to the key `k`, with these headers and a query.
fn put(server: &Server, query: &str, headers: &str, body: &str) -> Response {
    let length = body.len();
    server.connect().request(format!(
        "PUT /binding/n/k{query} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    ))
}

/// Whether the key `k` is there.
fn is_stored(server: &Server) -> bool {
    server.connect().request(GET).status == 200
}

#[test]
fn a_request_names_its_host_once() {
    let server = Server::start(&["--namespaces", "n"]);
    for (version, hosts, status) in [
        ("1.1", "", 400),
        ("1.1", "Host: a\r\nHost: a\r\n", 400),
        ("1.1", "Host: a\r\nhost: b\r\n", 400),
        ("1.1", "Host: a b\r\n", 400),
        ("1.1", "Host: http://a/\r\n", 400),
        ("1.1", "Host: a\r\n", 200),
        ("1.1", "Host:\r\n", 200),
        ("1.0", "Host: a\r\nHost: a\r\n", 400),
        ("1.0", "", 200),
    ] {
        for target in ["/healthz", "http://a/healthz"] {
            let request = format!("GET {target} HTTP/{version}\r\n{hosts}\r\n");
            let response = server.connect().request(request);
            assert_eq!(response.status, status, "{version} {hosts:?}: {}", response.body);
            assert_eq!(response.body.contains("header Host"), status == 400, "{}", response.body);
        }
    }
    let put = "PUT /binding/n/k HTTP/1.1\r\nContent-Length: 1\r\n\r\nv";
    let mut peer = server.connect();
    assert_eq!(peer.request(put).status, 400);
    assert_eq!(peer.request(GET).status, 404, "the body was read, and nothing was stored");
}

#[test]
fn a_body_in_another_transfer_coding_is_not_stored() {
    let server = Server::start(&["--namespaces", "n"]);
    for (coding, status) in [
        ("gzip, chunked", 501),
        ("identity, chunked", 501),
        ("chunked, chunked", 400),
        ("gzip\r\nTransfer-Encoding: chunked", 501),
        ("chunked\r\nTransfer-Encoding: chunked", 400),
    ] {
        let mut peer = server.connect();
        let head =
            format!("PUT /binding/n/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {coding}\r\n\r\n");
        let response = peer.request(head + "1\r\nv\r\n0\r\n\r\n");
        assert_eq!(response.status, status, "{coding}");
        assert!(response.body.contains("`chunked`"), "{}", response.body);
        assert_eq!(response.header("connection"), Some("close"));
        assert_eq!(peer.rest(), "");
    }
    assert!(!is_stored(&server));
}

/// Sends a head that waits for a `100 Continue`, and no body.
fn expect(peer: &mut Peer<std::net::TcpStream>, line: &str, headers: &str) {
    peer.send(format!("{line} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n{headers}\r\n"));
}

#[test]
fn a_client_that_waits_receives_the_refusal_in_place_of_a_100_continue() {
    let server = Server::start(&["--namespaces", "n"]);
    let long = format!("PUT /binding/n/{}", "k".repeat(513));
    let one = "Content-Length: 1\r\n";
    let metadata = format!("CF-KV-Metadata: \"{}\"\r\n{one}", "x".repeat(1023));
    for (line, headers, status) in [
        ("PUT /binding/none/k", one, 404),
        ("POST /binding/none/bulk/get", one, 404),
        (&long, one, 414),
        ("PUT /binding/n/k", "Content-Length: 26214401\r\n", 413),
        ("POST /binding/n/bulk/get", "Content-Length: 26214401\r\n", 413),
        ("PUT /binding/n/k?expiration_ttl=1", one, 400),
        ("PUT /binding/n/k?ttl=60", one, 400),
        ("PUT /binding/n/k", &metadata, 413),
        ("PUT /binding/n/k", "If-Match: *\r\nContent-Length: 1\r\n", 400),
        ("PUT /binding/n/k", "Content-Range: bytes 0-0/2\r\nContent-Length: 1\r\n", 400),
        ("POST /binding/n/k", one, 405),
        ("POST /ratelimit", "Content-Length: 65537\r\n", 413),
        ("POST /ratelimit?peek=true", one, 400),
        ("POST /v1/namespaces", "Content-Length: 65537\r\n", 413),
        ("POST /v1/namespaces?dry_run=true", one, 400),
        ("POST /v1/nothing", one, 404),
        ("PUT /v1/namespaces", one, 405),
    ] {
        let mut peer = server.connect();
        expect(&mut peer, line, headers);
        let response = peer.response();
        assert_eq!(response.status, status, "{line} {headers}");
        assert_eq!(response.header("connection"), Some("close"), "{line}");
        peer.finish_sending();
        assert_eq!(peer.rest(), "", "{line}");
    }
    assert!(!is_stored(&server));
}

#[test]
fn a_client_that_waits_may_send_an_accepted_body() {
    let server = Server::start(&["--namespaces", "n"]);
    let mut peer = server.connect();
    expect(&mut peer, "PUT /binding/n/k", "Content-Length: 1\r\n");
    assert_eq!(peer.response().status, 100);
    peer.send("v");
    assert_eq!(peer.response().status, 200);
    assert_eq!(peer.request(GET).body, "v", "the connection is kept");
    // A client of HTTP/1.0 does not know the status 100.
    let put = "PUT /binding/n/k HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nw";
    assert_eq!(server.connect().request(put).status, 200);
    for expectation in ["200-ok", "100-continue, durable"] {
        let response = put_with(&server, &format!("Expect: {expectation}\r\n"));
        assert_eq!(response.status, 417, "{expectation}");
    }
    assert_eq!(server.connect().request(GET).body, "w");
}

/// Sends a put of `x` with these headers.
fn put_with(server: &Server, headers: &str) -> Response {
    put(server, "", headers, "x")
}

#[test]
fn a_condition_or_a_part_of_a_write_is_refused() {
    let server = Server::start(&["--namespaces", "n"]);
    for (headers, status) in [
        ("If-Match: \"a\"\r\n", 400),
        ("if-none-match: *\r\n", 400),
        ("If-Unmodified-Since: Sat, 29 Oct 1994 19:43:31 GMT\r\n", 400),
        ("Content-Range: bytes 0-0/2\r\n", 400),
        ("Content-Encoding: gzip\r\n", 415),
    ] {
        let response = put_with(&server, headers);
        assert_eq!(response.status, status, "{headers}");
        assert!(response.body.contains("Nothing was changed"), "{}", response.body);
        assert!(!is_stored(&server), "{headers}");
    }
    assert_eq!(put_with(&server, "").status, 200);
    let lines = ["DELETE /binding/n/k", "DELETE /v1/namespaces/n", "POST /ratelimit"];
    for line in lines {
        let head = format!("{line} HTTP/1.1\r\nHost: x\r\nIf-Match: \"a\"\r\n\r\n");
        assert_eq!(server.connect().request(head).status, 400, "{line}");
    }
    assert!(is_stored(&server));
    let get = "GET /binding/n/k HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"a\"\r\n\r\n";
    assert_eq!(server.connect().request(get).status, 200);
}

#[test]
fn a_parameter_that_a_call_does_not_have_is_refused_unless_a_runtime_sends_it() {
    let server = Server::start(&["--namespaces", "n"]);
    for (query, right) in [
        ("?ttl=60", "expiration_ttl"),
        ("?expirationTtl=60", "expiration_ttl"),
        ("?expiration_ttl=60&expiresAt=1", "expiration"),
        ("?key_count_limit=1", "A list"),
        ("?nx=true", "expiration_ttl"),
        ("?expiration_ttl=60&expiration_ttl=6000", "more than once"),
    ] {
        let response = put(&server, query, "", "v");
        assert_eq!(response.status, 400, "{query}");
        assert!(response.body.contains(right), "{}", response.body);
        let reason = response.head.lines().next().unwrap_or_default();
        assert!(reason.contains(right), "a Worker sees the reason phrase: {reason}");
        assert!(!is_stored(&server), "{query}");
    }
    let send = |line: &str| {
        let head = format!("{line} HTTP/1.1\r\nHost: x\r\nWaypost-Namespace: n\r\n\r\n");
        server.connect().request(head)
    };
    for (line, right) in [
        ("GET /?limit=3", "key_count_limit"),
        ("HEAD /?limit=3", "key_count_limit"),
        ("GET /k?cacheTtl=60", "cache_ttl"),
        ("DELETE /k?if_version=3", "urlencoded"),
        ("POST /bulk/get?type=json", "urlencoded"),
    ] {
        let response = send(line);
        assert_eq!(response.status, 400, "{line}");
        assert!(response.head.contains(right), "{}", response.head);
    }
    let ignored = "waypost_binding_parameters_ignored_total";
    assert_eq!(server.metric(ignored).as_deref(), Some("0"));
    let runtime = "CF-KV-FLPROD-405: https://fake-host/k\r\n";
    assert_eq!(put(&server, "?urlencoded=true&ttl=60", runtime, "v").status, 200);
    let proxied = "MF-URL: https://fake-host/k?urlencoded=true&later=1\r\n";
    assert_eq!(put(&server, "?token=x", proxied, "w").status, 200);
    assert_eq!(server.metric(ignored).as_deref(), Some("2"));
    assert_eq!(server.connect().request(GET).body, "w");
}

#[test]
fn a_query_of_a_small_json_api_is_refused_and_nothing_is_done() {
    let server = Server::start(&["--namespaces", "n"]);
    for line in [
        "DELETE /v1/namespaces/n?dry_run=true",
        "POST /v1/namespaces?title=x",
        "GET /v1/namespaces/n?after=1",
        "POST /v1/doctor?dry_run=true",
        "DELETE /v1/cluster/locations/x?force=true",
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let response = server.connect().request(request);
        assert_eq!(response.status, 400, "{line}");
        assert!(response.body.contains("no parameters in its query"), "{}", response.body);
    }
    let there = "GET /v1/namespaces/n HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(server.connect().request(there).status, 200);
}
