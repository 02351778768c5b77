//! What the client repeats, against a server that answers as it is told.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
    time::Duration,
};

use waypost_client::{Attributes, Client, Error, Retry, Upload};

/// Answers each request with the next of these texts, and then ends. Returns its address, and how many requests came.
fn server(answers: &[&'static str]) -> (String, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    let answers = answers.to_vec();
    let thread = thread::spawn(move || {
        let mut heads = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            // Each body ends with this word.
            let is_whole = |request: &[u8]| {
                let text = String::from_utf8_lossy(request);
                text.contains("\r\n\r\n") && (!text.starts_with("PUT") || text.contains("end"))
            };
            while !is_whole(&request) {
                let read = stream.read(&mut buffer).expect("the request can be read");
                assert_ne!(read, 0, "the request ended early");
                request.extend_from_slice(&buffer[..read]);
            }
            heads.push(String::from_utf8_lossy(&request).lines().next().unwrap_or_default().into());
            stream.write_all(answer.as_bytes()).expect("the response can be written");
        }
        heads
    });
    (address, thread)
}

const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nConnection: close\r\nContent-Length: 101\r\n\r\n\
    {\"result\":null,\"success\":false,\"errors\":[{\"code\":10001,\"message\":\"wait 0123456789\"}],\"messages\":[]}     ";
const LIMITED: &str =
    "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!";
const LASTING: &str = "HTTP/1.1 500 Internal Server Error\r\nx-should-retry: false\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const LATER: &str = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3600\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const DONE: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 30\r\n\r\n{\"result\":null,\"success\":true}";
const CUT: &str = "HTTP/1.1 200 OK\r\nContent-";

/// A client that hardly waits.
fn client(address: &str) -> Client {
    let first_wait = Duration::from_millis(1);
    let retry = Retry { attempts: 3, first_wait, ..Retry::default() };
    Client::builder(address).retry(retry).build().expect("a client")
}

async fn put(answers: &[&'static str], value: impl Into<Upload>) -> (Result<(), Error>, usize) {
    let (address, server) = server(answers);
    let namespace = client(&address).namespace("0123456789abcdef0123456789abcdef");
    let result = namespace.put("a/b", value, Attributes::default()).await;
    let heads = server.join().expect("the server does not panic");
    let path = "/client/v4/accounts/local/storage/kv/namespaces/0123456789abcdef0123456789abcdef/values/a%2Fb";
    assert!(heads.iter().all(|head| *head == format!("PUT {path} HTTP/1.1")), "{heads:?}");
    (result, heads.len())
}

#[tokio::test]
async fn a_put_is_repeated_while_a_retry_may_help() {
    let (result, sent) = put(&[BUSY, LIMITED, DONE], "the end").await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(sent, 3);
    let (result, _) = put(&[CUT, BUSY, DONE], "the end").await;
    assert!(result.is_ok(), "{result:?}");
}

#[tokio::test]
async fn the_last_error_is_returned_after_all_attempts() {
    let (result, _) = put(&[LIMITED, LIMITED, BUSY], "the end").await;
    let error = result.expect_err("it is busy");
    assert_eq!(
        (error.code(), error.is_retryable(), error.is_unknown()),
        (Some(10001), true, false)
    );
    assert!(error.to_string().starts_with("wait"), "{error}");
}

#[tokio::test]
async fn what_lasts_and_what_lasts_long_is_not_repeated() {
    let (result, _) = put(&[LASTING], "the end").await;
    let error = result.expect_err("it failed");
    assert_eq!((error.is_retryable(), error.is_unknown()), (false, true));
    let (result, _) = put(&[LATER], "the end").await;
    let error = result.expect_err("it failed");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
}

#[tokio::test]
async fn a_stream_is_not_repeated_and_must_have_its_length() {
    let (result, _) = put(&[BUSY], Upload::stream(&b"the end"[..], Some(7))).await;
    assert!(result.expect_err("it is busy").is_retryable());
    let (address, _server) = server(&[DONE]);
    let namespace = client(&address).namespace("x");
    for (bytes, length) in [(&b"shor"[..], 5), (&b"long"[..], 3)] {
        let result =
            namespace.put("a", Upload::stream(bytes, Some(length)), Attributes::default()).await;
        assert!(matches!(result, Err(Error::Upload(_))), "{result:?}");
    }
}

#[tokio::test]
async fn a_namespace_is_not_created_twice_by_a_retry() {
    let (address, server) = server(&[CUT]);
    let error = client(&address).create_namespace("end").await.expect_err("it was cut");
    assert!(error.is_unknown(), "{error}");
    assert_eq!(server.join().expect("the server does not panic").len(), 1);
}

#[tokio::test]
async fn without_a_server_nothing_was_sent() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
    let client = client(&format!("http://{free}"));
    let error = client.namespaces().await.expect_err("there is none");
    assert!(matches!(error, Error::Connect { .. }) && !error.is_unknown(), "{error}");
}

#[tokio::test]
async fn a_page_of_another_server_is_not_this_api() {
    let page = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\n<html>";
    let (address, _server) = server(&[page]);
    let error = client(&address).namespaces().await.expect_err("it is HTML");
    assert!(matches!(error, Error::NotThisApi { .. }), "{error}");
}
