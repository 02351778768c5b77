//! Lists and deletions of ranges, which Cloudflare's service does not have.

use super::{Client, N};
use crate::process::Server;

#[test]
fn keys_are_deleted_by_prefix_in_bounded_steps() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    let n = client.namespace("n");
    for block in 0..2 {
        let pairs: Vec<String> = (0..6000)
            .map(|number| {
                format!(r#"{{"key":"a{block}{number:04}","value":"x","metadata":{{"b":{block}}}}}"#)
            })
            .collect();
        client.result("PUT", &format!("{n}/bulk"), format!("[{}]", pairs.join(",")));
    }
    client.result("PUT", &format!("{n}/values/b"), "x");
    for (query, deleted, complete) in [
        ("prefix=none", 0, true),
        ("prefix=a&start=a10000&end=a10010&reverse=true", 10, true),
        ("prefix=a1&metadata=%7B%22b%22%3A0%7D", 0, true),
        ("prefix=a", 10_000, false),
        ("prefix=a", 1990, true),
    ] {
        let result = client.result("DELETE", &format!("{n}/keys?{query}"), "");
        let expected = serde_json::json!({
            "successful_key_count": deleted, "unsuccessful_keys": [], "complete": complete,
        });
        assert_eq!(result, expected, "{query}");
    }
    assert_eq!(client.result("GET", &format!("{n}/keys"), "")[0]["name"], "b");
    client.result("DELETE", &format!("{n}/keys?prefix="), "");
    assert_eq!(client.result("GET", &format!("{n}/keys"), ""), serde_json::json!([]));
}

#[test]
fn a_range_that_is_not_valid_is_a_failure_with_a_number() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    let n = client.namespace("n");
    let long = "x".repeat(513);
    for (method, query, status, code) in [
        ("DELETE", "", 400, 10029),
        ("DELETE", "?start=a", 400, 10029),
        ("DELETE", "?prefix=a&reverse=1", 400, 10029),
        ("GET", "?values=yes", 400, 10029),
        ("GET", "?metadata=%7B", 400, 10047),
        ("GET", "?reverse=true&limit=1", 400, 10028),
        ("GET", "?reverse=true&cursor=!", 400, 10041),
        ("GET", &format!("?start={long}"), 414, 10030),
    ] {
        let (got, number, _) = client.error(method, &format!("{n}/keys{query}"), "");
        assert_eq!((got, number), (status, code), "{method} {query}");
    }
    let none = format!("{N}/title:none/keys?prefix=");
    assert_eq!(client.error("DELETE", &none, "").1, 10013);
    assert_eq!(client.error("GET", &format!("{N}/n/keys"), "").1, 10011);
    // A range that ends before it begins is empty.
    let empty = client.result("GET", &format!("{n}/keys?start=b&end=a&values=true"), "");
    assert_eq!(empty, serde_json::json!([]));
}
