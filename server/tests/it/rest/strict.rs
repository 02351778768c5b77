//! The limits that an operator sets.

use super::Client;
use crate::process::Server;

#[test]
fn a_strict_server_takes_one_put_of_a_key_a_second() {
    let server = Server::start(&["--strict", "--min-ttl", "1s"]);
    let mut client = Client::of(&server);
    let n = client.namespace("n");
    // Not even a slow machine takes a second for each.
    let answers: Vec<_> = (0..100)
        .map(|_| client.send("PUT", &format!("{n}/values/a"), "", b"x"))
        .filter(|response| response.status != 200)
        .collect();
    assert!(!answers.is_empty() && answers.len() < 100, "{}", answers.len());
    for response in answers {
        assert_eq!((response.status, response.header("retry-after")), (429, Some("1")));
        assert!(response.body.contains("10022"), "{}", response.body);
    }
    client.result("PUT", &format!("{n}/values/b"), "x");
    client.result("DELETE", &format!("{n}/values/b"), "");
    let pairs = format!("[{}]", vec![r#"{"key":"c","value":"x"}"#; 100].join(","));
    let result = client.result("PUT", &format!("{n}/bulk"), pairs);
    assert!(result["unsuccessful_keys"].as_array().is_some_and(|keys| !keys.is_empty()));
    let (status, code, _) = client.error("PUT", &format!("{n}/values/d?expiration_ttl=59"), "x");
    assert_eq!((status, code), (400, 10034));
    let binding = (0..100).map(|_| {
        let request = "PUT /binding/n/e HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx";
        server.connect().request(request).status
    });
    assert!(binding.into_iter().any(|status| status == 429));
}

#[test]
fn a_key_is_put_as_often_as_a_client_likes_without_strict() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    let n = client.namespace("n");
    for _ in 0..20 {
        client.result("PUT", &format!("{n}/values/a"), "x");
    }
}

#[test]
fn entries_may_live_as_short_as_the_operator_allows() {
    let server = Server::start(&["--min-ttl", "2s"]);
    let mut client = Client::of(&server);
    let n = client.namespace("n");
    client.result("PUT", &format!("{n}/values/a?expiration_ttl=2"), "x");
    let (status, code, message) =
        client.error("PUT", &format!("{n}/values/a?expiration_ttl=1"), "x");
    let expected = "Invalid expiration_ttl of 1. Expiration TTL must be at least 2.";
    assert_eq!((status, code, message.as_str()), (400, 10034, expected));
    let pairs = r#"[{"key":"a","value":"x","expiration_ttl":2}]"#;
    assert_eq!(client.result("PUT", &format!("{n}/bulk"), pairs)["successful_key_count"], 1);
}
