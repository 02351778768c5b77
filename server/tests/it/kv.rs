//! `waypost kv`: keys on the command line.

use std::{
    fs,
    io::Write as _,
    process::{Output, Stdio},
};

use tempfile::TempDir;

use crate::process::{Server, run, waypost};

mod moving;
mod redis;

/// A server with the namespace `n`.
fn start() -> Server {
    Server::start(&["--namespaces", "n"])
}

/// Runs `waypost kv` with a server.
fn kv(server: &Server, args: &[&str]) -> Output {
    run(["kv", "--server", &server.url()].iter().chain(args))
}

/// The same with bytes on stdin.
fn kv_with(server: &Server, args: &[&str], stdin: &[u8]) -> Output {
    let url = server.url();
    let mut command = waypost(["kv", "--server", &url].iter().chain(args));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    child.stdin.take().expect("a pipe").write_all(stdin).expect("it reads its stdin");
    child.wait_with_output().expect("it ends")
}

/// What a command that succeeds prints.
fn printed(output: Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{:?}: {error}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// The code of a command that fails, and its only line on stderr.
fn failed(output: Output) -> (i32, String) {
    assert!(output.stdout.is_empty(), "{:?}", output.stdout);
    let error = String::from_utf8(output.stderr).expect("text");
    assert_eq!(error.lines().count(), 1, "{error}");
    (output.status.code().expect("it ended"), error)
}

#[test]
fn a_key_is_put_got_and_deleted() {
    let directory = TempDir::new().unwrap();
    let socket = format!("unix:{}", directory.path().join("socket").display());
    for listen in ["127.0.0.1:0", &socket] {
        let server = Server::start_in(TempDir::new().unwrap(), listen, &["--namespaces", "n"]);
        let metadata = r#"{"v":[1,"é"]}"#;
        let put = ["put", "n", "user:1", "hello", "--ttl", "1h", "--metadata", metadata];
        assert_eq!(printed(kv(&server, &put)), "");
        assert_eq!(printed(kv(&server, &["get", "n", "user:1"])), "hello");
        let json = printed(kv(&server, &["get", "n", "user:1", "--json"]));
        assert!(json.starts_with(r#"{"key":"user:1","value":"hello","expiration":"#), "{json}");
        assert!(json.ends_with("\"metadata\":{\"v\":[1,\"é\"]}}\n"), "{json}");
        assert_eq!(printed(kv(&server, &["delete", "n", "user:1"])), "deleted 1 key\n");
        let (code, error) = failed(kv(&server, &["get", "n", "user:1"]));
        let expected = "waypost: there is no key \"user:1\" in the namespace \"n\"\n";
        assert_eq!((code, error.as_str()), (3, expected));
    }
}

#[test]
fn keys_may_have_any_characters_and_values_any_bytes() {
    let server = start();
    let value: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("value");
    fs::write(&file, &value).unwrap();
    let file = file.to_str().unwrap();
    for key in ["a/b?c#d%25", "é\u{1f600}", "a b+c&d=e", "-x", "\n", "'\"\\"] {
        assert_eq!(printed(kv_with(&server, &["put", "n", "--", key, "-"], &value)), "");
        assert_eq!(kv(&server, &["get", "n", "--", key]).stdout, value);
        printed(kv(&server, &["put", "n", "--file", file, "--metadata", "1", "--", key]));
        let got = kv(&server, &["get", "n", "--", key]);
        assert!(got.status.success() && got.stdout == value);
    }
    printed(kv_with(&server, &["put", "n", "empty", "-"], b""));
    assert_eq!(printed(kv(&server, &["get", "n", "empty"])), "");
    let listed = printed(kv(&server, &["list", "n"]));
    let expected = ["\\n", "'\"\\", "-x", "a b+c&d=e", "a/b?c#d%25", "empty", "é\u{1f600}"];
    assert_eq!(listed.lines().collect::<Vec<_>>(), expected);
    let json = printed(kv(&server, &["list", "n", "--json", "--limit", "1"]));
    assert_eq!(json, "{\"key\":\"\\n\",\"metadata\":1}\n");
}

#[test]
fn keys_are_listed_and_deleted_by_prefix() {
    let server = start();
    let body: Vec<String> = (0..1500)
        .map(|number| format!(r#"{{"key":"{}:{number:04}","value":"x"}}"#, ["a", "b"][number % 2]))
        .collect();
    let target = "/client/v4/accounts/local/storage/kv/namespaces/title:n/bulk";
    let body = format!("[{}]", body.join(","));
    let length = body.len();
    let head = format!("PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    assert_eq!(server.connect().request(head + &body).status, 200);

    let count = |args: &[&str]| printed(kv(&server, args)).lines().count();
    assert_eq!(count(&["list", "n"]), 1500);
    assert_eq!(count(&["list", "n", "--limit", "1234"]), 1234);
    assert_eq!(count(&["list", "n", "--limit", "3"]), 3);
    assert_eq!(count(&["list", "n", "--limit", "0"]), 0);
    assert_eq!(count(&["list", "n", "--prefix", "a:"]), 750);

    let dry = printed(kv(&server, &["delete", "n", "--prefix", "b:000", "--dry-run"]));
    assert_eq!(dry, "b:0001\nb:0003\nb:0005\nb:0007\nb:0009\n");
    let (code, error) = failed(kv(&server, &["delete", "n", "--prefix", "a:"]));
    assert!(code == 1 && error.contains("add --yes"), "{error}");
    assert_eq!(count(&["list", "n"]), 1500);
    let deleted = printed(kv(&server, &["delete", "n", "--prefix", "a:", "--yes"]));
    assert_eq!(deleted, "deleted 750 keys\n");
    assert_eq!(count(&["list", "n", "--prefix", "a:"]), 0);
    let deleted = printed(kv(&server, &["delete", "n", "--prefix", "", "-y", "--json"]));
    assert_eq!(deleted, "{\"deleted\":750}\n");
    assert_eq!(count(&["list", "n"]), 0);
}

#[test]
fn an_error_says_what_failed_and_what_to_do() {
    let server = start();
    for (args, code, expected) in [
        (&["get", "none", "k"][..], 1, "has no namespace \"none\": see `waypost namespace list`"),
        (&["put", "none", "k", "v"], 1, "has no namespace \"none\""),
        (&["list", "0123456789abcdef0123456789abcdef"], 1, "has no namespace"),
        (&["put", "n", "k", "v", "--ttl", "30"], 1, "at least 60"),
        (&["put", "n", "k", "v", "--metadata", "{"], 2, "--metadata: "),
        (&["put", "n", "k", "--file", "/none/there"], 1, "can't read /none/there"),
        (&["put", "n", "k", "--file", "/"], 1, "can't read /"),
        (&["put", "n", &"x".repeat(513), "v"], 1, "513"),
        (&["get", "n", ".."], 1, "Illegal key name"),
    ] {
        let (got, error) = failed(kv(&server, args));
        assert!(got == code && error.contains(expected), "{args:?}: {got} {error}");
    }
    for args in [&["put", "n", "k"][..], &["put", "n", "k", "v", "--ttl", "soon"], &["delete", "n"]]
    {
        assert_eq!(kv(&server, args).status.code(), Some(2), "{args:?}");
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    let (code, error) = failed(run(["kv", "get", "n", "k", "--server", &url]));
    assert!(code == 1 && error.contains("start one with `waypost serve`"), "{error}");
}

#[test]
fn a_token_for_one_namespace_is_enough_for_its_keys() {
    let directory = TempDir::new().unwrap();
    let (admin, token) = (directory.path().join("admin"), directory.path().join("token"));
    let created = run(["token", "generate"]);
    fs::write(&admin, &created.stdout).unwrap();
    let admin = admin.to_str().unwrap();
    let server = Server::start(&["--namespaces", "n", "--admin-token-file", admin]);
    let url = server.url();
    let create =
        |scope| run(["token", "create", "--scope", scope, "--server", &url, "--token-file", admin]);
    // The first stored token must be one that can create others.
    assert!(create("admin").status.success());
    let created = create("kv:write=n");
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    fs::write(&token, &created.stdout).unwrap();
    let token = token.to_str().unwrap();
    printed(kv(&server, &["put", "n", "k", "v", "--token-file", token]));
    assert_eq!(printed(kv(&server, &["get", "n", "k", "--token-file", token])), "v");
    let (code, error) = failed(kv(&server, &["get", "n", "k"]));
    assert!(code == 1 && error.contains("--token-file"), "{error}");
    let (_, error) = failed(kv(&server, &["get", "other", "k", "--token-file", token]));
    assert!(error.contains("kv:read"), "{error}");
}
