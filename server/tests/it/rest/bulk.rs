//! Bulk put, delete and get.

use serde_json::{Value, json};

use super::Client;
use crate::process::Server;

/// The names of all keys.
fn names(client: &mut Client, n: &str) -> Vec<String> {
    let keys = client.result("GET", &format!("{n}/keys"), "");
    let keys = keys.as_array().expect("keys").iter();
    keys.map(|key| key["name"].as_str().expect("a name").to_owned()).collect()
}

/// The result of a bulk write of `count` keys.
fn all(count: usize) -> Value {
    json!({"successful_key_count": count, "unsuccessful_keys": []})
}

#[test]
fn pairs_are_put_with_their_attributes_and_the_last_of_a_key_wins() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    let n = client.namespace("n");
    let large = "YWJj".repeat(100_000);
    let pairs = json!([
        {"key": "plain", "value": "AAEC"},
        {"key": "before", "base64": true, "value": "YWJj"},
        {"key": "after", "value": "YWJj", "base64": true},
        {"key": "large", "value": large, "base64": true},
        {"key": "large text", "value": large},
        {"key": "a/ü", "value": "x\n\u{1f600}", "metadata": {"a": [1]}, "expiration": 7_258_118_399_u64},
        {"key": "twice", "value": "1"},
        {"key": "twice", "value": "2", "expiration_ttl": 60.0},
    ]);
    assert_eq!(client.result("PUT", &format!("{n}/bulk"), pairs.to_string()), all(8));
    for (key, value) in [
        ("plain", "AAEC"),
        ("before", "abc"),
        ("after", "abc"),
        ("large", &"abc".repeat(100_000)),
        ("large%20text", &large),
        ("a%2F%C3%BC", "x\n\u{1f600}"),
        ("twice", "2"),
    ] {
        assert_eq!(client.send("GET", &format!("{n}/values/{key}"), "", b"").body, value, "{key}");
    }
    let keys = client.result("GET", &format!("{n}/keys?prefix=a/"), "");
    let expected =
        json!([{"name": "a/ü", "metadata": {"a": [1]}, "expiration": 7_258_118_399_u64}]);
    assert_eq!(keys, expected);
}

#[test]
fn pairs_that_are_not_valid_are_named_and_the_others_are_written() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    let n = client.namespace("n");
    let long = "k".repeat(600);
    let pairs = json!([
        {"key": "first", "value": "1"},
        {"key": long, "value": "1"},
        {"key": "..", "value": "1"},
        {"key": "soon", "value": "1", "expiration_ttl": 59},
        {"key": "coded", "value": "?", "base64": true},
        {"key": "described", "value": "1", "metadata": "m".repeat(1023)},
        {"key": "last", "value": "1"},
    ]);
    let (status, json) = client.call("PUT", &format!("{n}/bulk"), pairs.to_string());
    assert_eq!((status, &json["result"]["successful_key_count"]), (200, &json!(2)));
    let cut = format!("{}...", "k".repeat(512));
    let failed = json!([cut, "..", "soon", "coded", "described"]);
    assert_eq!(json["result"]["unsuccessful_keys"], failed);
    let codes: Vec<_> = json["messages"].as_array().expect("notes").iter().collect();
    let codes: Vec<_> = codes.iter().map(|note| note["code"].as_u64().expect("a code")).collect();
    assert_eq!(codes, [10030, 10042, 10034, 10012, 10047]);
    assert_eq!(names(&mut client, &n), ["first", "last"]);
    // If no pair is valid, the call fails.
    let pairs = json!([{"key": "soon", "value": "1", "expiration_ttl": 59}]).to_string();
    let (status, code, message) = client.error("PUT", &format!("{n}/bulk"), pairs);
    assert_eq!((status, code), (400, 10034));
    assert!(message.contains("'soon'") && message.contains("at least 60"), "{message}");
}

#[test]
fn a_body_that_is_malformed_fails_and_says_what_was_written_before() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    let n = client.namespace("n");
    let bulk = format!("{n}/bulk");
    for body in ["", "{}", "[1]", r#"[{"key":"a"}]"#, r#"[{"value":"a"}]"#, "[", "\"a\""] {
        let (status, code, _) = client.error("PUT", &bulk, body);
        assert_eq!((status, code), (400, 10012), "{body}");
    }
    assert!(names(&mut client, &n).is_empty());
    let (status, code, message) =
        client.error("PUT", &bulk, r#"[{"key":"a","value":"1"},{"key":"b","value":2}]"#);
    assert_eq!((status, code), (400, 10012));
    assert!(
        message.contains("after 1 items had succeeded") && message.contains("item 1"),
        "{message}"
    );
    assert_eq!(names(&mut client, &n), ["a"]);
    let many = format!("[{}]", vec![r#"{"key":"a","value":"1"}"#; 10_001].join(","));
    let (status, code, message) = client.error("PUT", &bulk, many);
    assert_eq!((status, code), (400, 10029));
    assert!(message.contains("10000"), "{message}");
    let head =
        format!("PUT /client/v4{bulk} HTTP/1.1\r\nHost: x\r\nContent-Length: 104857601\r\n\r\n");
    let refused = server.connect().request(head);
    assert!(refused.status == 413 && refused.body.contains("10024"), "{}", refused.body);
    let absent = format!("{}00112233445566778899aabbccddeeff/bulk", &n[..n.len() - 32]);
    assert_eq!(client.error("PUT", &absent, "[]").1, 10013);
}

#[test]
fn ten_thousand_pairs_are_put_listed_and_deleted_both_ways() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    let n = client.namespace("n");
    let keys: Vec<_> = (0..10_000).map(|at| format!("key {at:05}")).collect();
    let pairs: Vec<_> =
        keys.iter().map(|key| json!({"key": key, "value": "v".repeat(100)})).collect();
    let pairs = serde_json::to_string(&pairs).expect("JSON");
    assert_eq!(client.result("PUT", &format!("{n}/bulk"), pairs), all(10_000));
    assert_eq!(names(&mut client, &n), keys[..1000]);
    let [some, rest] = [&keys[..6000], &keys[5000..]].map(|keys| json!(keys).to_string());
    assert_eq!(client.result("POST", &format!("{n}/bulk/delete"), some), all(6000));
    assert_eq!(client.result("DELETE", &format!("{n}/bulk"), rest), all(5000));
    assert!(names(&mut client, &n).is_empty());
    let (status, json) = client.call("DELETE", &format!("{n}/bulk"), r#"["a","","b"]"#);
    assert_eq!((status, &json["result"]["unsuccessful_keys"]), (200, &json!([""])));
}

#[test]
fn a_bulk_get_returns_values_by_key() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    let n = client.namespace("n");
    let pairs = json!([
        {"key": "a", "value": "1", "metadata": {"m": 1}, "expiration": 7_258_118_399_u64},
        {"key": "b", "value": "[2]"},
        {"key": "t", "value": "text"},
    ]);
    client.result("PUT", &format!("{n}/bulk"), pairs.to_string());
    let get = format!("{n}/bulk/get");
    for (body, expected) in [
        (r#"{"keys":["a","x","t"]}"#, json!({"a": "1", "x": null, "t": "text"})),
        (r#"{"keys":["a","b"],"type":"json"}"#, json!({"a": 1, "b": [2]})),
        (
            r#"{"keys":["a","b","x"],"withMetadata":true}"#,
            json!({
                "a": {"value": "1", "metadata": {"m": 1}, "expiration": 7_258_118_399_u64},
                "b": {"value": "[2]", "metadata": null},
                "x": null,
            }),
        ),
    ] {
        assert_eq!(client.result("POST", &get, body), json!({ "values": expected }), "{body}");
    }
    let many = json!({"keys": vec!["k"; 101]}).to_string();
    for body in [r#"{"keys":[]}"#, &many, r#"{"keys":["t"],"type":"json"}"#, "[]"] {
        assert_eq!(client.error("POST", &get, body).0, 400, "{body}");
    }
}
