//! Namespaces: their calls, pages and failures.

use serde_json::{Value, json};

use super::{Client, N};
use crate::process::Server;

/// The titles of a list.
fn titles(list: &Value) -> Vec<&str> {
    let all = list["result"].as_array().expect("a list").iter();
    all.map(|namespace| namespace["title"].as_str().expect("a title")).collect()
}

#[test]
fn a_namespace_is_created_shown_renamed_and_removed() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    let made = client.result("POST", N, r#"{"title":"first ü"}"#);
    let id = made["id"].as_str().expect("an id");
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()));
    assert_eq!(made, json!({"id": id, "title": "first ü", "supports_url_encoding": true}));
    let path = format!("{N}/{id}");
    assert_eq!(client.result("GET", &path, ""), made);
    let renamed = client.result("PUT", &path, r#"{"title":"second"}"#);
    assert_eq!(renamed, json!({"id": id, "title": "second", "supports_url_encoding": true}));
    assert_eq!(client.result("DELETE", &path, ""), Value::Null);
    for method in ["GET", "DELETE"] {
        let (status, code, message) = client.error(method, &path, "");
        assert_eq!((status, code), (404, 10013));
        assert!(message.ends_with(" namespace: 'namespace not found'"), "{message}");
    }
}

#[test]
fn a_bad_namespace_is_a_failure_with_a_number() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    let path = client.namespace("taken");
    client.namespace("other");
    let taken = "a namespace with this account ID and title already exists";
    let long = format!(r#"{{"title":"{}"}}"#, "x".repeat(513));
    for (method, path, body, code, text) in [
        ("POST", N, r#"{"title":"taken"}"#, 10014, taken),
        ("PUT", &path, r#"{"title":"other"}"#, 10014, taken),
        ("POST", N, "{}", 10019, "missing title"),
        ("POST", N, r#"{"title":null}"#, 10019, "missing title"),
        ("POST", N, r#"{"title":""}"#, 10019, "missing title"),
        ("POST", N, &long, 10029, "512"),
        ("POST", N, r#"{"title":7}"#, 10012, "title"),
        ("POST", N, "title", 10012, "JSON"),
        ("POST", N, r#"{"title":"a","jurisdiction":"eu"}"#, 10026, "jurisdiction"),
        ("GET", &format!("{N}/taken"), "", 10011, "'invalid namespace format: taken'"),
        ("GET", &format!("{N}?page=0"), "", 10007, "page"),
        ("GET", &format!("{N}?per_page=1001"), "", 10008, "per_page"),
        ("GET", &format!("{N}?order=age"), "", 10043, "order"),
        ("GET", &format!("{N}?direction=up"), "", 10044, "direction"),
    ] {
        let (status, found, message) = client.error(method, path, body);
        assert_eq!((status, found), (400, code), "{method} {path} {body:.40}: {message}");
        assert!(message.contains(text), "{message}");
    }
    let absent = format!("{N}/00112233445566778899aabbccddeeff");
    assert_eq!(client.error("PUT", &absent, r#"{"title":"x"}"#).1, 10013);
    // Clients may send fields that this server does not have.
    client.result("PUT", &path, r#"{"title":"taken","mode":"instant"}"#);
}

#[test]
fn namespaces_are_listed_in_pages_and_in_order() {
    let server = Server::start(&["--namespaces", "c,a,b"]);
    let mut client = Client::of(&server);
    let (_, all) = client.call("GET", N, "");
    let info = json!({"page": 1, "per_page": 20, "count": 3, "total_count": 3, "total_pages": 1});
    assert_eq!(all["result_info"], info);
    let ids: Vec<_> = all["result"].as_array().expect("a list").iter().map(|n| &n["id"]).collect();
    assert!(ids.is_sorted_by_key(|id| id.as_str()));
    let (_, two) = client.call("GET", &format!("{N}?order=title&per_page=2"), "");
    assert_eq!(titles(&two), ["a", "b"]);
    let info = json!({"page": 1, "per_page": 2, "count": 2, "total_count": 3, "total_pages": 2});
    assert_eq!(two["result_info"], info);
    let (_, rest) = client.call("GET", &format!("{N}?order=title&per_page=2&page=2"), "");
    assert_eq!(titles(&rest), ["c"]);
    let (_, down) = client.call("GET", &format!("{N}?order=title&direction=desc"), "");
    assert_eq!(titles(&down), ["c", "b", "a"]);
    // The SDKs ask for pages until one is empty.
    for page in ["3", "18446744073709551615"] {
        let (_, none) = client.call("GET", &format!("{N}?per_page=2&page={page}"), "");
        assert_eq!((&none["result"], &none["result_info"]["count"]), (&json!([]), &json!(0)));
    }
}
