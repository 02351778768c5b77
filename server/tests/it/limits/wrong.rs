//! Invalid requests: the server explains each error, and counts nothing.

use serde_json::json;

use super::{check, get, read, request, send};
use crate::process::Server;

#[test]
fn invalid_checks_get_an_explanation() {
    let server = Server::start(&[]);
    let long = format!(r#"{{"namespace":"n","key":"{}","limit":1,"period":60}}"#, "k".repeat(4097));
    let mut peer = server.connect();
    for (body, expected) in [
        ("", "the body is empty"),
        ("{", "EOF"),
        ("\u{0}", "expected value"),
        ("[]", "expected an object"),
        ("{}", "`limit` is missing: send namespace, key, limit and period, or the name"),
        (r#"{"limit":1,"period":60}"#, "`namespace` is missing"),
        (r#"{"namespace":"n","limit":1}"#, "`period` is missing"),
        (r#"{"namespace":"n","limit":1,"period":60,"kye":"a"}"#, "unknown field `kye`"),
        (
            r#"{"namespace":1,"limit":1,"period":60}"#,
            "`namespace`: invalid type: integer `1`, expected a string",
        ),
        (
            r#"{"namespace":"n","limit":"1","period":60}"#,
            "`limit`: invalid type: string \"1\", expected a whole number",
        ),
        (r#"{"namespace":"n","limit":-1,"period":60}"#, "`limit`: -1 is out of range"),
        (r#"{"namespace":"n","limit":4294967295,"period":60}"#, "use that"),
        (r#"{"namespace":"n","limit":1,"period":0}"#, "a period is a whole number"),
        (r#"{"namespace":"n","limit":1,"period":"9999d"}"#, "a period is a whole number"),
        (r#"{"namespace":"n","limit":1,"period":0.0001}"#, "`period` can't be 0.0001"),
        (
            r#"{"namespace":"n","limit":1,"period":60,"algorithm":"x"}"#,
            "one of sliding, fixed, gcra",
        ),
        (
            r#"{"namespace":"n","limit":1,"period":60,"burst":2}"#,
            "only the algorithm \"gcra\" has a burst",
        ),
        (r#"{"namespace":"n","limit":1,"period":60,"algorithm":"gcra","burst":0}"#, "burst of 0"),
        (r#"{"namespace":"n","limit":1,"period":60,"cost":4294967296}"#, "`cost` is 4294967296"),
        (r#"{"namespace":"n","limit":1,"period":60,"cost":-1,"peek":true}"#, "a peek has no"),
        (r#"{"namespace":"n","limit":1,"period":60,"cost":1,"reset":true}"#, "a reset has no"),
        (r#"{"namespace":"n","limit":1,"period":60,"peek":true,"reset":true}"#, "can't both"),
        (r#"{"name":"login"}"#, "no limit has the name \"login\": add [limits.login]"),
        (r#"{"checks":[{"namespace":"n"}]}"#, "check 1 of the batch: `limit` is missing"),
        (r#"{"checks":[],"key":"a"}"#, "with `checks`"),
        (
            r#"{"checks":[{"namespace":"n","limit":1,"period":60,"peek":true}],"all":true}"#,
            "every check counts: no peek",
        ),
        (&long, "`key`: it has 4097 bytes, and the maximum is 4096"),
    ] {
        let response = peer.request(request("POST", "/ratelimit", body));
        assert_eq!(response.status, 400, "{body}: {response:?}");
        let answer = read(&response);
        let error = answer["error"].as_str().expect("an error is a string");
        assert!(error.contains(expected), "{body}: {expected:?} is not in {error:?}");
        assert_eq!(answer.as_object().unwrap().len(), 1);
    }
    assert_eq!(server.metric("waypost_ratelimit_checks_total{limit=\"\"} ").unwrap(), "0");
}

#[test]
fn a_batch_with_an_invalid_check_counts_nothing() {
    let server = Server::start(&[]);
    let batch = json!({"checks": [check("a", 1), {"name": "unknown"}]}).to_string();
    let response = server.connect().request(request("POST", "/ratelimit", &batch));
    assert_eq!(response.status, 400);
    assert!(response.body.contains("check 2 of the batch"), "{}", response.body);
    assert_eq!(send(&server, &check("a", 1))["success"], true);
}

#[test]
fn invalid_queries_get_an_explanation() {
    let server = Server::start(&[]);
    for (query, expected) in [
        ("", "`limit` is missing"),
        ("kye=a", "unknown field"),
        ("namespace=n&limit=x&period=60", "`limit` is"),
        ("namespace=n&limit=1&period=60&status=302", "use 200, 403, 429 or 503"),
        ("checks=[]", "body of a POST"),
    ] {
        let response = get(&server, query);
        assert_eq!(response.status, 400, "{query}");
        assert!(read(&response)["error"].as_str().unwrap().contains(expected), "{response:?}");
    }
    let body = check("a", 1).to_string();
    let misplaced = server.connect().request(request("POST", "/ratelimit?key=a", &body));
    assert_eq!(misplaced.status, 400);
    assert!(misplaced.body.contains(r#"\"key\" goes in the body of a POST"#), "{misplaced:?}");
}

#[test]
fn a_too_long_body_gets_an_error_and_the_connection_stays_usable() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    for length in [(64 << 10) + 1, 500_000] {
        let response = peer.request(request("POST", "/ratelimit", &" ".repeat(length)));
        assert_eq!(response.status, 413, "{length}");
        assert!(read(&response)["error"].as_str().unwrap().contains("65536 bytes"));
    }
    let spaced = format!("{}{}", " ".repeat(60 << 10), check("a", 1));
    assert_eq!(peer.request(request("POST", "/ratelimit", &spaced)).status, 200);
}

#[test]
fn other_methods_other_paths_and_web_pages_are_rejected() {
    let server = Server::start(&["--namespaces", "kv"]);
    let mut peer = server.connect();
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let response = peer.request(request(method, "/ratelimit", "{}"));
        assert_eq!(response.status, 405, "{method}");
        assert_eq!(response.header("allow"), Some("GET, HEAD, POST"));
    }
    assert_eq!(peer.request(request("POST", "/ratelimit/", "{}")).status, 404);
    let page = "GET /ratelimit?namespace=n&limit=1&period=60 HTTP/1.1\r\nHost: x\r\nOrigin: http://y\r\n\r\n";
    assert_eq!(peer.request(page).status, 403);
    // With the header of a namespace the path is a key.
    let put =
        "PUT /ratelimit HTTP/1.1\r\nHost: x\r\nWaypost-Namespace: kv\r\nContent-Length: 1\r\n\r\nv";
    assert_eq!(peer.request(put).status, 200);
    let key = "GET /binding/kv/ratelimit HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(peer.request(key).body, "v");
}
