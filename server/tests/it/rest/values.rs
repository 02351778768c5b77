//! Values, metadata and lists of keys.

use serde_json::{Value, json};

use super::Client;
use crate::process::Server;

/// A form of these fields, each with its header lines and its bytes.
fn form(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut form = Vec::new();
    for (head, bytes) in fields {
        form.extend_from_slice(b"--xyz\r\nContent-Disposition: form-data; ");
        form.extend_from_slice(head.as_bytes());
        form.extend_from_slice(b"\r\n\r\n");
        form.extend_from_slice(bytes);
        form.extend_from_slice(b"\r\n");
    }
    form.extend_from_slice(b"--xyz--\r\n");
    form
}

/// The header of a form.
const FORM: &str = "Content-Type: multipart/form-data; boundary=xyz\r\n";

#[test]
fn a_value_is_put_read_and_deleted() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    let n = client.namespace("n");
    let large = "x".repeat(200_000);
    for (key, value) in [
        ("a", "one"),
        ("dir%2Fleaf", ""),
        ("dir/raw", "4"),
        ("100%25", "2"),
        ("a+b:c", "3"),
        ("%C3%BC", &large),
    ] {
        let path = format!("{n}/values/{key}");
        assert_eq!(client.result("PUT", &path, value), Value::Null);
        let response = client.send("GET", &path, "", b"");
        assert_eq!((response.status, &response.body[..]), (200, value), "{key}");
        assert_eq!(response.header("content-type"), Some("application/octet-stream"));
        assert_eq!(response.header("expiration"), None);
        assert_eq!(client.result("GET", &format!("{n}/metadata/{key}"), ""), Value::Null);
    }
    let names = client.result("GET", &format!("{n}/keys"), "");
    let names: Vec<_> = names.as_array().expect("keys").iter().map(|key| &key["name"]).collect();
    assert_eq!(names, ["100%", "a", "a+b:c", "dir/leaf", "dir/raw", "ü"]);
    for _ in 0..2 {
        assert_eq!(client.result("DELETE", &format!("{n}/values/a"), ""), Value::Null);
    }
    for path in ["values/a", "metadata/a"] {
        let (status, code, message) = client.error("GET", &format!("{n}/{path}"), "");
        assert_eq!((status, code), (404, 10009));
        assert!(message.ends_with(": 'key not found'"), "{message}");
    }
}

#[test]
fn bodies_that_are_not_forms_are_stored_as_they_are() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    let path = format!("{}/values/k", client.namespace("n"));
    let body = br#"{"value":"a","metadata":"{}"}"#;
    for kind in ["application/json", "application/x-www-form-urlencoded", "text/plain"] {
        let header = format!("Content-Type: {kind}\r\n");
        assert_eq!(client.send("PUT", &path, &header, body).status, 200);
        assert_eq!(client.send("GET", &path, "", b"").body.as_bytes(), body);
    }
}

#[test]
fn a_form_has_a_value_and_metadata_in_any_order() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    let n = client.namespace("n");
    let (path, metadata) = (format!("{n}/values/k"), format!("{n}/metadata/k"));
    let large = "v\r\n--xy".repeat(30_000);
    let typed = "name=\"metadata\"\r\nContent-Type: application/json";
    let file = "name=\"value\"; filename=\"upload\"\r\nContent-Type: application/octet-stream";
    for (fields, value, expected) in [
        (vec![("name=\"value\"", &b"a"[..])], "a", Value::Null),
        (vec![(file, large.as_bytes()), (typed, b"{\"a\": [1]}")], &large, json!({"a": [1]})),
        (vec![("name=\"metadata\"", b"\"m\""), ("name=\"value\"", b"")], "", json!("m")),
        (vec![("name=\"metadata\"", b"null"), (file, b"b")], "b", Value::Null),
        // The npm SDK makes this of an object.
        (vec![("name=\"value\"", b"c"), ("name=\"metadata[a][]\"", b"1")], "c", Value::Null),
    ] {
        let response = client.send("PUT", &path, FORM, &form(&fields));
        assert_eq!(response.status, 200, "{}", response.body);
        assert_eq!(client.send("GET", &path, "", b"").body, value);
        assert_eq!(client.result("GET", &metadata, ""), expected);
    }
}

#[test]
fn a_form_that_is_not_valid_stores_nothing() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    let path = format!("{}/values/k", client.namespace("n"));
    let value = ("name=\"value\"", &b"a"[..]);
    let long = "x".repeat(1023);
    let long = format!("\"{long}\"");
    let head = format!("name=\"{}\"", "x".repeat(40_000));
    for (body, status, code) in [
        (form(&[]), 400, 10012),
        (form(&[("name=\"metadata\"", b"{}")]), 400, 10012),
        (form(&[value, value]), 400, 10012),
        (form(&[value])[..40].to_vec(), 400, 10012),
        (b"no form".to_vec(), 400, 10012),
        (form(&[value, ("name=\"metadata\"", b"")]), 400, 10047),
        (form(&[value, ("name=\"metadata\"", b"{a:1}")]), 400, 10047),
        (form(&[value, ("name=\"metadata\"", long.as_bytes())]), 413, 10047),
        (form(&[(&head, b""), value]), 400, 10012),
    ] {
        let response = client.send("PUT", &path, FORM, &body);
        let json: Value = serde_json::from_str(&response.body).expect("an envelope");
        assert_eq!((response.status, &json["errors"][0]["code"]), (status, &json!(code)), "{json}");
    }
    let header = "Content-Type: multipart/form-data\r\n";
    assert_eq!(client.send("PUT", &path, header, &form(&[value])).status, 400);
    assert_eq!(client.error("GET", &path, "").1, 10009);
}

#[test]
fn a_value_expires_by_the_rules_of_workers_kv() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    let n = client.namespace("n");
    let path = format!("{n}/values/k");
    client.result("PUT", &format!("{path}?expiration=7258118399"), "v");
    assert_eq!(client.send("GET", &path, "", b"").header("expiration"), Some("7258118399"));
    let keys = client.result("GET", &format!("{n}/keys"), "");
    assert_eq!(keys, json!([{"name": "k", "expiration": 7_258_118_399_u64}]));
    // A time to live wins, and the PyPI SDK sends it as a float.
    client.result("PUT", &format!("{path}?expiration=1&expiration_ttl=120.0"), "v");
    assert_ne!(client.send("GET", &path, "", b"").header("expiration"), Some("7258118399"));
    client.result("PUT", &path, "v");
    assert_eq!(client.send("GET", &path, "", b"").header("expiration"), None);
    for (query, code, text) in [
        (
            "expiration_ttl=30",
            10034,
            "Invalid expiration_ttl of 30. Expiration TTL must be at least 60.",
        ),
        ("expiration_ttl=61.5", 10034, "61.5"),
        ("expiration=1", 10033, "Invalid expiration of 1."),
        ("expiration=soon", 10033, "soon"),
    ] {
        let (status, found, message) = client.error("PUT", &format!("{path}?{query}"), "w");
        assert_eq!((status, found), (400, code), "{query}");
        assert!(message.contains(text), "{message}");
    }
}

#[test]
fn a_key_or_namespace_that_is_not_valid_is_a_failure_with_a_number() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    let n = client.namespace("n");
    let absent = n.replace(&n[n.len() - 32..], "00112233445566778899aabbccddeeff");
    for (path, status, code) in [
        (format!("{n}/values/"), 400, 10042),
        (format!("{n}/values/%2E"), 400, 10042),
        (format!("{n}/values/.%2e"), 400, 10042),
        (format!("{n}/values/{}", "x".repeat(513)), 414, 10030),
        (format!("{n}/values/%FF"), 400, 10029),
        (format!("{absent}/values/a"), 404, 10013),
        ("/accounts/local/storage/kv/namespaces/n/values/a".into(), 400, 10011),
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            let (found, number, message) = client.error(method, &path, "");
            assert_eq!((found, number), (status, code), "{method} {path}: {message}");
        }
    }
    assert_eq!(client.error("GET", &format!("{absent}/keys"), "").1, 10013);
}

#[test]
fn keys_are_listed_in_pages_with_both_cursors() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    let n = client.namespace("n");
    for at in 10..35 {
        let body = form(&[("name=\"value\"", b""), ("name=\"metadata\"", b"{\"m\": 1}")]);
        let response = client.send("PUT", &format!("{n}/values/p{at}"), FORM, &body);
        assert_eq!(response.status, 200);
    }
    client.result("PUT", &format!("{n}/values/z"), "");
    let (mut names, mut cursor, mut pages) = (vec![], String::new(), 0);
    loop {
        let path = format!("{n}/keys?prefix=p&limit=10&cursor={cursor}");
        let (_, page) = client.call("GET", &path, "");
        let keys = page["result"].as_array().expect("keys");
        assert_eq!(page["result_info"]["count"], keys.len());
        assert_eq!(page["result_info"]["cursors"]["after"], page["result_info"]["cursor"]);
        assert!(keys.iter().all(|key| key["metadata"] == json!({"m": 1})));
        names.extend(keys.iter().map(|key| key["name"].as_str().expect("a name").to_owned()));
        pages += 1;
        cursor = page["result_info"]["cursor"].as_str().expect("a cursor").to_owned();
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!((pages, names.len()), (3, 25));
    assert!(names.is_sorted());
    let (_, all) = client.call("GET", &format!("{n}/keys?prefix="), "");
    assert_eq!(all["result_info"]["count"], 26);
    for (query, status, code) in [
        ("limit=9", 400, 10028),
        ("limit=1001", 400, 10028),
        ("limit=x", 400, 10028),
        ("cursor=!", 400, 10041),
        (&format!("prefix={}", "x".repeat(513)), 414, 10030),
    ] {
        let (found, number, _) = client.error("GET", &format!("{n}/keys?{query}"), "");
        assert_eq!((found, number), (status, code), "{query}");
    }
}
