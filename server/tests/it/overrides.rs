//! Overrides of limits, `/v1/limits`, and their effect on `/ratelimit`.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    cluster::{eventually, first_location, join},
    process::Server,
};

/// A server with two limits that share a namespace.
fn server() -> Server {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("waypost.toml");
    let toml = "[limits.login]\nlimit = 2\nperiod = \"700d\"\nnamespace = \"users\"\n\
                [limits.pages]\nlimit = 3\nperiod = \"600d\"\nnamespace = \"users\"\n";
    fs::write(&file, toml).expect("a file");
    let file = file.to_str().expect("UTF-8").to_owned();
    Server::start_in(directory, "127.0.0.1:0", &["--config", &file])
}

fn restart(directory: TempDir) -> Server {
    let file = directory.path().join("waypost.toml").to_str().expect("UTF-8").to_owned();
    Server::start_in(directory, "127.0.0.1:0", &["--config", &file])
}

fn call(server: &Server, method: &str, target: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    let response = server.connect().request(format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    (response.status, serde_json::from_str(&response.body).unwrap_or_default())
}

fn set(server: &Server, target: &str, body: &Value) -> Value {
    let (status, answer) = call(server, "PUT", &format!("/v1/limits/{target}"), &body.to_string());
    assert_eq!(status, 200, "{target}: {answer}");
    answer
}

fn check(server: &Server, body: &Value) -> Value {
    let (status, answer) = call(server, "POST", "/ratelimit", &body.to_string());
    assert_eq!(status, 200, "{body}: {answer}");
    answer
}

/// How many of ten checks are allowed.
fn allowed(server: &Server, body: &Value) -> usize {
    (0..10).filter(|_| check(server, body)["success"] == true).count()
}

#[test]
fn an_override_applies_at_once_and_its_deletion_too() {
    let server = server();
    let login = json!({"name": "login", "key": "ip:1"});
    assert_eq!(allowed(&server, &login), 2);
    let answer = set(&server, "login/overrides/ip:1", &json!({"limit": 5}));
    let expected = json!({"name": "login", "key": "ip:1", "limit": 5, "path": "/v1/limits/login/overrides/ip%3A1"});
    assert_eq!(answer, expected);
    assert_eq!(allowed(&server, &login), 3);
    assert_eq!(allowed(&server, &json!({"name": "pages", "key": "ip:1"})), 3);
    assert_eq!(call(&server, "GET", "/v1/limits/login/overrides/ip%3A1", ""), (200, expected));
    assert_eq!(call(&server, "DELETE", "/v1/limits/login/overrides/ip:1", "").0, 200);
    assert_eq!(allowed(&server, &login), 0);
    let (status, answer) = call(&server, "DELETE", "/v1/limits/login/overrides/ip:1", "");
    assert_eq!(status, 404);
    assert_eq!(answer["error"], "\"login\" has no override for the key \"ip:1\"");
}

#[test]
fn a_denied_key_learns_when_its_override_ends_and_an_unlimited_one_is_not_counted() {
    let server = server();
    let denied = json!({"name": "login", "key": "a"});
    set(&server, "login/overrides/a", &json!({"deny": true, "expires_in": "1h"}));
    let answer = check(&server, &denied);
    assert_eq!((&answer["success"], &answer["limit"]), (&json!(false), &json!(0)));
    let seconds = answer["retry_after"].as_u64().expect("a number");
    assert!((3590..=3601).contains(&seconds), "{answer}");
    let peek = json!({"name": "login", "key": "a", "peek": true, "cost": 0});
    assert_eq!(check(&server, &peek)["success"], false);
    let batch = json!({"checks": [denied, {"name": "login", "key": "b"}], "all": true});
    assert_eq!(check(&server, &batch)["success"], false);
    assert_eq!(allowed(&server, &json!({"name": "login", "key": "b"})), 2, "the batch counted");
    set(&server, "login/overrides/c", &json!({"unlimited": true}));
    let free = json!({"name": "login", "key": "c"});
    assert_eq!(allowed(&server, &json!({"checks": [free, free, free], "all": true})), 10);
    let headers = server
        .connect()
        .request("GET /ratelimit?name=login&key=c&headers=true HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((headers.status, headers.header("ratelimit")), (200, None));
    call(&server, "DELETE", "/v1/limits/login/overrides/c", "");
    assert_eq!(allowed(&server, &free), 2);
}

#[test]
fn callers_that_send_their_own_limits_have_the_overrides_of_their_namespace() {
    let server = server();
    let own = |key: &str| json!({"namespace": "1001", "key": key, "limit": 4, "period": 60});
    set(&server, "namespace:1001/overrides/a", &json!({"deny": true}));
    assert_eq!((allowed(&server, &own("a")), allowed(&server, &own("b"))), (0, 4));
    set(&server, "users/overrides/a", &json!({"deny": true}));
    let login = json!({"name": "login", "key": "a"});
    assert_eq!(allowed(&server, &login), 0, "its counters are in the namespace");
    set(&server, "login/overrides/a", &json!({"limit": 1}));
    assert_eq!(allowed(&server, &login), 1, "an override of the limit wins");
    let (_, all) = call(&server, "GET", "/v1/limits", "");
    let named = |name: &str| {
        let all = all["limits"].as_array().expect("a list");
        all.iter().find(|limit| limit["name"] == name).cloned().unwrap_or_default()
    };
    assert_eq!(named("login")["overrides"], 1);
    assert_eq!(named("login")["limit"], 2);
    assert_eq!(
        (&named("pages")["overrides"], &named("users")["overrides"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(named("namespace:1001")["overrides"], 1);
}

#[test]
fn a_wrong_request_is_refused_with_the_reason() {
    let server = server();
    for (method, target, body, status, says) in [
        (
            "PUT",
            "logn/overrides/a",
            r#"{"deny":true}"#,
            404,
            "no limit has the name \"logn\": the configuration has login, pages, users",
        ),
        ("GET", "logn/overrides", "", 404, "namespace:NAMESPACE"),
        ("PUT", "login/overrides/a", "{", 400, "the body must be JSON like"),
        ("PUT", "login/overrides/a", r#"{"limit":"x"}"#, 400, "`limit`"),
        ("PUT", "login/overrides/a", r#"{"limit":3000000}"#, 400, "counts up to 2097151"),
        ("POST", "login/overrides/a", "{}", 405, "use GET, PUT, DELETE"),
        ("PUT", "login/overrides", "{}", 405, "use GET"),
        ("GET", "login", "", 404, "/v1/limits/NAME/overrides/KEY"),
        ("GET", "login/overrides?limit=5", "", 400, "after=KEY"),
    ] {
        let (got, answer) = call(&server, method, &format!("/v1/limits/{target}"), body);
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(got == status && error.contains(says), "{method} {target}: {got} {answer}");
    }
    let key = "x".repeat(3100);
    let target = format!("/v1/limits/login/overrides/{key}");
    let (status, answer) = call(&server, "PUT", &target, r#"{"deny":true}"#);
    assert_eq!(status, 400, "{answer}");
    assert!(answer["error"].as_str().is_some_and(|error| error.contains("at most 3072 bytes")));
}

#[test]
fn overrides_are_listed_in_pages() {
    let server = server();
    for n in 0..1100 {
        let target = format!("/v1/limits/login/overrides/ip:{n:04}%2F");
        assert_eq!(call(&server, "PUT", &target, r#"{"limit":9}"#).0, 200);
    }
    let (mut next, mut keys) = (Some("/v1/limits/login/overrides".to_owned()), Vec::new());
    while let Some(path) = next {
        let (status, page) = call(&server, "GET", &path, "");
        assert_eq!(status, 200, "{page}");
        let page_keys = page["overrides"].as_array().expect("a list").iter();
        keys.extend(page_keys.map(|one| one["key"].as_str().expect("a text").to_owned()));
        next = page["next"].as_str().map(str::to_owned);
    }
    let expected: Vec<_> = (0..1100).map(|n| format!("ip:{n:04}/")).collect();
    assert_eq!(keys, expected);
}

#[test]
fn overrides_survive_a_restart_and_a_crash() {
    let server = server();
    set(&server, "login/overrides/a", &json!({"deny": true}));
    let server = restart(server.stop());
    assert_eq!(allowed(&server, &json!({"name": "login", "key": "a"})), 0);
    set(&server, "login/overrides/b", &json!({"limit": 7}));
    let mut server = server;
    server.signal(Signal::KILL);
    assert!(!server.wait().success());
    let server = restart(server.into_directory());
    assert_eq!(allowed(&server, &json!({"name": "login", "key": "a"})), 0);
    assert_eq!(allowed(&server, &json!({"name": "login", "key": "b"})), 7);
}

#[test]
fn an_override_applies_at_all_locations() {
    let first = first_location();
    let second = join(&first, "ams");
    let own = json!({"namespace": "n", "key": "k", "limit": 4, "period": 60});
    set(&first, "namespace:n/overrides/k", &json!({"deny": true}));
    eventually("the override applies at the other location", || check(&second, &own)["limit"] == 0);
    set(&second, "namespace:n/overrides/k", &json!({"limit": 6}));
    eventually("its change applies at the first", || check(&first, &own)["limit"] == 6);
    assert_eq!(call(&second, "DELETE", "/v1/limits/namespace%3An/overrides/k", "").0, 200);
    eventually("its deletion applies too", || check(&first, &own)["limit"] == 4);
}
