//! The rate-limit API, `/ratelimit`, over HTTP.

mod configured;
mod restart;
mod wrong;

use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    http::{Peer, Response},
    process::Server,
};

/// A period in which no window ends during a test.
const PERIOD: &str = "700d";

/// A request with a body.
fn request(method: &str, target: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn post(server: &Server, target: &str, body: &Value) -> Response {
    server.connect().request(request("POST", target, &body.to_string()))
}

fn get(server: &Server, query: &str) -> Response {
    server.connect().request(format!("GET /ratelimit?{query} HTTP/1.1\r\nHost: x\r\n\r\n"))
}

/// The response to a check or a batch, which must be 200.
fn send(server: &Server, body: &Value) -> Value {
    let response = post(server, "/ratelimit", body);
    assert_eq!(response.status, 200, "{body}: {response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"));
    read(&response)
}

fn read(response: &Response) -> Value {
    serde_json::from_str(&response.body).expect("the response is JSON")
}

/// A check with a cost of 1 against this limit.
fn check(key: &str, limit: u32) -> Value {
    json!({"namespace": "n", "key": key, "limit": limit, "period": PERIOD})
}

/// The check with more fields.
fn with(mut check: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("{more} is not an object") };
    check.as_object_mut().expect("a check is an object").extend(more);
    check
}

fn succeeds(server: &Server, body: &Value) -> bool {
    send(server, body)["success"].as_bool().expect("success is true or false")
}

fn remaining(server: &Server, body: &Value) -> u64 {
    send(server, body)["remaining"].as_u64().expect("remaining is a number")
}

#[test]
fn a_counter_allows_as_many_requests_as_its_limit() {
    let server = Server::start(&[]);
    for algorithm in ["sliding", "fixed", "gcra"] {
        let check = with(check("a", 3), json!({"algorithm": algorithm}));
        for left in [2, 1, 0] {
            let answer = send(&server, &check);
            assert_eq!(answer["success"], true, "{algorithm}: {answer}");
            assert_eq!((&answer["limit"], &answer["remaining"]), (&json!(3), &json!(left)));
            let period = 700 * 24 * 60 * 60;
            let reset = answer["reset"].as_u64();
            assert!(reset.is_some_and(|seconds| (1..=period).contains(&seconds)), "{answer}");
            assert_eq!(answer.get("retry_after"), None);
        }
        for _ in 0..2 {
            let answer = send(&server, &check);
            assert_eq!(answer["success"], false, "{algorithm}: {answer}");
            assert_eq!(answer["remaining"], 0);
            let (retry, reset) = (answer["retry_after"].as_u64(), answer["reset"].as_u64());
            assert!(retry > Some(0) && retry <= reset, "{algorithm}: {answer}");
        }
    }
}

#[test]
fn checks_with_the_same_name_share_a_counter_and_others_do_not() {
    let server = Server::start(&[]);
    let one = check("a", 1);
    assert!(succeeds(&server, &one));
    assert!(!succeeds(&server, &one));
    // The limit is a threshold for the counter, and not part of its name.
    assert_eq!(remaining(&server, &check("a", 5)), 3);
    for other in [
        json!({"namespace": "m"}),
        json!({"key": "b"}),
        json!({"key": ""}),
        json!({"period": "701d"}),
        json!({"algorithm": "fixed"}),
        json!({"namespace": "na", "key": ""}),
    ] {
        assert!(succeeds(&server, &with(one.clone(), other.clone())), "{other}");
    }
    // A missing key is the empty key.
    assert!(!succeeds(&server, &json!({"namespace": "n", "limit": 1, "period": PERIOD})));
    // A period in seconds and the same period as text are equal.
    let seconds = 700 * 24 * 60 * 60;
    assert!(!succeeds(&server, &with(one, json!({"period": seconds}))));
}

#[test]
fn any_text_is_a_key() {
    let server = Server::start(&[]);
    let long = format!("\"{}\"", "k".repeat(4096));
    for key in [r#""\u0000""#, r#""\ud83d""#, r#""\ud83d\ude00""#, r#""/?&=%2F""#, &long] {
        let body = format!(r#"{{"namespace":"n","key":{key},"limit":1,"period":"{PERIOD}"}}"#);
        let answers = [(); 2].map(|()| {
            let response = server.connect().request(request("POST", "/ratelimit", &body));
            assert_eq!(response.status, 200, "{response:?}");
            read(&response)["success"] == true
        });
        assert_eq!(answers, [true, false], "{key}");
    }
}

#[test]
fn a_check_has_a_cost_and_a_counter_can_be_peeked_refunded_and_reset() {
    let server = Server::start(&[]);
    let check_with = |more: Value| with(check("a", 10), more);
    assert_eq!(remaining(&server, &check_with(json!({"cost": 7}))), 3);
    assert!(!succeeds(&server, &check_with(json!({"cost": 4}))));
    assert!(succeeds(&server, &check_with(json!({"cost": 3, "peek": true}))));
    assert!(!succeeds(&server, &check_with(json!({"cost": 4, "peek": true}))));
    assert_eq!(remaining(&server, &check_with(json!({"peek": true}))), 3);
    let refunded = send(&server, &check_with(json!({"cost": -5})));
    assert_eq!((&refunded["success"], &refunded["remaining"]), (&json!(true), &json!(8)));
    assert_eq!(remaining(&server, &check_with(json!({"cost": -100}))), 10);
    assert_eq!(remaining(&server, &check_with(json!({"cost": 10}))), 0);
    let reset = send(&server, &check_with(json!({"reset": true})));
    assert_eq!(reset, json!({"success": true, "limit": 10, "remaining": 10, "reset": 0}));
    // A request that can never pass has no time after which it would.
    let never = send(&server, &check_with(json!({"cost": 11})));
    assert_eq!(never, json!({"success": false, "limit": 10, "remaining": 10, "reset": 0}));
    assert!(!succeeds(&server, &check("b", 0)), "a limit of 0 denies every request");
}

#[test]
fn a_batch_is_checked_individually_or_atomically() {
    let server = Server::start(&[]);
    let batch =
        |all: Value| json!({"checks": [check("a", 3), check("b", 1), check("a", 3)], "all": all});
    let first = send(&server, &batch(json!(true)));
    assert_eq!(first["success"], true);
    let left: Vec<_> =
        first["results"].as_array().unwrap().iter().map(|one| one["remaining"].clone()).collect();
    assert_eq!(left, [2, 0, 1]);
    let none = send(&server, &batch(json!(true)));
    assert_eq!(none["success"], false);
    assert_eq!(none["results"][1]["success"], false);
    assert_eq!(remaining(&server, &with(check("a", 3), json!({"peek": true}))), 1);
    let each = send(&server, &batch(json!(false)));
    assert_eq!(each["success"], false);
    let passed: Vec<_> =
        each["results"].as_array().unwrap().iter().map(|one| one["success"].clone()).collect();
    assert_eq!(passed, [true, false, false]);
    assert_eq!(send(&server, &json!({"checks": []})), json!({"success": true, "results": []}));
}

#[test]
fn a_denied_batch_reports_its_counters_without_its_own_cost() {
    let server = Server::start(&[]);
    let of = |cost: u32| with(check("a", 3), json!({"cost": cost}));
    let batch = json!({"checks": [of(1), of(3), of(1)], "all": true});
    let none = post(&server, "/ratelimit?headers=true", &batch);
    let stands = json!({"success": false, "limit": 3, "remaining": 3, "reset": 0});
    let first = with(stands.clone(), json!({"success": true}));
    let results = json!([first, stands, stands]);
    assert_eq!(read(&none), json!({"success": false, "results": results}));
    assert_eq!(none.header("retry-after"), None, "a batch that can never pass");
}

#[test]
fn a_denial_has_the_requested_status() {
    let server = Server::start(&[]);
    let query = |more: &str| format!("namespace=n&key=a&limit=1&period={PERIOD}{more}");
    let first = get(&server, &query("&status=429"));
    assert_eq!((first.status, first.header("retry-after")), (200, None));
    assert_eq!(first.header("cache-control"), Some("no-store"));
    for status in [429, 403, 503, 200] {
        let denied = get(&server, &query(&format!("&status={status}")));
        assert_eq!(denied.status, status);
        let answer = read(&denied);
        assert_eq!(answer["success"], false);
        let retry = denied.header("retry-after").map(|text| text.parse::<u64>().unwrap());
        assert_eq!(retry, answer["retry_after"].as_u64().filter(|_| status != 200), "{status}");
        let posted = post(&server, &format!("/ratelimit?status={status}"), &check("a", 1));
        assert_eq!(posted.status, status);
    }
    let batch = json!({"checks": [check("a", 1), check("b", 1)]});
    assert_eq!(post(&server, "/ratelimit?status=429", &batch).status, 429);
    let head = "HEAD /ratelimit?namespace=n&limit=0&period=1&status=429 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut peer = server.connect();
    peer.send(head);
    let rest = peer.rest();
    assert!(rest.starts_with("HTTP/1.1 429 ") && rest.ends_with("\r\n\r\n"), "{rest}");
}

#[test]
fn the_rate_limit_headers_are_sent_on_request() {
    let server = Server::start(&[]);
    let one = check("a", 2);
    let none = post(&server, "/ratelimit", &one);
    assert_eq!((none.header("ratelimit"), none.header("ratelimit-policy")), (None, None));
    let some = post(&server, "/ratelimit?headers=true", &one);
    let window = 700 * 24 * 60 * 60;
    assert_eq!(some.header("ratelimit-policy"), Some(&*format!("\"default\";q=2;w={window}")));
    let reset = read(&some)["reset"].clone();
    assert_eq!(some.header("ratelimit"), Some(&*format!("\"default\";r=0;t={reset}")));
    assert_eq!(some.header("retry-after"), None);
    let denied = post(&server, "/ratelimit?headers=true", &one);
    assert_eq!(denied.status, 200);
    let retry = read(&denied)["retry_after"].to_string();
    assert_eq!(denied.header("retry-after"), Some(&*retry));
    let batch = json!({"checks": [check("c", 2), check("d", 5)]});
    let fields = post(&server, "/ratelimit?headers=true", &batch);
    let states = fields.header("ratelimit").unwrap();
    assert!(
        states.starts_with("\"default\";r=1;t=") && states.contains(", \"default-2\";r=4;t="),
        "{states}"
    );
    let policies = format!("\"default\";q=2;w={window}, \"default-2\";q=5;w={window}");
    assert_eq!(fields.header("ratelimit-policy"), Some(&*policies));
}

#[test]
fn exactly_the_limit_of_concurrent_checks_pass() {
    let server = Server::start(&[]);
    for algorithm in ["sliding", "fixed", "gcra"] {
        let body = with(check("hot", 100), json!({"algorithm": algorithm})).to_string();
        let passed: usize = thread::scope(|scope| {
            let check = request("POST", "/ratelimit", &body);
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    let (mut peer, check) = (server.connect(), check.clone());
                    scope.spawn(move || {
                        (0..50).filter(|_| read(&peer.request(&check))["success"] == true).count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 100, "{algorithm}");
    }
}

#[test]
fn a_body_may_arrive_in_pieces() {
    let server = Server::start(&[]);
    let body = check("a", 1).to_string();
    let (start, end) = body.split_at(20);
    let mut peer = server.connect();
    peer.send("POST /ratelimit HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in [start, end] {
        peer.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
    }
    let response = peer.request("0\r\n\r\n");
    assert_eq!(read(&response)["success"], true, "{response:?}");
    assert_eq!(read(&peer.request(request("POST", "/ratelimit", &body)))["success"], false);
}

#[test]
fn the_metrics_count_checks_and_show_keys_only_if_configured() {
    let metrics =
        |server: &Server| server.connect().request("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").body;
    for (args, is_wanted) in [(&[][..], false), (&["--top-denied-keys", "2"], true)] {
        let server = Server::start(args);
        for (key, count) in [("a\"\n", 4), ("b", 2), ("c", 3), ("d", 1)] {
            for _ in 0..count {
                send(&server, &check(key, 1));
            }
        }
        send(&server, &with(check("e", 1), json!({"peek": true})));
        let text = metrics(&server);
        for line in [
            r#"waypost_ratelimit_checks_total{limit=""} 10"#,
            r#"waypost_ratelimit_denials_total{limit=""} 6"#,
            r#"waypost_ratelimit_shadow_denials_total{limit=""} 0"#,
            "waypost_limiter_evictions_total 0",
            r#"waypost_requests_total{api="ratelimit",method="POST",status="2xx"} 11"#,
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in:\n{text}");
        }
        let denied: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("waypost_ratelimit_denied_keys{"))
            .collect();
        let expected = [
            r#"waypost_ratelimit_denied_keys{key="a\"\n",namespace="n"} 3"#,
            r#"waypost_ratelimit_denied_keys{key="c",namespace="n"} 2"#,
        ];
        assert_eq!(denied, if is_wanted { &expected[..] } else { &[] });
        let fill: u64 = server.metric("waypost_limiter_counters ").unwrap().parse().unwrap();
        let capacity: u64 = server.metric("waypost_limiter_capacity ").unwrap().parse().unwrap();
        assert!(fill <= capacity && capacity >= 1 << 20, "{fill} of {capacity}");
    }
}

/// A connection that has sent all but the end of a check.
fn half_a_check(server: &Server) -> Peer<std::net::TcpStream> {
    let mut peer = server.connect();
    peer.send("POST /ratelimit HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{");
    peer
}

#[test]
fn an_incomplete_body_counts_nothing() {
    let server = Server::start(&["--body-timeout", "200ms"]);
    let mut peer = half_a_check(&server);
    assert!(peer.rest().starts_with("HTTP/1.1 408 "));
    let mut peer = half_a_check(&server);
    peer.finish_sending();
    peer.rest();
    drop(half_a_check(&server));
    server.signal(Signal::TERM);
}
