//! Which API a request is routed to, and the responses of the small APIs.

use std::{
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::{http::Peer, process::Server};

#[test]
fn health_readiness_and_metrics_respond() {
    let server = Server::start(&["--namespaces", "a,b"]);
    let mut peer = server.connect();
    for (path, status, expected) in [
        ("/healthz", 200, "alive\n"),
        ("/readyz", 200, "ready\n"),
        ("/metrics", 200, "waypost_namespaces 2\n"),
        ("/metrics", 200, r#"waypost_store_mode{mode="writer"} 1"#),
        ("/", 404, "/binding/NAMESPACE/KEY"),
        ("/binding", 404, "/binding/NAMESPACE/KEY"),
        ("/binding/", 404, "/binding/NAMESPACE/KEY"),
        ("/healthz/x", 404, "/binding/NAMESPACE/KEY"),
    ] {
        let response = peer.request(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(response.status, status, "{path}");
        assert!(response.body.contains(expected), "{path}: {}", response.body);
    }
    let response = peer.request("DELETE /readyz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((response.status, response.header("allow")), (405, Some("GET,HEAD")));
    let metrics = peer.request("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    for line in [
        r#"waypost_requests_total{api="ops",method="GET",status="2xx"} 4"#,
        r#"waypost_requests_total{api="ops",method="DELETE",status="4xx"} 1"#,
        r#"waypost_requests_total{api="binding",method="GET",status="4xx"} 1"#,
        r#"waypost_requests_total{api="none",method="GET",status="4xx"} 3"#,
    ] {
        assert!(metrics.body.contains(line), "{line} is not in {}", metrics.body);
    }
}

#[test]
fn the_header_overrides_every_route_and_paths_are_not_normalised() {
    let server = Server::start(&["--namespaces", "a b,ü"]);
    let mut peer = server.connect();
    for path in ["/metrics", "/v1/namespaces", "/binding/a%20b/x", "/a//b", "/../c", "/%2e%2e%2f"] {
        let response = peer.request(format!(
            "PUT {path} HTTP/1.1\r\nHost: x\r\nWaypost-Namespace: a b\r\nContent-Length: {}\r\n\r\n{path}",
            path.len()
        ));
        assert_eq!(response.status, 200, "{path}");
    }
    let read = "HTTP/1.1\r\nHost: x\r\n\r\n";
    for path in ["/metrics", "/a//b", "/../c", "/%2e%2e%2f", "/binding/a%20b/x"] {
        let response = peer.request(format!("GET /binding/a%20b{path} {read}"));
        assert_eq!((response.status, &response.body[..]), (200, path));
    }
    // A title in UTF-8: unchanged in the header, percent-encoded in the path.
    let put = "PUT /k HTTP/1.1\r\nHost: x\r\nWaypost-Namespace: ü\r\nContent-Length: 1\r\n\r\nv";
    assert_eq!(peer.request(put).status, 200);
    assert_eq!(peer.request(format!("GET /binding/%C3%BC/k {read}")).body, "v");
    for refused in [
        b"GET /k HTTP/1.1\r\nHost: x\r\nWaypost-Namespace: \xff\r\n\r\n".as_slice(),
        b"GET /binding/%ff/k HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        assert_eq!(peer.request(refused).status, 400);
    }
}

#[test]
fn a_namespace_is_merged_into_another_one_and_dropped() {
    let server = Server::start(&["--namespaces", "from,into"]);
    let mut peer = server.connect();
    let mut send = |method: &str, path: &str, body: &str| {
        let length = body.len();
        let response = peer.request(format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        (response.status, response.body)
    };
    let large = "x".repeat(200_000);
    for (path, body) in [
        ("from/small", "one"),
        ("from/large", &large),
        ("from/both", "older"),
        ("into/both", "later"),
        ("into/own", "own"),
    ] {
        assert_eq!(send("PUT", &format!("/binding/{path}"), body).0, 200, "{path}");
    }
    let merge = "/v1/namespaces/from/merge";
    for (body, status) in [(r#"{"into":"from"}"#, 409), (r#"{"into":"none"}"#, 404), ("{}", 400)] {
        assert_eq!(send("POST", merge, body).0, status, "{body}");
    }
    let (status, merged) = send("POST", merge, r#"{"into":"into"}"#);
    assert_eq!(status, 200, "{merged}");
    assert!(merged.contains(r#""moved":2"#), "{merged}");
    for (key, status, body) in [
        ("small", 200, "one"),
        ("large", 200, &large[..]),
        ("both", 200, "later"),
        ("own", 200, "own"),
    ] {
        let (got, value) = send("GET", &format!("/binding/into/{key}"), "");
        assert_eq!(got, status, "{key}");
        assert!(value == body, "{key}");
    }
    assert_eq!(send("GET", "/v1/namespaces/from", "").0, 404);
    assert_eq!(send("POST", merge, r#"{"into":"into"}"#).0, 404);
}

#[test]
fn namespaces_can_be_managed_over_http() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    let mut send = |method: &str, path: &str, body: &str| {
        let length = body.len();
        let response = peer.request(format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}"
        ));
        (response.status, response.body)
    };
    let id = "0123456789abcdef0123456789abcdef";
    let made = format!("{{\"id\":\"{id}\",\"title\":\"a/b\"}}\n");
    let all = "/v1/namespaces";
    assert_eq!(send("GET", all, ""), (200, "{\"namespaces\":[]}\n".into()));
    assert_eq!(send("POST", all, &made), (201, made.clone()));
    assert_eq!(send("GET", "/v1/namespaces/a%2Fb", ""), (200, made.clone()));
    for (method, path, body, status, expected) in [
        ("POST", all, r#"{"title":"a/b"}"#, 409, "exists"),
        ("POST", all, made.trim(), 409, "exists"),
        ("POST", all, r#"{"title":""}"#, 400, "title"),
        ("POST", all, r#"{"title":"x","id":"zz"}"#, 400, "32 hexadecimal digits"),
        ("POST", all, r#"{"name":"x"}"#, 400, "unknown field"),
        ("POST", all, "title=x", 400, "JSON like"),
        ("POST", all, "", 400, "JSON like"),
        ("PATCH", "/v1/namespaces/none", r#"{"title":"x"}"#, 404, "none"),
        ("DELETE", "/v1/namespaces/none", "", 404, "none"),
        ("GET", "/v1/namespaces/%ff", "", 400, "UTF-8"),
        ("POST", all, r#"["x"]"#, 400, "expected an object"),
        ("PATCH", "/v1/namespaces/a%2Fb", r#"["x"]"#, 400, "expected an object"),
        ("POST", all, &"x".repeat(70_000), 413, "longer than 65536 bytes"),
        ("PATCH", "/v1/namespaces/a%2Fb", &"x".repeat(70_000), 413, "longer than 65536 bytes"),
        ("GET", "/v1/namespaces/", "", 404, "/v1/namespaces"),
        ("GET", "/v1/namespaces/a/b", "", 404, "/v1/namespaces"),
        ("PUT", all, "", 405, "no method PUT"),
    ] {
        let (got, body) = send(method, path, body);
        assert_eq!(got, status, "{method} {path}: {body}");
        assert!(body.contains(expected), "{body}");
        assert!(body.starts_with("{\"error\":\""), "{body}");
    }
    let renamed = made.replace("a/b", "c");
    assert_eq!(send("PATCH", "/v1/namespaces/a%2Fb", r#"{"title":"c"}"#), (200, renamed.clone()));
    assert_eq!(send("GET", all, "").1, format!("{{\"namespaces\":[{}]}}\n", renamed.trim()));
    assert_eq!(send("DELETE", &format!("{all}/{id}"), ""), (200, renamed));
    assert_eq!(send("GET", all, "").1, "{\"namespaces\":[]}\n");
    let put = |send: &mut dyn FnMut(&str, &str, &str) -> (u16, String)| {
        send("PUT", &format!("/binding/{id}/key"), "value").0
    };
    assert_eq!(put(&mut send), 404, "it is dropped");
    assert_eq!(send("POST", all, &made), (201, made.clone()), "it may be created again");
    assert_eq!(put(&mut send), 200);
    assert_eq!(send("DELETE", &format!("{all}/{id}"), ""), (200, made.clone()));
    assert_eq!(send("POST", all, &made), (201, made));
    assert_eq!(send("GET", &format!("/binding/{id}/key"), "").0, 404, "it is empty");
}

#[test]
fn a_list_of_namespaces_comes_in_pages_of_a_thousand() {
    let server = Server::start(&["--durability", "relaxed:100ms"]);
    let mut peer = server.connect();
    let mut send = |method: &str, path: &str, body: &str| {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n");
        let response = peer.request(format!("{head}\r\n{body}"));
        (response.status, response.body)
    };
    let all = "/v1/namespaces";
    for n in 1..=1001 {
        let body = format!(r#"{{"title":"t{n}","id":"{n:032x}"}}"#);
        assert_eq!(send("POST", all, &body).0, 201);
    }
    let (status, first) = send("GET", all, "");
    assert_eq!((status, first.matches("title").count()), (200, 1000));
    let last = format!("{:032x}", 1000);
    assert!(first.ends_with(&format!("],\"next\":\"{last}\"}}\n")), "{first}");
    let rest = send("GET", &format!("{all}?after={last}"), "");
    let one = format!("{{\"id\":\"{:032x}\",\"title\":\"t1001\"}}", 1001);
    assert_eq!(rest, (200, format!("{{\"namespaces\":[{one}]}}\n")));
    for query in ["after=1", "after", "limit=5"] {
        let (status, why) = send("GET", &format!("{all}?{query}"), "");
        assert_eq!(status, 400, "{query}");
        assert!(why.contains("after=ID"), "{why}");
    }
}

#[test]
fn an_unknown_namespace_is_a_404_unless_a_runtime_would_turn_that_into_null() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    let runtime = "CF-KV-FLPROD-405: x\r\n";
    let proxied = "MF-URL: http://x/k?urlencoded=true\r\n";
    let id = "0f2ac74b498b48028cb68387c421e279";
    for (namespace, method, headers, status) in [
        ("none", "GET", "", 404),
        ("none", "HEAD", "", 404),
        ("none", "GET", runtime, 400),
        ("none", "GET", proxied, 400),
        ("none", "DELETE", runtime, 404),
        (id, "GET", "", 404),
    ] {
        peer.send(format!("{method} /binding/{namespace}/k HTTP/1.1\r\nHost: x\r\n{headers}\r\n"));
        let response = peer.response();
        assert_eq!(response.status, status, "{method} {headers}");
        let name = if namespace == id { format!("TITLE --id {id}") } else { namespace.into() };
        let expected = format!("Make it with: waypost namespace create {name}");
        assert!(response.head.contains(&expected), "{}", response.head);
    }
    for headers in ["Waypost-Namespace: a\r\nWaypost-Namespace: a\r\n", "Waypost-Namespace:\r\n"] {
        let get = format!("GET /k HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        assert_eq!(peer.request(get).status, 400, "{headers}");
    }
    let head = r#"waypost_requests_total{api="binding",method="HEAD",status="4xx"}"#;
    assert_eq!(server.metric(head).as_deref(), Some("1"));
}

#[test]
fn a_write_that_exceeds_the_queue_gets_a_retry_after() {
    let server = Server::start(&["--namespaces", "n", "--queue", "1", "--queue-wait", "0s"]);
    let is_over = AtomicBool::new(false);
    let put = |mut peer: Peer<TcpStream>| {
        let put = "PUT /binding/n/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nv";
        // As many writes as the queue needs, which is a few: one write is in progress most of the
        // time.
        for _ in 0..100_000 {
            if is_over.load(Ordering::Relaxed) {
                return None;
            }
            let response = peer.request(put);
            if response.status != 200 {
                is_over.store(true, Ordering::Relaxed);
                return Some(response);
            }
        }
        None
    };
    let peers = [(); 8].map(|()| server.connect()).into_iter();
    let refused: Vec<_> = thread::scope(|scope| {
        let writers: Vec<_> = peers.map(|peer| scope.spawn(|| put(peer))).collect();
        writers.into_iter().filter_map(|writer| writer.join().unwrap()).collect()
    });
    assert!(!refused.is_empty());
    for response in refused {
        assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
        assert!(response.body.contains("Nothing was written"), "{}", response.body);
    }
    // The write succeeds once the queue has space.
    let put = "PUT /binding/n/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nw";
    assert_eq!(server.connect().request(put).status, 200);
}
