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
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib << 10
}

/// Sends a request without a body.
async fn get(
    sender: &mut http2::SendRequest<Empty<Bytes>>,
    server: &Server,
    path: &str,
) -> Response<Incoming> {
    let request = Request::get(format!("http://{}{path}", server.address));
    sender.send_request(request.body(Empty::new()).unwrap()).await.unwrap()
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
