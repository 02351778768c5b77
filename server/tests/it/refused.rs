//! Requests that hyper's parser rejects, and some that it would accept: each gets an error text.

use crate::process::Server;

const GET: &str = "GET /binding/n/k HTTP/1.1\r\nHost: x\r\n\r\n";

fn put(headers: &str, body: &str) -> String {
    format!("PUT /binding/n/k HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}")
}

/// `count` headers, `Host` among them.
fn headers(count: usize) -> String {
    format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(count - 1))
}

#[test]
fn requests_that_the_parser_rejects_get_an_error_text_and_store_nothing() {
    let server = Server::start(&["--namespaces", "n", "--max-header-size", "16KiB"]);
    let long = format!("X-Long: {}\r\n", "x".repeat(64 << 10));
    for (status, expected, request) in [
        (400, "Content-Length", put("Content-Length: 1x\r\n", "v")),
        (400, "Content-Length", put("Content-Length: -1\r\n", "v")),
        (400, "Content-Length", put("Content-Length: 1\r\nContent-Length: 2\r\n", "vv")),
        (400, "Transfer-Encoding", put("Transfer-Encoding: gzip\r\n", "v")),
        (400, "the name or value of a header", put("X A: b\r\n", "")),
        (400, "the name or value of a header", put("X-A: b\0c\r\n", "")),
        (400, "its first line", GET.replace("HTTP/1.1", "HTTP/9")),
        (431, "16384 bytes (max-header-size) and 100 headers", put(&long, "")),
        (431, "16384 bytes (max-header-size) and 100 headers", headers(101)),
    ] {
        let mut first = server.connect();
        let mut later = server.connect();
        assert_eq!(later.request(GET).status, 404);
        for peer in [&mut first, &mut later] {
            let response = peer.request(&request);
            assert_eq!(response.status, status, "{expected}: {}", response.head);
            assert!(response.body.contains(expected), "{expected:?} is not in {:?}", response.body);
            assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
            assert_eq!(response.header("connection"), Some("close"));
            peer.finish_sending();
            assert_eq!(peer.rest(), "");
        }
    }
    assert_eq!(server.connect().request(headers(100)).status, 200);
    assert_eq!(server.connect().request(GET).status, 404);
}

#[test]
fn a_rejection_after_a_response_has_an_error_text() {
    let server = Server::start(&["--namespaces", "n"]);
    let mut peer = server.connect();
    peer.send([&put("Content-Length: 1\r\n", "v"), GET, "GET /\0 HTTP/1.1\r\n\r\n"].concat());
    assert_eq!(peer.response().status, 200);
    assert_eq!(peer.response().body, "v");
    let refused = peer.response();
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("its first line"), "{}", refused.body);
    assert_eq!(peer.rest(), "");
}

#[test]
fn a_value_that_looks_like_a_rejection_is_returned_unchanged() {
    let server = Server::start(&["--namespaces", "n"]);
    let mut peer = server.connect();
    let refused = peer.request(put("Content-Length: x\r\n", ""));
    let bare = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    for value in [bare, &refused.head] {
        let mut peer = server.connect();
        let length = format!("Content-Length: {}\r\n", value.len());
        assert_eq!(peer.request(put(&length, value)).status, 200);
        assert_eq!(peer.request(GET).body, value);
    }
}

#[test]
fn a_request_with_both_a_length_and_a_coding_is_rejected_and_stores_nothing() {
    let server = Server::start(&["--namespaces", "n"]);
    let (length, coding) = ("Content-Length: 5\r\n", "transfer-encoding: chunked\r\n");
    for headers in [[length, coding].concat(), [coding, "X-A: b\r\n", length].concat()] {
        let request = put(&headers, "3\r\nabc\r\n0\r\n\r\n");
        let head_end = request.find("\r\n\r\n").unwrap() + 4;
        for cut in [head_end - 30, head_end, request.len()] {
            let mut peer = server.connect();
            assert_eq!(peer.request(GET).status, 404);
            peer.send(&request[..cut]);
            if cut < head_end {
                // The parser has the first part before the rest arrives.
                assert!(peer.is_silent());
            }
            peer.send(&request[cut..]);
            let response = peer.response();
            assert_eq!(response.status, 400, "{headers}, cut at {cut}");
            assert!(response.body.contains("both Content-Length and"), "{}", response.body);
            assert_eq!(response.header("connection"), Some("close"));
            peer.finish_sending();
            assert_eq!(peer.rest(), "");
        }
    }
    assert_eq!(server.connect().request(GET).status, 404);
    // Each of them alone is accepted, on one connection.
    let mut peer = server.connect();
    for _ in 0..2 {
        assert_eq!(peer.request(put(coding, "3\r\nabc\r\n0\r\n\r\n")).status, 200);
        assert_eq!(peer.request(put(length, "value")).status, 200);
        assert_eq!(peer.request(GET).body, "value");
    }
}

#[test]
fn duplicate_metadata_is_rejected() {
    let server = Server::start(&["--namespaces", "n"]);
    let mut peer = server.connect();
    let own = "CF-KV-Metadata: 1\r\ncf-kv-metadata: 2\r\nContent-Length: 1\r\n";
    let proxied = "MF-URL: http://x/k\r\nMF-Header-cf-kv-metadata: 1\r\n\
        MF-Header-CF-KV-Metadata: 2\r\nContent-Length: 1\r\n";
    for headers in [own, proxied] {
        let response = peer.request(put(headers, "v"));
        assert_eq!(response.status, 400);
        assert!(response.head.contains("Please specify it once."), "{}", response.head);
    }
    assert_eq!(peer.request(GET).status, 404);
}
