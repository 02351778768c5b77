//! Invalid requests over raw sockets: the server rejects each with a clear response, stores
//! nothing, and keeps running.

mod calls;
mod framing;
mod heads;
mod protocols;

use std::{io, time::Duration};

use waypost_tests::{
    Home, Server,
    http::{Connection, Response},
    process::announce,
    random::Random,
    settings,
};

use crate::home;

const NAMESPACE: &str = "kept";

/// Headers that select the namespace for any path.
const BY_HEADER: &str = "Host: fake-host\r\nWaypost-Namespace: kept\r\n";

/// Longer than any timer of the server under test.
const PATIENCE: Duration = Duration::from_secs(20);

/// An invalid request and the expected result.
struct Case {
    name: String,
    bytes: Vec<u8>,
    /// Whether the client closes its sending half after the bytes.
    ends: bool,
    expected: Expected,
}

/// The expected result of an invalid request.
#[derive(Clone, Debug)]
enum Expected {
    /// One of these statuses.
    Status(&'static [u16]),
    /// This status, and a reason phrase that contains this text.
    Reason(u16, String),
    /// The connection is closed without a response, because the client does not speak HTTP.
    Closed,
    /// The connection is closed, either at once or after one of these statuses.
    ClosedOr(&'static [u16]),
    /// The connection is closed after some HTTP/2 frames.
    Frames,
}

/// A case with these bytes.
fn case(name: impl Into<String>, bytes: impl Into<Vec<u8>>, expected: Expected) -> Case {
    Case { name: name.into(), bytes: bytes.into(), ends: false, expected }
}

impl Case {
    /// Makes the client close its sending half after the bytes.
    fn cut(mut self) -> Case {
        self.ends = true;
        self
    }
}

/// A request with a complete head.
fn request(line: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{line} HTTP/1.1\r\n{BY_HEADER}{headers}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A server with some entries, and their contents.
struct Site {
    server: Server,
    kept: Vec<Response>,
    _home: Home,
}

impl Site {
    fn new() -> Site {
        let home = home();
        let timers = ["--header-timeout", "1s", "--body-timeout", "1s", "--idle-timeout", "10s"];
        let server = home.serve(&timers);
        server.create_namespace(NAMESPACE, None);
        let mut connection = server.connect();
        for (key, length) in [("a", 10), ("b", 100_000)] {
            let target = format!("/binding/{NAMESPACE}/{key}?expiration=2000000000");
            let metadata = [("CF-KV-Metadata", r#"{"kept":true}"#)];
            let put = connection.request("PUT", &target, &metadata, &vec![7; length]);
            assert_eq!(put.expect("the server answers a valid put").status, 200);
        }
        let mut site = Site { server, kept: Vec::new(), _home: home };
        site.kept = site.contents();
        site
    }

    /// Everything that the store holds: values, attributes, keys and namespaces.
    fn contents(&self) -> Vec<Response> {
        let mut connection = self.server.connect();
        ["a", "b", ""]
            .map(|key| format!("/binding/{NAMESPACE}/{key}"))
            .iter()
            .map(String::as_str)
            .chain(["/v1/namespaces"])
            .map(|target| {
                let mut answer = connection.get(target).expect("the server answers");
                assert_eq!(answer.status, 200, "{target}: {answer:?}");
                answer.headers.retain(|(name, _)| name != "date");
                answer
            })
            .collect()
    }

    /// Runs one case. The error describes the difference from the expected result.
    fn run(&mut self, case: &Case) -> Result<(), String> {
        let rejected = self.check_response(case);
        // Runs after a failure, too: it updates the contents that the next case compares with.
        let unchanged = self.check_unchanged();
        rejected.and(unchanged)
    }

    fn check_response(&self, case: &Case) -> Result<(), String> {
        let mut connection = self.server.connect();
        connection.set_patience(PATIENCE).map_err(|error| error.to_string())?;
        // The server may reject the request and close before it has received everything.
        let _rejected_early = connection.send(&case.bytes);
        if case.ends {
            let _closed_already = connection.finish_sending();
        }
        if matches!(case.expected, Expected::Frames) {
            return match connection.rest() {
                Err(error) if !is_closed(&error) => {
                    Err(format!("the connection stays open: {error}"))
                }
                _ => Ok(()),
            };
        }
        let answer = match connection.response_to("GET") {
            Ok(answer) => Some(answer),
            Err(error) if is_closed(&error) => None,
            Err(error) => {
                return Err(format!("no response, and the connection stays open: {error}"));
            }
        };
        check(&case.expected, answer.as_ref())?;
        answer.map_or(Ok(()), |answer| follow_up(&mut connection, &answer, case.ends))
    }

    fn check_unchanged(&mut self) -> Result<(), String> {
        let now = self.contents();
        let before = std::mem::replace(&mut self.kept, now);
        if before == self.kept {
            Ok(())
        } else {
            Err("it changed the contents of the store".to_owned())
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn check(expected: &Expected, answer: Option<&Response>) -> Result<(), String> {
    let is_right = match (expected, answer) {
        (Expected::Status(statuses) | Expected::ClosedOr(statuses), Some(answer)) => {
            statuses.contains(&answer.status)
        }
        (Expected::Reason(status, text), Some(answer)) => {
            answer.status == *status && answer.reason.contains(text)
        }
        (Expected::Closed | Expected::ClosedOr(_), None) => true,
        _ => false,
    };
    if is_right { Ok(()) } else { Err(format!("expected {expected:?}, got {answer:?}")) }
}

/// After the response the server closes the connection or serves the next request. It never reads
/// the rest of the invalid request as another one.
fn follow_up(connection: &mut Connection, answer: &Response, is_cut: bool) -> Result<(), String> {
    if answer.header("connection") == Some("close") || is_cut {
        return match connection.rest() {
            Ok(rest) if rest.is_empty() => Ok(()),
            Ok(rest) => {
                Err(format!("data after the response: {:?}", String::from_utf8_lossy(&rest)))
            }
            Err(error) if is_closed(&error) => Ok(()),
            Err(error) => {
                Err(format!("the connection stays open after its last response: {error}"))
            }
        };
    }
    match connection.get("/healthz") {
        Ok(next) if next.status == 200 && next.text().contains("alive") => Ok(()),
        next => Err(format!("the response to the next request on the connection is {next:?}")),
    }
}

/// Runs all cases of a table, and fails with the names and errors of those that fail.
fn check_all(cases: &[Case]) {
    let mut site = Site::new();
    let mut failures = Vec::new();
    for case in cases {
        match site.run(case) {
            Ok(()) => println!("ok: {}", case.name),
            Err(why) => failures.push(format!("FAILED: {}: {why}", case.name)),
        }
    }
    let count = failures.len();
    assert!(count == 0, "{count} of {} cases failed:\n{}", cases.len(), failures.join("\n"));
    assert!(site.server.stop().success());
}

#[test]
fn invalid_heads_are_rejected() {
    check_all(&heads::cases());
}

#[test]
fn invalid_lengths_and_incomplete_bodies_are_rejected() {
    check_all(&framing::cases());
}

#[test]
fn invalid_calls_are_rejected() {
    check_all(&calls::cases());
}

#[test]
fn other_protocols_are_rejected() {
    check_all(&protocols::cases());
}

/// Valid requests with some bytes changed.
#[test]
fn damaged_requests_change_nothing() {
    let seed = settings::seed();
    let site = Site::new();
    let mut random = Random::new(seed);
    for round in 0..settings::rounds() * 100 {
        let bytes = protocols::damaged(&mut random);
        let mut connection = site.server.connect();
        let _rejected_early = connection.send(&bytes);
        let _closed_already = connection.finish_sending();
        connection.set_patience(PATIENCE).expect("a socket accepts a timeout");
        let answered = connection.rest();
        let is_over = answered.as_ref().map_or_else(is_closed, |_| true);
        let text = String::from_utf8_lossy(&bytes);
        if !is_over || !site.server.is_ready() {
            announce(&format!("WAYPOST_TEST_SEED={seed}, round {round}"));
            panic!("after {text:?}: {answered:?}");
        }
        let server_error = answered.is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 500"));
        assert!(!server_error, "WAYPOST_TEST_SEED={seed}: a 500 for {text:?}");
    }
    // None of them is a valid write: their namespace does not exist.
    assert!(site.contents() == site.kept, "WAYPOST_TEST_SEED={seed}: the store has changed");
}

/// A proxy in front may have used either length, and taken the rest for the next request.
#[test]
fn a_request_with_both_a_length_and_chunks_is_rejected_and_the_connection_closes() {
    let site = Site::new();
    let (length, chunks) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    for headers in [[length, chunks].concat(), [chunks, length].concat()] {
        let rest = "GET /b HTTP/1.1\r\nHost: x\r\n\r\n";
        let body = format!("3\r\nabc\r\n0\r\n\r\n{rest}");
        let mut connection = site.server.connect();
        connection
            .send(&request("PUT /a", &headers, body.as_bytes()))
            .expect("the request can be sent");
        let answer = connection.response_to("PUT").expect("the server answers");
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.text().contains("both Content-Length and"), "{answer:?}");
        follow_up(&mut connection, &answer, true).expect("no data follows the response");
        assert!(site.contents() == site.kept, "the store has changed");
    }
}
