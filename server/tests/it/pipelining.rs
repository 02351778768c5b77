//! Pipelined requests, cut where a network may cut them.

use crate::process::Server;

/// A body that would be changed if it were parsed as a header.
const BODY: &str = "cf-kv-metadata:\x7f!";

fn put(key: &str, more: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "PUT /binding/n/{key} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {length}\r\n\r\n{body}"
    )
}

fn get(key: &str) -> String {
    format!("GET /binding/n/{key} HTTP/1.1\r\nHost: x\r\n\r\n")
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(&["--namespaces", "n"]);
    let mut peer = server.connect();
    peer.send([put("a", "", "1"), put("b", "", BODY), get("a"), get("b"), get("c")].concat());
    for (status, body) in [(200, ""), (200, ""), (200, "1"), (200, BODY), (404, "There is no")] {
        let response = peer.response();
        assert_eq!(response.status, status);
        assert!(response.body.starts_with(body), "{}", response.body);
    }
}

#[test]
fn a_pipelined_body_is_stored_unchanged_wherever_it_is_cut() {
    let server = Server::start(&["--namespaces", "n", "--header-timeout", "20ms"]);
    let both = [put("a", "", "1"), put("b", "", BODY)].concat();
    for cut in 1..both.len() {
        let mut peer = server.connect();
        peer.send(&both[..cut]);
        if cut >= put("a", "", "1").len() {
            // The server now waits for the rest.
            assert_eq!(peer.response().status, 200);
            peer.send(&both[cut..]);
        } else {
            peer.send(&both[cut..]);
            assert_eq!(peer.response().status, 200);
        }
        assert_eq!(peer.response().status, 200, "cut at {cut}");
        assert_eq!(peer.request(get("b")).body, BODY, "cut at {cut}");
    }
}

#[test]
fn a_body_that_is_read_right_after_its_head_is_stored_unchanged() {
    let server = Server::start(&["--namespaces", "n"]);
    // For one of these sizes the parser's buffer ends with the second head, and the next read
    // returns the body at once.
    for buffer in [4096, 8192, 16_384, 32_768] {
        let mut peer = server.connect();
        let head = put("b", "", BODY).replace(BODY, "");
        let rest = buffer - head.len();
        let padding = "x".repeat(rest - get("a").len() - "X-A: \r\n".len());
        let first = get("a").replace("Host: x\r\n", &format!("Host: x\r\nX-A: {padding}\r\n"));
        assert_eq!(first.len() + head.len(), buffer);
        peer.send([&first, &head, BODY].concat());
        assert_eq!(peer.response().status, 404);
        assert_eq!(peer.response().status, 200);
        assert_eq!(peer.request(get("b")).body, BODY, "a buffer of {buffer}");
    }
}

#[test]
fn metadata_may_contain_del_but_no_other_control_bytes() {
    let server = Server::start(&["--namespaces", "n"]);
    for (byte, status) in [(0x7f, 200), (0xf8, 400), (0xff, 400)] {
        let head = put("m", "CF-KV-Metadata: \"@\"\r\n", "v");
        let mut bytes = head.into_bytes();
        let at = bytes.iter().position(|byte| *byte == b'@').unwrap();
        bytes[at] = byte;
        assert_eq!(server.connect().request(bytes).status, status, "{byte:x}");
    }
}
