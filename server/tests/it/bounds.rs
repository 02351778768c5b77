//! Attacks on the memory of a server: what one client makes it hold.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, Response, body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;

use crate::{http::http2, process::Server};

/// The bytes of a key that take most as JSON: each is written as six.
const KEY_BYTES: usize = 500;

/// The keys of a page.
const KEYS: usize = 1000;

/// A server with keys and namespaces whose lists are as long as lists can be.
fn server_with_long_lists() -> Server {
    let server = Server::start(&["--namespaces", "n", "--durability", "relaxed:1s"]);
    let mut peer = server.connect();
    let rest = "%01".repeat(KEY_BYTES);
    for number in 0..KEYS + 20 {
        let put = format!(
            "PUT /binding/n/{number:04}{rest}?urlencoded=true HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nv"
        );
        assert_eq!(peer.request(put).status, 200);
        let body = format!(r#"{{"title":"{number:04}{}"}}"#, r#"\""#.repeat(KEY_BYTES));
        let create = format!(
            "POST /v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(peer.request(create).status, 201);
    }
    server
}

/// The resident memory of a server, in bytes.
#[cfg(target_os = "linux")]
fn resident_bytes(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()))
        .expect("Linux reports the memory");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("Linux reports the memory");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("Linux reports the memory");
    kib << 10
}

/// Sends a request without a body.
async fn get(
    sender: &mut http2::SendRequest<Empty<Bytes>>,
    server: &Server,
    path: &str,
) -> Response<Incoming> {
    let request = Request::get(format!("http://{}{path}", server.address));
    sender
        .send_request(request.body(Empty::new()).expect("the request is answered"))
        .await
        .expect("the request is answered")
}

#[tokio::test]
async fn long_lists_arrive_whole_and_continue_where_they_stopped() {
    let server = server_with_long_lists();
    let (mut sender, _connection) = http2(&server.address).await;
    for (path, field, cursor, next) in [
        ("/binding/n/?", "keys", "cursor", "cursor"),
        ("/v1/namespaces?", "namespaces", "next", "after"),
    ] {
        let mut names = Vec::new();
        let mut query = String::new();
        for page in 0..2 {
            let response = get(&mut sender, &server, &format!("{path}{query}")).await;
            assert_eq!(response.status(), 200);
            let whole = response.into_body().collect().await.unwrap().to_bytes();
            let list: Value = serde_json::from_slice(&whole).unwrap();
            let found = list[field].as_array().unwrap();
            assert_eq!(found.len() == KEYS, page == 0, "{path}: {} in page {page}", found.len());
            let name = |item: &Value| item.get("name").or(item.get("id")).unwrap().to_string();
            names.extend(found.iter().map(name));
            assert_eq!(list[cursor].is_string(), page == 0);
            query = format!("{next}={}", list[cursor].as_str().unwrap_or_default());
        }
        let count = names.len();
        // The namespaces are those of the test and the one of the keys.
        assert!(count == KEYS + 20 || (field == "namespaces" && count == KEYS + 21), "{count}");
        assert!(names.is_sorted_by(|one, next| one < next), "{path}: out of order or twice");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn lists_that_nobody_reads_hold_little_memory() {
    const LISTS: usize = 128;
    const MOST_BYTES: u64 = 64 << 20;

    let server = server_with_long_lists();
    let before = resident_bytes(&server);
    for path in ["/binding/n/", "/v1/namespaces"] {
        let stream = tokio::net::TcpStream::connect(&server.address).await.unwrap();
        let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(0)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let _connection = tokio::spawn(connection);
        let mut unread = Vec::new();
        for _ in 0..LISTS {
            let response = get(&mut sender, &server, path).await;
            assert_eq!(response.status(), 200);
            unread.push(response);
        }
        let held = resident_bytes(&server).saturating_sub(before);
        println!("{LISTS} lists of {path} hold {held} bytes");
        assert!(held < MOST_BYTES, "{LISTS} lists of {path} hold {held} bytes");
    }
}

/// An HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("it is short").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

#[test]
fn a_flood_of_http2_frames_ends_its_connection_only() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    let server = Server::start(&["--header-timeout", "1h"]);
    let floods = [
        ("WINDOW_UPDATE", frame(8, 0, 0, &[0, 0, 0, 1])),
        ("PRIORITY", frame(2, 0, 1, &[0, 0, 0, 0, 16])),
        ("SETTINGS", frame(4, 0, 0, &[])),
        ("SETTINGS with an entry", frame(4, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])),
        ("PING", frame(6, 0, 0, &[0; 8])),
        ("PING with an acknowledgement", frame(6, 1, 0, &[0; 8])),
        ("an unknown type", frame(0x20, 0, 0, &[0; 100])),
    ];
    for (name, one) in &floods {
        let mut peer = server.connect();
        peer.send(PREFACE);
        let many = one.repeat(100);
        // Without a bound this would not end: the server would take all of it.
        let is_cut = (0..10_000).any(|_| peer.try_send(&many).is_err());
        assert!(is_cut, "a flood of {name} was taken");
        assert_eq!(
            server.connect().request("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").status,
            200
        );
    }
    let cut = r#"waypost_connections_cut_total{limit="http2-frames"}"#;
    server.await_metric(cut, &floods.len().to_string());
}

/// The least budget.
const BUDGET_BYTES: u64 = 16 << 20;

/// A server with the least budget, and a large value under the key `k` of the namespace `n`.
fn server_with_small_budget(header_timeout: &str) -> Server {
    const LARGE: usize = 25 << 20;

    let timeouts = ["--response-timeout", "1h", "--header-timeout", header_timeout];
    let settings = [&["--namespaces", "n", "--budget", "16MiB"], &timeouts[..]].concat();
    let server = Server::start(&settings);
    let mut peer = server.connect();
    peer.send(format!("PUT /binding/n/k HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE}\r\n\r\n"));
    peer.send(vec![b'v'; LARGE]);
    assert_eq!(peer.response().status, 200);
    server
}

/// The value of a metric.
fn metric(server: &Server, name: &str) -> u64 {
    server.metric(name).expect("it is exported").parse().expect("a number")
}

#[cfg(target_os = "linux")]
#[test]
fn slow_readers_hold_no_more_than_the_budget() {
    const READERS: usize = 300;

    let server = server_with_small_budget("300ms");
    let before = resident_bytes(&server);
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let mut peer = server.connect();
            peer.send("GET /binding/n/k HTTP/1.1\r\nHost: x\r\n\r\n");
            peer
        })
        .collect();
    while metric(&server, "waypost_shed_requests_total") == 0 {
        server.tick();
    }
    let (used, most) =
        (metric(&server, "waypost_bytes_in_flight"), metric(&server, "waypost_budget_bytes"));
    println!("{READERS} slow readers: {used} of {most} bytes in flight");
    assert_eq!(most, BUDGET_BYTES);
    // The pieces that were on their way when the last response was admitted, and the connections, come on top.
    assert!(used < 2 * BUDGET_BYTES, "{used} bytes in flight");
    let held = resident_bytes(&server).saturating_sub(before);
    assert!(held < 4 * BUDGET_BYTES, "{READERS} slow readers hold {held} bytes");
    drop(readers);
}

#[tokio::test]
async fn streams_that_open_no_window_are_bounded_by_the_budget_and_operators_are_answered() {
    let server = server_with_small_budget("10s");
    let mut unread = Vec::new();
    let mut refused = 0;
    for _ in 0..2 {
        let stream = tokio::net::TcpStream::connect(&server.address).await.unwrap();
        let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(0)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        for _ in 0..100 {
            let request = Request::get(format!("http://{}/binding/n/k", server.address));
            let request = request.body(Empty::<Bytes>::new()).expect("it is valid");
            // A connection that has stood still for a second is cut instead.
            let Ok(response) = sender.send_request(request).await else { break };
            refused += usize::from(response.status() == 503);
            unread.push(response);
        }
    }
    let (mut operator, _connection) = http2(&server.address).await;
    for path in ["/healthz", "/readyz", "/v1/namespaces"] {
        assert_eq!(get(&mut operator, &server, path).await.status(), 200, "{path}");
    }
    let held = metric(&server, "waypost_bytes_in_flight");
    println!("{} streams were answered, {refused} refused: {held} bytes in flight", unread.len());
    assert!(held < 2 * BUDGET_BYTES, "{held} bytes in flight");
    let cut = server.metric(r#"waypost_connections_cut_total{limit="budget"}"#);
    assert!(refused > 0 || cut.is_some(), "all of them were answered");
}

#[cfg(target_os = "linux")]
#[test]
fn the_system_holds_little_of_a_response_that_nobody_reads() {
    const LARGE: usize = 25 << 20;
    const MOST_BYTES: u64 = 1 << 20;

    let settings = ["--namespaces", "n", "--header-timeout", "300ms", "--response-timeout", "1h"];
    let server = Server::start(&settings);
    let mut peer = server.connect();
    peer.send(format!("PUT /binding/n/k HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE}\r\n\r\n"));
    peer.send(vec![b'v'; LARGE]);
    assert_eq!(peer.response().status, 200);
    peer.send("GET /binding/n/k HTTP/1.1\r\nHost: x\r\n\r\n");
    server.await_metric("waypost_connections ", "2");
    let port = server.address.rsplit(':').next().unwrap().parse::<u16>().unwrap();
    // The bytes that the system has not delivered are in the fifth column: those to send, in hexadecimal digits.
    let unsent = || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let of_server = table.lines().filter(|line| {
            line.split_whitespace()
                .nth(1)
                .is_some_and(|local| local.ends_with(&format!(":{port:04X}")))
        });
        let queues = of_server.filter_map(|line| line.split_whitespace().nth(4)?.split_once(':'));
        queues.map(|(send, _)| u64::from_str_radix(send, 16).unwrap()).max().unwrap()
    };
    // It grows until the client's window is full, and then as far as it may.
    let mut most = 0;
    loop {
        server.tick();
        let now = unsent();
        if now > 0 && now <= most {
            break;
        }
        most = most.max(now);
    }
    println!("the system holds {most} bytes");
    assert!(most < MOST_BYTES, "the system holds {most} bytes");
}
