//! The REST API: paths, envelopes, statuses and numbers of errors.

use std::net::TcpStream;

use serde_json::Value;

use crate::{
    http::{Peer, Response},
    process::Server,
};

mod bulk;
mod client;
mod namespaces;
mod ranges;
mod strict;
mod values;

/// The path of the namespaces.
const N: &str = "/accounts/local/storage/kv/namespaces";

/// A client with one connection.
struct Client {
    peer: Peer<TcpStream>,
}

impl Client {
    fn of(server: &Server) -> Client {
        Client { peer: server.connect() }
    }

    /// Sends a request with these header lines.
    fn send(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Response {
        let length = body.len();
        let head = format!(
            "{method} /client/v4{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        self.peer.request([head.as_bytes(), body].concat())
    }

    /// Sends a request whose response is an envelope.
    fn call(&mut self, method: &str, path: &str, body: impl AsRef<[u8]>) -> (u16, Value) {
        let response = self.send(method, path, "", body.as_ref());
        let json: Value = serde_json::from_str(&response.body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}: {}", response.body));
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(json["success"], response.status == 200, "{json}");
        assert_eq!(json["errors"].as_array().expect("errors").is_empty(), response.status == 200);
        assert!(json["messages"].is_array() && json.get("result").is_some(), "{json}");
        (response.status, json)
    }

    /// Sends a request that succeeds, and returns its result.
    fn result(&mut self, method: &str, path: &str, body: impl AsRef<[u8]>) -> Value {
        let (status, json) = self.call(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {json}");
        json["result"].clone()
    }

    /// Sends a request that fails, and returns its status, number and sentence.
    fn error(&mut self, method: &str, path: &str, body: impl AsRef<[u8]>) -> (u16, u64, String) {
        let (status, json) = self.call(method, path, body);
        assert_ne!(status, 200, "{method} {path}: {json}");
        assert!(json["result"].is_null());
        let error = &json["errors"][0];
        let message = error["message"].as_str().expect("a sentence").to_owned();
        (status, error["code"].as_u64().expect("a number"), message)
    }

    /// Creates a namespace, and returns its path.
    fn namespace(&mut self, title: &str) -> String {
        let made = self.result("POST", N, format!(r#"{{"title":"{title}"}}"#));
        format!("{N}/{}", made["id"].as_str().expect("an id"))
    }
}

#[test]
fn paths_and_methods_that_do_not_exist_are_failures_with_numbers() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    for path in ["", "/", "/zones", "/accounts/other", "/accounts/local/workers/namespaces"] {
        let (status, code, message) = client.error("GET", path, "");
        assert_eq!((status, code), (404, 7003), "{path}");
        let expected = format!(
            "Could not route to /client/v4{path}, perhaps your object identifier is invalid?"
        );
        assert_eq!(message, expected);
    }
    for (method, path, allow) in [
        ("POST", "/accounts/local/tokens/verify", "GET, HEAD"),
        ("PATCH", N, "GET, HEAD, POST"),
        ("DELETE", "/user", "GET, HEAD"),
    ] {
        let response = client.send(method, path, "", b"");
        assert_eq!((response.status, response.header("allow")), (405, Some(allow)));
        assert!(response.body.contains("10405"), "{}", response.body);
    }
}

#[test]
fn the_account_and_its_user_are_found() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    assert_eq!(client.result("GET", "/accounts/local", "")["id"], "local");
    assert!(client.result("GET", "/user", "")["email"].is_string());
    for path in ["/user/tokens/verify", "/accounts/local/tokens/verify"] {
        assert_eq!(client.result("GET", path, "")["status"], "active");
    }
    for path in ["/accounts", "/memberships"] {
        let (_, first) = client.call("GET", &format!("{path}?page=1"), "");
        let item = &first["result"][0];
        let account = if path == "/accounts" { item } else { &item["account"] };
        assert_eq!(account["id"], "local");
        assert_eq!(first["result_info"]["total_count"], 1);
        // The SDKs ask for pages until one is empty.
        let (_, second) = client.call("GET", &format!("{path}?page=2"), "");
        assert_eq!(second["result"], serde_json::json!([]));
        assert_eq!(client.error("GET", &format!("{path}?page=x"), "").1, 10007);
    }
}

#[test]
fn any_credentials_or_none_are_accepted_on_loopback() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    for headers in ["", "Authorization: Bearer x\r\n", "X-Auth-Email: a@b.c\r\nX-Auth-Key: x\r\n"] {
        assert_eq!(client.send("GET", "/user", headers, b"").status, 200);
    }
}
