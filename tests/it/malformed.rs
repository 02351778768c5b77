//! Requests that are wrong, over raw sockets: each is refused clearly, changes nothing, and the
//! server is alive afterwards.

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

/// The start of a head that reaches the namespace on any path.
const BY_HEADER: &str = "Host: fake-host\r\nWaypost-Namespace: kept\r\n";

/// Longer than any timer of the server under test.
const PATIENCE: Duration = Duration::from_secs(20);

/// A wrong request and what must become of it.
struct Case {
    name: String,
    bytes: Vec<u8>,
    /// Whether the client stops sending after the bytes, or waits for the answer.
    ends: bool,
    expected: Expected,
}

/// What must become of a wrong request.
#[derive(Clone, Debug)]
enum Expected {
    /// One of these statuses.
    Status(&'static [u16]),
    /// This status, and these words in its reason phrase.
    Says(u16, String),
    /// The connection is closed without a word, as nobody is there who speaks HTTP.
    Closed,
    /// Closed, or one of these statuses first.
    ClosedOr(&'static [u16]),
    /// The connection is closed after some frames of HTTP/2.
    Frames,
}

/// A case of these bytes.
fn case(name: impl Into<String>, bytes: impl Into<Vec<u8>>, expected: Expected) -> Case {
    Case { name: name.into(), bytes: bytes.into(), ends: false, expected }
}

impl Case {
    /// After the bytes the client sends nothing more, and says so.
    fn cut(mut self) -> Case {
        self.ends = true;
        self
    }
}

/// A request whose head is complete.
fn request(line: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{line} HTTP/1.1\r\n{BY_HEADER}{headers}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A server that holds something, and what that is.
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
            assert_eq!(put.expect("a good put is answered").status, 200);
        }
        let mut site = Site { server, kept: Vec::new(), _home: home };
        site.kept = site.contents();
        site
    }

    /// Everything that the store holds: values, versions and all.
    fn contents(&self) -> Vec<Response> {
        let mut connection = self.server.connect();
        ["a", "b", ""]
            .map(|key| format!("/binding/{NAMESPACE}/{key}"))
            .iter()
            .map(String::as_str)
            .chain(["/v1/namespaces"])
            .map(|target| {
                let mut answer = connection.get(target).expect("the server is alive");
                assert_eq!(answer.status, 200, "{target}: {answer:?}");
                answer.headers.retain(|(name, _)| name != "date");
                answer
            })
            .collect()
    }

    /// Runs one case; an error says what is not as it must be.
    fn run(&mut self, case: &Case) -> Result<(), String> {
        let refused = self.is_refused(case);
        // In any case, so that the next one begins with what is there.
        let unchanged = self.is_unchanged();
        refused.and(unchanged)
    }

    fn is_refused(&self, case: &Case) -> Result<(), String> {
        let mut connection = self.server.connect();
        connection.set_patience(PATIENCE).map_err(|error| error.to_string())?;
        // The server may refuse and close before it has it all.
        let _refused_early = connection.send(&case.bytes);
        if case.ends {
            let _closed_already = connection.finish_sending();
        }
        if matches!(case.expected, Expected::Frames) {
            return match connection.rest() {
                Err(error) if !is_closed(&error) => Err(format!("it stays open: {error}")),
                _ => Ok(()),
            };
        }
        let answer = match connection.answer_to("GET") {
            Ok(answer) => Some(answer),
            Err(error) if is_closed(&error) => None,
            Err(error) => return Err(format!("neither an answer nor closed: {error}")),
        };
        check(&case.expected, answer.as_ref())?;
        answer.map_or(Ok(()), |answer| follow_up(&mut connection, &answer, case.ends))
    }

    fn is_unchanged(&mut self) -> Result<(), String> {
        let now = self.contents();
        let before = std::mem::replace(&mut self.kept, now);
        if before == self.kept { Ok(()) } else { Err("it changed what the store holds".to_owned()) }
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
        (Expected::Says(status, words), Some(answer)) => {
            answer.status == *status && answer.reason.contains(words)
        }
        (Expected::Closed | Expected::ClosedOr(_), None) => true,
        _ => false,
    };
    if is_right { Ok(()) } else { Err(format!("expected {expected:?}, got {answer:?}")) }
}

/// After an answer the connection is closed, or it goes on with the next request: never with a rest
/// of the wrong one.
fn follow_up(connection: &mut Connection, answer: &Response, is_cut: bool) -> Result<(), String> {
    if answer.header("connection") == Some("close") || is_cut {
        return match connection.rest() {
            Ok(rest) if rest.is_empty() => Ok(()),
            Ok(rest) => Err(format!("after its answer: {:?}", String::from_utf8_lossy(&rest))),
            Err(error) if is_closed(&error) => Ok(()),
            Err(error) => Err(format!("it stays open after its last answer: {error}")),
        };
    }
    match connection.get("/healthz") {
        Ok(next) if next.status == 200 && next.text().contains("alive") => Ok(()),
        next => Err(format!("the next request on the connection got {next:?}")),
    }
}

/// Runs a table, and fails with the names of the cases that fail.
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
fn wrong_heads_are_refused() {
    check_all(&heads::cases());
}

#[test]
fn wrong_lengths_and_cut_or_stalled_bodies_are_refused() {
    check_all(&framing::cases());
}

#[test]
fn wrong_calls_are_refused() {
    check_all(&calls::cases());
}

#[test]
fn other_protocols_are_turned_away() {
    check_all(&protocols::cases());
}

/// Requests like good ones, with some bytes of them changed.
#[test]
fn damaged_requests_leave_the_server_as_it_was() {
    let seed = settings::seed();
    let site = Site::new();
    let mut random = Random::new(seed);
    for round in 0..settings::rounds() * 100 {
        let bytes = protocols::damaged(&mut random);
        let mut connection = site.server.connect();
        let _refused_early = connection.send(&bytes);
        let _closed_already = connection.finish_sending();
        connection.set_patience(PATIENCE).expect("a socket takes a time");
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
    // None of them was a good write: they carry no namespace that is there.
    assert!(site.contents() == site.kept, "WAYPOST_TEST_SEED={seed}: the store has changed");
}

/// A proxy in front may have taken the one for true, and the rest for the next request.
#[test]
fn a_length_beside_chunks_is_refused_and_the_connection_is_closed() {
    let site = Site::new();
    let (length, chunks) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    for headers in [[length, chunks].concat(), [chunks, length].concat()] {
        let rest = "GET /b HTTP/1.1\r\nHost: x\r\n\r\n";
        let body = format!("3\r\nabc\r\n0\r\n\r\n{rest}");
        let mut connection = site.server.connect();
        connection.send(&request("PUT /a", &headers, body.as_bytes())).expect("it is sent");
        let answer = connection.answer_to("PUT").expect("it is answered");
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.text().contains("both Content-Length and"), "{answer:?}");
        follow_up(&mut connection, &answer, true).expect("nothing follows");
        assert!(site.contents() == site.kept, "the store has changed");
    }
}
