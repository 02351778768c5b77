//! Access tokens: what each permits on every route, and their end.

use std::{fs, os::unix::net::UnixStream, process::Output};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use tempfile::TempDir;

use crate::{
    cluster::{eventually, first_location, join},
    http::{Peer, http2},
    process::{Server, run, waypost},
};

pub(crate) fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("the output is UTF-8")
}

/// The line that a command printed.
pub(crate) fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

/// A directory whose store has a token with the scope `admin`.
pub(crate) fn directory() -> (TempDir, String) {
    let directory = TempDir::new().expect("a directory");
    let data = directory.path().join("data");
    let data = data.to_str().expect("UTF-8");
    let refused = run(["token", "create", "--data", data, "--scope", "kv:read=*"]);
    assert!(text(&refused.stderr).contains("create one with the scope admin first"));
    let admin = printed(&run(["token", "create", "first", "--data", data, "--scope", "admin"]));
    assert!(admin.starts_with("wpt_"), "{admin}");
    (directory, admin)
}

/// A server with two namespaces, one of them called `a`, and a client that is an administrator.
pub(crate) fn start(args: &[&str]) -> (Server, String) {
    let (directory, admin) = directory();
    let server =
        Server::start_in(directory, "127.0.0.1:0", &[&["--namespaces", "a,b"], args].concat());
    (server, admin)
}

/// Creates a token over the API of a running server.
pub(crate) fn create(server: &Server, admin: &str, scopes: &str) -> (String, String) {
    let body = format!("{{\"scopes\":[{scopes}],\"description\":\"of a test\"}}");
    let (status, body) = send(server, "POST", "/v1/tokens", Some(admin), &body);
    assert_eq!(status, 201, "{body}");
    let created: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let field = |name: &str| created[name].as_str().expect("a text").to_owned();
    (field("token"), field("id"))
}

pub(crate) fn head(method: &str, target: &str, token: Option<&str>, body: &str) -> String {
    let token = token.map_or_else(String::new, |it| format!("Authorization: Bearer {it}\r\n"));
    let length = body.len();
    format!(
        "{method} {target} HTTP/1.1\r\nHost: a\r\n{token}Content-Length: {length}\r\n\r\n{body}"
    )
}

pub(crate) fn send(
    server: &Server,
    method: &str,
    target: &str,
    token: Option<&str>,
    body: &str,
) -> (u16, String) {
    let response = server.connect().request(head(method, target, token, body));
    (response.status, response.body)
}

/// A request, and the scopes that permit it beside `admin`.
const ROUTES: &[(&str, &str, &str, &[&str])] = &[
    ("GET", "/binding/a/k", "", &["kv:read=a", "kv:read=*", "kv:write=a", "kv:write=*"]),
    ("GET", "/binding/a/?prefix=", "", &["kv:read=a", "kv:read=*", "kv:write=a", "kv:write=*"]),
    ("GET", "/binding/b/k", "", &["kv:read=*", "kv:write=*"]),
    ("GET", "/binding/%61/k", "", &["kv:read=a", "kv:read=*", "kv:write=a", "kv:write=*"]),
    (
        "POST",
        "/binding/a/bulk/get",
        "{\"keys\":[\"k\"]}",
        &["kv:read=a", "kv:read=*", "kv:write=a", "kv:write=*"],
    ),
    ("PUT", "/binding/a/k", "v", &["kv:write=a", "kv:write=*"]),
    ("PUT", "/binding/b/k", "v", &["kv:write=*"]),
    ("PUT", "/binding/nowhere/k", "v", &["kv:write=*"]),
    ("DELETE", "/binding/a/k", "", &["kv:write=a", "kv:write=*"]),
    ("PATCH", "/binding/a/k", "", &["kv:write=a", "kv:write=*"]),
    (
        "GET",
        "/client/v4/accounts/local/storage/kv/namespaces/title%3A%61/values/k",
        "",
        &["kv:read=a", "kv:read=*", "kv:write=a", "kv:write=*"],
    ),
    (
        "PUT",
        "/client/v4/accounts/local/storage/kv/namespaces/title:a/values/k",
        "v",
        &["kv:write=a", "kv:write=*"],
    ),
    (
        "GET",
        "/client/v4/accounts/local/storage/kv/namespaces/title:a/keys?values=true&reverse=true",
        "",
        &["kv:read=a", "kv:read=*", "kv:write=a", "kv:write=*"],
    ),
    (
        "DELETE",
        "/client/v4/accounts/local/storage/kv/namespaces/title:a/keys?prefix=none",
        "",
        &["kv:write=a", "kv:write=*"],
    ),
    ("GET", "/client/v4/accounts/local/storage/kv/namespaces/title:a", "", &[]),
    ("GET", "/ratelimit?namespace=n&key=k&limit=9&period=60", "", &["ratelimit=n", "ratelimit=*"]),
    (
        "POST",
        "/ratelimit",
        "{\"checks\":[{\"namespace\":\"n\",\"limit\":9,\"period\":60},{\"namespace\":\"m\",\"limit\":9,\"period\":60}]}",
        &["ratelimit=*"],
    ),
    ("GET", "/v1/limits/top", "", &["ops"]),
    (
        "GET",
        "/v1/limits/namespace:n/overrides",
        "",
        &["ratelimit:override=n", "ratelimit:override=*"],
    ),
    (
        "PUT",
        "/v1/limits/namespace%3An/overrides/k",
        "{\"limit\":9}",
        &["ratelimit:override=n", "ratelimit:override=*"],
    ),
    ("DELETE", "/v1/limits/nowhere/overrides/k", "", &["ratelimit:override=*"]),
    ("GET", "/v1/namespaces", "", &[]),
    ("POST", "/v1/namespaces", "{\"title\":\"\"}", &[]),
    ("DELETE", "/v1/namespaces/nowhere", "", &[]),
    ("GET", "/v1/namespaces/a/merge", "", &[]),
    ("GET", "/v1/cluster", "", &[]),
    ("DELETE", "/v1/cluster/locations/x", "", &[]),
    ("POST", "/v1/doctor", "{\"dry_run\":true}", &[]),
    ("GET", "/v1/tokens", "", &[]),
    ("POST", "/v1/tokens", "{\"scopes\":[]}", &[]),
    ("DELETE", "/v1/tokens/0", "", &[]),
    ("GET", "/metrics", "", &["ops"]),
    (
        "GET",
        "/nothing",
        "",
        &[
            "ops",
            "kv:read=a",
            "kv:read=*",
            "kv:write=a",
            "kv:write=*",
            "ratelimit=n",
            "ratelimit=*",
            "ratelimit:override=n",
            "ratelimit:override=*",
        ],
    ),
];

#[test]
fn a_token_permits_what_its_scopes_say_on_every_route_and_an_error_names_the_missing_one() {
    let (server, admin) = start(&[]);
    for scope in [
        "kv:read=a",
        "kv:read=*",
        "kv:write=a",
        "kv:write=*",
        "ratelimit=n",
        "ratelimit=*",
        "ratelimit:override=n",
        "ratelimit:override=*",
        "ops",
    ] {
        let (token, _) = create(&server, &admin, &format!("\"{scope}\""));
        for (method, target, body, permitted) in ROUTES {
            let (status, answer) = send(&server, method, target, Some(&token), body);
            let is_permitted = permitted.contains(&scope);
            assert_eq!(
                status != 403,
                is_permitted,
                "{scope}: {method} {target}: {status} {answer}"
            );
            assert_ne!(status, 401, "{scope}: {method} {target}");
            assert_eq!(answer.contains("it lacks the scope "), !is_permitted, "{answer}");
        }
    }
    for (method, target, body, _) in ROUTES {
        let (status, answer) = send(&server, method, target, Some(&admin), body);
        assert!(!matches!(status, 401 | 403), "{method} {target}: {status} {answer}");
        for token in [None, Some("wpt_x"), Some("x")] {
            let response = server.connect().request(head(method, target, token, body));
            assert_eq!(response.status, 401, "{method} {target}");
            let challenge = response.header("www-authenticate").expect("a challenge");
            assert!(challenge.starts_with("Bearer realm="), "{challenge}");
        }
        // The slowdown begins after ten tokens that are refused.
        if *target == "/binding/b/k" {
            break;
        }
    }
    let (_, answer) =
        send(&server, "PUT", "/binding/a/k", Some(&create(&server, &admin, "\"ops\"").0), "");
    assert!(answer.contains("it lacks the scope kv:write=a"), "{answer}");
}

#[test]
fn probes_and_the_unix_socket_need_no_token() {
    let (directory, _) = directory();
    let file = directory.path().join("waypost.toml");
    let socket = directory.path().join("s.sock");
    let listen = format!(
        "[[listener]]\nlisten = \"127.0.0.1:0\"\n[[listener]]\nlisten = \"unix:{}\"\n",
        socket.display()
    );
    fs::write(&file, listen).expect("a file");
    let mut command = waypost(["serve", "--config"]);
    command.arg(&file);
    let server = Server::start_with(command, directory, &[]);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(send(&server, "GET", path, None, "").0, 200);
        // The namespace wins over the path.
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nWaypost-Namespace: a\r\n\r\n");
        assert_eq!(server.connect().request(request).status, 401);
    }
    assert_eq!(send(&server, "GET", "/metrics", None, "").0, 401);
    let mut local = Peer::new(UnixStream::connect(&socket).expect("the server listens"));
    assert_eq!(local.request(head("GET", "/v1/tokens", None, "")).status, 200);
}

#[test]
fn a_token_that_was_revoked_or_has_expired_is_refused_on_the_open_connection() {
    let (server, admin) = start(&[]);
    let (token, id) = create(&server, &admin, "\"kv:write=*\"");
    let mut open = server.connect();
    let get = head("GET", "/binding/a/k", Some(&token), "");
    assert_eq!(open.request(&get).status, 404);
    assert_eq!(open.request(&get).status, 404);
    let list = send(&server, "GET", "/v1/tokens", Some(&admin), "").1;
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let tokens = list["tokens"].as_array().expect("a list");
    assert!(tokens.iter().all(|one| one["last_used"].as_u64().is_some()), "{list}");
    assert_eq!(send(&server, "DELETE", &format!("/v1/tokens/{id}"), Some(&admin), "").0, 200);
    let refused = open.request(&get);
    assert_eq!(refused.status, 401);
    assert!(refused.body.contains("was revoked"), "{}", refused.body);

    let body = "{\"scopes\":[\"kv:read=a\"],\"expires_in\":1}";
    let created = send(&server, "POST", "/v1/tokens", Some(&admin), body).1;
    let created: serde_json::Value = serde_json::from_str(&created).expect("JSON");
    let get = head("GET", "/binding/a/k", created["token"].as_str(), "");
    let mut refused = open.request(&get);
    eventually("the token expires", || {
        refused = open.request(&get);
        refused.status == 401
    });
    assert!(refused.body.contains("has expired"), "{}", refused.body);
}

#[test]
fn tokens_outlive_the_server_and_secrets_are_nowhere() {
    let (server, admin) = start(&["--log", "trace"]);
    let (token, id) = create(&server, &admin, "\"kv:read=*\"");
    assert_eq!(send(&server, "GET", "/binding/a/k", Some(&token), "").0, 404);
    let wrong = format!("{token}a");
    let (_, refused) = send(&server, "GET", "/binding/a/k", Some(&wrong), "");
    let list = send(&server, "GET", "/v1/tokens", Some(&admin), "").1;
    let metrics = send(&server, "GET", "/metrics", Some(&admin), "").1;
    assert!(metrics.contains("waypost_auth_failures_total{reason=\"malformed\"} 1"), "{metrics}");
    let secrets = [&token["wpt_".len()..], &admin["wpt_".len()..]];
    for shown in [&refused, &list, &metrics, &server.log()] {
        assert!(secrets.iter().all(|secret| !shown.contains(secret)), "{shown}");
    }
    let directory = server.stop();
    let data = directory.path().join("data");
    let data = data.to_str().expect("UTF-8");
    let list = printed(&run(["token", "list", "--data", data]));
    assert!(list.contains(&id) && list.lines().count() == 2, "{list}");
    let revoked = printed(&run(["token", "revoke", &id, "--data", data]));
    assert!(revoked.starts_with(&format!("revoked {id}")), "{revoked}");
    let server = Server::start_in(directory, "127.0.0.1:0", &[]);
    assert_eq!(send(&server, "GET", "/binding/a/k", Some(&token), "").0, 401);
    assert_eq!(send(&server, "GET", "/binding/a/k", Some(&admin), "").0, 404);
}

#[test]
fn other_machines_are_served_only_with_tokens() {
    let directory = TempDir::new().expect("a directory");
    let data = directory.path().join("data");
    let refused =
        run(["serve", "--listen=0.0.0.0:0", "--insecure", "--data", data.to_str().expect("UTF-8")]);
    let error = text(&refused.stderr);
    let line = error.lines().last().unwrap_or_default();
    assert!(line.contains("--listen: other machines can reach"), "{error}");
    assert!(line.contains("waypost token create --scope admin --data"), "{error}");

    let token = printed(&run(["token", "generate"]));
    let file = directory.path().join("admin");
    fs::write(&file, "wpt_x\n").expect("a file");
    let name = file.to_str().expect("UTF-8");
    let refused = run(["serve", "--listen=127.0.0.1:0", "--admin-token-file", name]);
    let error = text(&refused.stderr);
    assert!(
        error.contains("--admin-token-file: ") && error.contains("waypost token generate"),
        "{error}"
    );
    fs::write(&file, format!("{token}\n")).expect("a file");
    let args = ["--insecure", "--admin-token-file", name];
    let server = Server::start_in(directory, "0.0.0.0:0", &args);
    assert_eq!(send(&server, "GET", "/v1/namespaces", None, "").0, 401);
    assert_eq!(send(&server, "GET", "/v1/namespaces", Some(&token), "").0, 200);
    assert_eq!(send(&server, "GET", "/readyz", None, "").0, 200);
}

#[test]
fn a_command_takes_its_token_from_a_file_or_stdin() {
    use std::{io::Write as _, process::Stdio};
    let (server, admin) = start(&[]);
    let url = server.url();
    let refused = run(["namespace", "list", "--server", &url]);
    assert!(text(&refused.stderr).contains("needs a token"), "{}", text(&refused.stderr));
    let file = server.directory.path().join("token");
    let name = file.to_str().expect("UTF-8").to_owned();
    fs::write(&file, format!("{admin}\n")).expect("a file");
    let list = ["namespace", "list", "--server", &url, "--token-file"];
    assert!(printed(&run(list.iter().chain(&[&name[..]]))).ends_with("  b"));
    let by_variable =
        waypost(&list[..4]).env("WAYPOST_TOKEN_FILE", &name).output().expect("it runs");
    assert!(printed(&by_variable).ends_with("  b"));
    let empty = waypost(&list[..4]).env("WAYPOST_TOKEN_FILE", "").output().expect("it runs");
    assert!(text(&empty.stderr).contains("needs a token"), "{}", text(&empty.stderr));
    let mut by_stdin = waypost(list.iter().chain(&["-"]));
    let mut child = by_stdin.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(admin.as_bytes()).expect("it reads");
    drop(stdin);
    assert!(printed(&child.wait_with_output().expect("it ends")).ends_with("  b"));
    fs::write(&file, "two lines\nof text").expect("a file");
    let refused = run(list.iter().chain(&[&name[..]]));
    assert!(text(&refused.stderr).contains("does not hold a token"), "{}", text(&refused.stderr));
}

#[tokio::test]
async fn grpc_has_its_own_statuses_and_its_health_check_needs_no_token() {
    let (server, admin) = start(&[]);
    let (edge, _) = create(&server, &admin, "\"ratelimit=rls:edge\"");
    let (other, _) = create(&server, &admin, "\"ratelimit=edge\"");
    // A request for the domain `edge` with one descriptor: `a` is `b`.
    let message = b"\x00\x00\x00\x00\x10\x0a\x04edge\x12\x08\x0a\x06\x0a\x01a\x12\x01b";
    let (sender, _connection) = http2::<Full<Bytes>>(&server.address).await;
    let call = |path: &str, token: Option<&str>, message: &'static [u8]| {
        let mut request = Request::post(format!("http://{}{path}", server.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = token {
            request = request.header("authorization", format!("bearer {token}"));
        }
        let request = request.body(Full::from(message)).expect("a request");
        let mut sender = sender.clone();
        async move {
            let response = sender.send_request(request).await.expect("a response");
            assert_eq!(response.status(), StatusCode::OK);
            response.headers().get("grpc-status").map(|status| status.as_bytes().to_vec())
        }
    };
    let limit = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
    assert_eq!(call(limit, None, message).await.as_deref(), Some(&b"16"[..]));
    assert_eq!(call(limit, Some("wpt_"), message).await.as_deref(), Some(&b"16"[..]));
    assert_eq!(call(limit, Some(&other), message).await.as_deref(), Some(&b"7"[..]));
    // The status of a call that succeeds is in its trailers.
    assert_eq!(call(limit, Some(&edge), message).await, None);
    assert_eq!(call(limit, Some(&admin), message).await, None);
    assert_eq!(call("/grpc.health.v1.Health/Check", None, &[0; 5]).await, None);
}

#[test]
fn a_token_counts_at_every_location_and_so_does_its_revocation() {
    let first = first_location();
    let second = join(&first, "ams");
    let status =
        |server: &Server, token: Option<&str>| send(server, "GET", "/v1/namespaces", token, "").0;
    assert_eq!(status(&second, None), 200);
    let body = "{\"scopes\":[\"admin\"]}";
    let (code, created) = send(&first, "POST", "/v1/tokens", None, body);
    assert_eq!(code, 201, "{created}");
    let created: serde_json::Value = serde_json::from_str(&created).expect("JSON");
    let admin = created["token"].as_str().expect("a text");
    assert_eq!(status(&first, None), 401);
    eventually("the token arrives", || status(&second, Some(admin)) == 200);
    eventually("access is closed", || status(&second, None) == 401);
    let (other, id) = create(&second, admin, "\"admin\"");
    eventually("a token of the other location arrives", || status(&first, Some(&other)) == 200);
    assert_eq!(send(&first, "DELETE", &format!("/v1/tokens/{id}"), Some(admin), "").0, 200);
    assert_eq!(status(&first, Some(&other)), 401);
    eventually("the revocation arrives", || status(&second, Some(&other)) == 401);
}
