//! The audit log, health from the command line, and no core dumps.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    cluster::eventually,
    process::{Server, run},
    tokens::{create, directory, send, text},
};

/// The lines of an audit log.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn with_action<'a>(lines: &'a [Value], action: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["action"] == action).collect()
}

#[test]
fn each_administrative_act_is_a_line_with_who_what_and_its_result_and_no_secret() {
    let (directory, admin) = directory();
    let path = directory.path().join("audit.log");
    let args = ["--audit-log", path.to_str().expect("UTF-8"), "--namespaces", "a"];
    let server = Server::start_in(directory, "127.0.0.1:0", &args);
    let (token, id) = create(&server, &admin, "\"kv:read=a\"");
    let made = send(&server, "POST", "/v1/namespaces", Some(&admin), "{\"title\":\"new\"}");
    assert_eq!(made.0, 201);
    assert_eq!(send(&server, "POST", "/v1/namespaces", Some(&admin), "{\"title\":\"new\"}").0, 409);
    let rest = "/client/v4/accounts/local/storage/kv/namespaces";
    assert_eq!(send(&server, "POST", rest, Some(&admin), "{\"title\":\"rest\"}").0, 200);
    assert_eq!(send(&server, "DELETE", "/v1/namespaces/new", Some(&admin), "").0, 200);
    // What only reads or concerns keys has no line.
    assert_eq!(send(&server, "GET", "/v1/tokens", Some(&admin), "").0, 200);
    assert_eq!(send(&server, "PUT", "/binding/a/k", Some(&admin), "secret-value").0, 200);
    // Refusals are counted.
    for _ in 0..3 {
        assert_eq!(send(&server, "GET", "/binding/a/k", Some("wpt_x"), "").0, 401);
        assert_eq!(send(&server, "DELETE", "/v1/namespaces/a", Some(&token), "").0, 403);
    }
    let revoke = format!("/v1/tokens/{id}");
    assert_eq!(send(&server, "DELETE", &revoke, Some(&admin), "").0, 200);
    // As logrotate does it.
    let rotated = path.with_extension("1");
    eventually("the acts are written", || with_action(&lines(&path), "token.revoke").len() == 1);
    fs::rename(&path, &rotated).expect("a file");
    server.signal(Signal::HUP);
    server.await_log("reloaded the configuration");
    let _directory = server.stop();
    for path in [&path, &rotated] {
        assert_eq!(fs::metadata(path).expect("a file").permissions().mode() & 0o777, 0o600);
    }
    let text = fs::read_to_string(&rotated).expect("a file");
    let both = [text, fs::read_to_string(&path).expect("a file")].concat();
    for secret in [&admin[4..], &token[4..], "secret-value", "wpt_x"] {
        assert!(!both.contains(secret), "{both}");
    }
    let all = [lines(&rotated), lines(&path)].concat();
    let created = with_action(&all, "token.create");
    assert_eq!(created.len(), 1);
    assert_eq!(created[0]["detail"]["id"], id);
    assert_eq!(created[0]["detail"]["scopes"][0], "kv:read=a");
    assert_eq!(created[0]["address"], "127.0.0.1");
    assert_eq!(created[0]["description"], "first");
    assert!(created[0]["listener"].as_str().is_some_and(|url| url.starts_with("http://127.0.0.1")));
    let results: Vec<_> = with_action(&all, "namespace.create")
        .iter()
        .map(|line| line["result"].as_str().expect("a text").to_owned())
        .collect();
    assert_eq!(results, ["done", "refused", "done"]);
    assert_eq!(with_action(&all, "namespace.drop")[0]["detail"]["title"], "new");
    assert_eq!(with_action(&all, "token.revoke")[0]["target"], revoke);
    for action in ["server.start", "server.stop", "configuration.reload"] {
        assert_eq!(with_action(&all, action).len(), 1, "{action}");
    }
    let refused = with_action(&all, "access");
    let count = |reason: &str| {
        let of_reason = refused.iter().filter(|line| line["reason"] == reason);
        of_reason.filter_map(|line| line["count"].as_u64()).sum::<u64>()
    };
    assert_eq!((count("malformed"), count("scope")), (3, 3), "{refused:?}");
    let with_token = refused.iter().find(|line| line["reason"] == "scope").expect("a line");
    assert_eq!(with_token["token"], id);
    assert!(!all.iter().any(|line| line["target"] == "/binding/a/k"));
}

#[test]
fn an_audit_log_that_can_not_be_opened_is_an_error_that_names_the_setting() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let path = directory.path().to_str().expect("UTF-8");
    let output = run(["serve", "--data", data.to_str().expect("UTF-8"), "--audit-log", path]);
    assert!(!output.status.success());
    let error = text(&output.stderr);
    assert!(error.contains(&format!("--audit-log: can't open {path}: ")), "{error}");
}

#[test]
fn health_needs_no_token_and_its_exit_code_says_whether_the_server_is_ready() {
    let (directory, _admin) = directory();
    let server = Server::start_in(directory, "127.0.0.1:0", &[]);
    let url = server.url();
    for args in [&["health", "--server", &url][..], &["health", "--alive", "--server", &url]] {
        let output = run(args);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let json = run(["health", "--json", "--server", &url]);
    assert_eq!(text(&json.stdout).trim(), r#"{"status":"ready"}"#);
    drop(server);
    let output = run(["health", "--server", &url]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no Waypost server at"), "{}", text(&output.stderr));
}

#[test]
#[cfg(target_os = "linux")]
fn a_server_leaves_no_core_dump() {
    let server = Server::start(&[]);
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("it runs");
    let line = limits.lines().find(|line| line.starts_with("Max core file size"));
    let words: Vec<_> = line.expect("a line").split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"]);
    // The files of a process that can't be dumped belong to root.
    use std::os::unix::fs::MetadataExt as _;
    let owner = fs::metadata(format!("/proc/{}/mem", server.pid())).expect("it runs").uid();
    assert_eq!(owner, 0);
}

#[test]
#[cfg(target_os = "linux")]
fn the_service_manager_is_told_when_the_server_is_ready_and_when_it_stops() {
    use std::os::unix::net::UnixDatagram;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify.sock");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(crate::process::PATIENCE)).expect("a time");
    let mut command = crate::process::waypost(["serve", "--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &path);
    let server = Server::start_with(command, directory, &[]);
    let mut received = [0; 64];
    let mut next = || {
        let length = manager.recv(&mut received).expect("a message");
        text(&received[..length]).trim().to_owned()
    };
    assert_eq!(next(), "READY=1");
    server.signal(Signal::TERM);
    assert_eq!(next(), "STOPPING=1");
}

#[test]
fn a_data_directory_that_is_removed_under_a_server_is_an_alarm_until_it_is_back() {
    let server = Server::start(&["--namespaces", "a"]);
    let (data, aside) = (server.directory.path().join("data"), server.directory.path().join("x"));
    fs::rename(&data, &aside).expect("a rename");
    server.await_log("alarm directory-lost: ");
    assert!(server.log().contains("Do not stop it"), "{}", server.log());
    let metrics = server.connect().request("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").body;
    assert!(metrics.contains("waypost_alarm{kind=\"directory-lost\",of=\"here\"} 1\n"));
    fs::rename(&aside, &data).expect("a rename");
    server.await_log_times("directory-lost", 2);
}
