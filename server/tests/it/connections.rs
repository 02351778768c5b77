//! All limits of a connection, with short times.
//!
//! These tests measure no time. The server closes a silent connection after `header-timeout`, and
//! that is the clock by which the tests see that other limits apply, or do not apply too early.

use std::{
    convert::Infallible,
    io::Write as _,
    net::TcpStream,
    pin::Pin,
    process::{Command, Stdio},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use tempfile::TempDir;

use crate::{http::http2, process::Server};

const LIVE: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn an_incomplete_head_closes_the_connection() {
    let server = Server::start(&["--header-timeout", "200ms", "--idle-timeout", "1h"]);
    for beginning in
        ["", "G", "GET /healthz HTTP/1.1\r\nHost:", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nS"]
    {
        let mut peer = server.connect();
        peer.send(beginning);
        assert_eq!(peer.rest(), "", "{beginning:?}");
    }
    let mut second = server.connect();
    assert_eq!(second.request(LIVE).status, 200);
    second.send("GET /hea");
    assert_eq!(second.rest(), "");
    server.await_metric("waypost_connections ", "1");
    let cut = server.metric(r#"waypost_connections_cut_total{limit="header-timeout"}"#);
    assert!(cut.is_some_and(|cut| cut.parse::<u32>().expect("the metric is a number") >= 5));
}

#[test]
fn an_idle_connection_outlives_the_header_timeout_and_then_closes() {
    let server = Server::start(&["--header-timeout", "100ms", "--idle-timeout", "2s"]);
    let mut peer = server.connect();
    for _ in 0..5 {
        assert_eq!(peer.request(LIVE).status, 200);
        server.tick();
    }
    assert_eq!(peer.request(LIVE).status, 200);
    assert_eq!(peer.rest(), "");
}

#[tokio::test]
async fn an_idle_http2_connection_outlives_the_header_timeout_and_then_closes() {
    let server = Server::start(&["--header-timeout", "100ms", "--idle-timeout", "2s"]);
    let (mut sender, connection) = http2(&server.address).await;
    let url = format!("http://{}/healthz", server.address);
    let mut server = Some(server);
    for _ in 0..2 {
        let request = Request::get(&url).body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap();
        let ticking = server.take().unwrap();
        let ticked = tokio::task::spawn_blocking(move || {
            ticking.tick();
            ticking.tick();
            ticking
        });
        server = Some(ticked.await.unwrap());
    }
    connection.await.unwrap().unwrap();
    let server = server.unwrap();
    tokio::task::spawn_blocking(move || {
        server.await_metric(r#"waypost_connections_cut_total{limit="idle-timeout"}"#, "1");
        // The time until the close does not count as another limit.
        server.await_metric("waypost_connections ", "1");
        assert_eq!(server.metric(r#"waypost_connections_cut_total{limit="linger"}"#), None);
    })
    .await
    .unwrap();
}

#[test]
fn an_http2_connection_without_a_request_closes_after_the_header_timeout() {
    let server = Server::start(&["--header-timeout", "200ms", "--idle-timeout", "1h"]);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    // HEADERS of stream 1, without END_HEADERS.
    let endless = b"\0\0\x01\x01\0\0\0\0\x01\x82";
    for more in [b"".as_slice(), endless] {
        let mut peer = server.connect();
        peer.send([preface, more].concat());
        // The data is the server's own preface.
        assert!(peer.count_rest() < 1000);
    }
}

#[test]
fn a_delete_with_an_incomplete_body_deletes_nothing() {
    let server = Server::start(&["--namespaces", "n", "--body-timeout", "200ms"]);
    let put = "PUT /binding/n/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nv";
    assert_eq!(server.connect().request(put).status, 200);
    let delete = "DELETE /binding/n/k HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab";
    assert_eq!(server.connect().request(delete).status, 408);
    let mut cut = server.connect();
    cut.send(delete);
    cut.finish_sending();
    assert_eq!(cut.response().status, 400);
    let get = "GET /binding/n/k HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(server.connect().request(get).status, 200);
}

#[test]
fn a_stalled_body_gets_408_and_stores_nothing() {
    let server = Server::start(&["--namespaces", "n", "--body-timeout", "200ms"]);
    for framing in ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n5\r\nab"] {
        let mut peer = server.connect();
        let response = peer.request(format!("PUT /binding/n/k HTTP/1.1\r\nHost: x\r\n{framing}"));
        assert_eq!(response.status, 408, "{}", response.head);
        assert_eq!(response.header("connection"), Some("close"));
        assert!(response.body.contains("arrived for too long"), "{}", response.body);
        assert_eq!(peer.rest(), "");
    }
    let cut = server.metric(r#"waypost_connections_cut_total{limit="body-timeout"}"#);
    assert_eq!(cut.as_deref(), Some("2"));
    let stalled = "POST /v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{\"title\"";
    assert_eq!(server.connect().request(stalled).status, 408);
    let missing = server.connect().request("GET /binding/n/k HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(missing.status, 404);
}

/// A body that never arrives.
struct Never;

impl http_body::Body for Never {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn a_stalled_http2_body_gets_408_and_the_connection_stays_usable() {
    let server = Server::start(&["--namespaces", "n", "--body-timeout", "200ms"]);
    let (mut sender, _connection) = http2(&server.address).await;
    for _ in 0..2 {
        let request = Request::put(format!("http://{}/binding/n/k", server.address));
        let response = sender.send_request(request.body(Never).unwrap()).await.unwrap();
        assert_eq!(response.status(), 408);
    }
}

#[test]
fn a_slow_body_that_makes_progress_is_accepted() {
    let settings = ["--namespaces", "n", "--body-timeout", "1500ms", "--header-timeout", "150ms"];
    let server = Server::start(&settings);
    let mut peer = server.connect();
    peer.send("PUT /binding/n/k HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n");
    for _ in 0..20 {
        server.tick();
        peer.send("x");
    }
    assert_eq!(peer.response().status, 200);
}

/// More than the socket buffers of both sides hold.
const LARGE: usize = 25 << 20;

fn put_large(server: &Server) {
    let mut peer = server.connect();
    peer.send(format!("PUT /binding/n/k HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE}\r\n\r\n"));
    peer.send(vec![b'v'; LARGE]);
    assert_eq!(peer.response().status, 200);
}

#[test]
fn a_response_that_the_client_does_not_read_is_cut() {
    let settings = ["--namespaces", "n", "--response-timeout", "300ms", "--header-timeout", "50ms"];
    let server = Server::start(&settings);
    put_large(&server);
    let mut peer = server.connect();
    peer.send("GET /binding/n/k HTTP/1.1\r\nHost: x\r\n\r\n");
    server.await_metric(r#"waypost_connections_cut_total{limit="response-timeout"}"#, "1");
    assert!(peer.count_rest() < LARGE);
    // A response that the client reads is not cut.
    let mut peer = server.connect();
    let response = peer.request("GET /binding/n/k HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(response.body.len(), LARGE);
}

#[tokio::test]
async fn an_http2_response_without_a_window_is_cut() {
    let settings = ["--namespaces", "n", "--response-timeout", "300ms", "--header-timeout", "50ms"];
    let server = Server::start(&settings);
    put_large(&server);
    let (mut sender, connection) = http2(&server.address).await;
    let request = Request::get(format!("http://{}/binding/n/k", server.address));
    let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    // The client keeps reading the socket: only the stream's window stays closed.
    assert!(connection.await.unwrap().is_err());
    assert!(response.into_body().collect().await.is_err());
}

/// A connection from one of this machine's loopback addresses.
#[cfg(target_os = "linux")]
async fn connect_from(address: &str, server: &Server) -> crate::http::Peer<TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4().expect("the server accepts connections");
    socket
        .bind(format!("{address}:0").parse().expect("the server accepts connections"))
        .expect("the server accepts connections");
    let stream = socket
        .connect(server.address.parse().expect("the server accepts connections"))
        .await
        .expect("the server accepts connections");
    let stream = stream.into_std().expect("the server accepts connections");
    stream.set_nonblocking(false).expect("the server accepts connections");
    stream
        .set_read_timeout(Some(crate::process::PATIENCE))
        .expect("the server accepts connections");
    crate::http::Peer::new(stream)
}

/// A connection that is served for keys, once those that the test has closed are gone.
#[cfg(target_os = "linux")]
async fn ordinary(address: &str, server: &Server) -> crate::http::Peer<TcpStream> {
    for _ in 0..10_000 {
        let mut peer = connect_from(address, server).await;
        if peer.request("GET /binding/n/k HTTP/1.1\r\nHost: x\r\n\r\n").status == 404 {
            return peer;
        }
    }
    panic!("no connection of {address} is served for keys");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn connections_above_the_bound_serve_operators_only() {
    const GET: &str = "GET /binding/n/k HTTP/1.1\r\nHost: x\r\n\r\n";
    const KEY: &str = "GET /metrics HTTP/1.1\r\nHost: x\r\nWaypost-Namespace: n\r\n\r\n";

    let server = Server::start(&["--namespaces", "n", "--max-connections", "4"]);
    let mut open = vec![ordinary("127.0.0.2", &server).await, ordinary("127.0.0.2", &server).await];
    // This one has its half, which the others do not feel.
    for request in [GET, KEY] {
        let response = connect_from("127.0.0.2", &server).await.request(request);
        assert_eq!(response.status, 503, "{}", response.head);
        assert_eq!(response.header("retry-after"), Some("1"));
        assert_eq!(response.header("connection"), Some("close"));
    }
    open.push(ordinary("127.0.0.3", &server).await);
    open.push(ordinary("127.0.0.4", &server).await);
    assert_eq!(connect_from("127.0.0.5", &server).await.request(GET).status, 503);
    let mut dripping = Vec::new();
    for _ in 0..200 {
        dripping.push(connect_from("127.0.0.2", &server).await);
        dripping.last_mut().unwrap().send("G");
    }
    for path in ["/healthz", "/readyz", "/metrics", "/v1/namespaces", "/v1/cluster"] {
        for address in ["127.0.0.2", "127.0.0.5"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            let response = connect_from(address, &server).await.request(request);
            assert_ne!(response.status, 503, "{path} for {address}");
        }
    }
    drop((open, dripping));
    let _served = ordinary("127.0.0.5", &server).await;
    server.await_log("(max-connections) max=4");
}

#[test]
fn a_too_long_head_gets_431() {
    let server = Server::start(&["--max-header-size", "16KiB"]);
    let with_header = |bytes: usize| {
        format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(bytes))
    };
    assert_eq!(server.connect().request(with_header(15 << 10)).status, 200);
    // Far too long, too: the unread rest must not make the client lose the response.
    for bytes in [17 << 10, 512 << 10] {
        let mut peer = server.connect();
        let response = peer.request(with_header(bytes));
        assert_eq!(response.status, 431, "{bytes} bytes");
        peer.finish_sending();
        assert_eq!(peer.rest(), "");
    }
    let many = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(200));
    assert_eq!(server.connect().request(many).status, 431);
}

#[tokio::test]
async fn a_too_long_http2_head_is_rejected() {
    let server = Server::start(&["--max-header-size", "16KiB"]);
    let (mut sender, _connection) = http2(&server.address).await;
    for (bytes, expected) in [(15 << 10, true), (17 << 10, false)] {
        let request = Request::get(format!("http://{}/healthz", server.address))
            .header("x-long", "x".repeat(bytes));
        let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await;
        assert_eq!(answer.is_ok_and(|answer| answer.status() == 200), expected, "{bytes} bytes");
    }
}

#[test]
fn a_client_that_closes_its_sending_half_gets_its_responses() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    peer.send(LIVE.repeat(3));
    peer.finish_sending();
    for _ in 0..3 {
        assert_eq!(peer.response().status, 200);
    }
    assert_eq!(peer.rest(), "");
    // Between two requests the connection just closes.
    let mut peer = server.connect();
    assert_eq!(peer.request(LIVE).status, 200);
    peer.finish_sending();
    assert_eq!(peer.rest(), "");
}

#[test]
fn a_rejection_reaches_a_client_that_is_still_sending() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    let length = 4 << 20;
    peer.send(format!("POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"));
    peer.send(vec![b'v'; length]);
    assert_eq!(peer.response().status, 405);
}

#[test]
fn clients_that_vanish_leave_no_connection_behind() {
    let server = Server::start(&["--namespaces", "n", "--header-timeout", "50ms"]);
    for beginning in
        ["", "GET /he", LIVE, "PUT /binding/n/k HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab"]
    {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.write_all(beginning.as_bytes()).unwrap();
        drop(stream);
    }
    server.await_metric("waypost_connections ", "1");
}

#[test]
fn a_server_without_file_descriptors_recovers_when_some_are_released() {
    let mut limited = Command::new("sh");
    limited
        .env_clear()
        .args(["-c", "ulimit -n 40 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_waypost")])
        .args(["serve", "--listen", "127.0.0.1:0"])
        .stdin(Stdio::null());
    let server = Server::start_with(limited, TempDir::new().unwrap(), &[]);
    let mut peers: Vec<_> = (0..60).map(|_| server.connect()).collect();
    for peer in &mut peers {
        peer.send(LIVE);
    }
    let served = peers.iter().take_while(|peer| !peer.is_silent()).count();
    assert!((1..40).contains(&served), "{served}");
    drop(peers);
    assert_eq!(server.connect().request(LIVE).status, 200);
    assert_ne!(server.metric("waypost_accept_errors_total ").as_deref(), Some("0"));
    let log = server.into_log();
    assert!(
        log.contains("fewer open files") && log.contains("can't accept connections; retrying"),
        "{log}"
    );
}
