//! `waypost limit` against a running server.

use std::{fs, process::Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Server, run};

fn server() -> Server {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("waypost.toml");
    fs::write(&file, "[limits.login]\nlimit = 2\nperiod = \"700d\"\n").expect("a file");
    let file = file.to_str().expect("UTF-8").to_owned();
    Server::start_in(directory, "127.0.0.1:0", &["--config", &file])
}

fn limit(server: &Server, args: &[&str]) -> Output {
    let url = server.url();
    run(["limit", "--server", &url].iter().chain(args))
}

/// The lines that a command printed, and its exit code.
fn printed(output: &Output) -> (String, i32) {
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    (lines, output.status.code().expect("it exited"))
}

fn fails(output: &Output, code: i32, says: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(code) && error.contains(says), "{says:?}: {output:?}");
}

#[test]
fn a_limit_can_be_checked_looked_at_and_reset() {
    let server = server();
    let limit = |args: &[&str]| printed(&limit(&server, args));
    let (line, code) = limit(&["check", "login", "ip:1"]);
    assert!(code == 0 && line.starts_with("allowed: 1 of 2 left, resets in "), "{line}");
    assert_eq!(limit(&["peek", "login", "ip:1"]).1, 0);
    assert_eq!(limit(&["check", "login", "ip:1", "--cost", "1"]).1, 0);
    let (line, code) = limit(&["check", "login", "ip:1"]);
    assert!(code == 3 && line.starts_with("denied: 0 of 2 left, retry in "), "{line}");
    assert_eq!(limit(&["peek", "login", "ip:1"]).1, 3);
    assert_eq!(limit(&["check", "login", "ip:1", "--cost", "-1"]).1, 0);
    assert_eq!(limit(&["reset", "login", "ip:1"]), ("reset: 2 of 2 left\n".into(), 0));
    let own = ["check", "namespace:n", "k", "--limit", "5", "--period", "1h", "--json"];
    let answer: Value = serde_json::from_str(&limit(&own).0).expect("JSON");
    assert_eq!((&answer["success"], &answer["remaining"]), (&true.into(), &4.into()));
}

#[test]
fn overrides_can_be_set_listed_and_deleted() {
    let server = server();
    let limit_of = |args: &[&str]| limit(&server, args);
    let limit = |args: &[&str]| printed(&limit(&server, args)).0;
    assert_eq!(
        limit(&["override", "set", "login", "ip:1", "--limit", "5"]),
        "set login  ip:1  limit 5  does not expire\n"
    );
    let until = "2099-01-31T00:00:00Z";
    let set = limit(&["override", "set", "namespace:n", "a/ü", "--deny", "--until", until]);
    assert_eq!(set, format!("set namespace:n  a/ü  deny  until {until}\n"));
    assert!(
        limit(&["override", "set", "login", "b", "--unlimited", "--expires", "1h"])
            .starts_with("set login  b  unlimited  until 20")
    );
    assert_eq!(limit(&["check", "login", "b"]), "allowed: this key has no limit\n");
    assert_eq!(limit(&["override", "list", "login"]).lines().count(), 2);
    assert_eq!(limit(&["override", "list"]).lines().count(), 3);
    let all: Value = serde_json::from_str(&limit(&["override", "list", "--json"])).expect("JSON");
    assert_eq!(all["overrides"].as_array().map(Vec::len), Some(3));
    assert!(limit(&["list"]).contains("login  2 in 60480000 s, sliding  overrides: 2\n"));
    let deleted = limit(&["override", "delete", "namespace:n", "a/ü"]);
    assert_eq!(deleted, format!("deleted namespace:n  a/ü  deny  until {until}\n"));
    fails(&limit_of(&["override", "delete", "namespace:n", "a/ü"]), 1, "has no override");
    fails(&limit_of(&["override", "set", "logn", "a", "--deny"]), 1, "the configuration has login");
    fails(&limit_of(&["override", "set", "login", "a"]), 2, "--deny");
    fails(&limit_of(&["override", "set", "login", "a", "--deny", "--limit", "1"]), 2, "cannot be");
    fails(&limit_of(&["override", "set", "login", "a", "--deny", "--expires", "soon"]), 2, "12h");
}

#[test]
fn the_keys_that_are_denied_most_are_shown() {
    let server = server();
    let top = |args: &[&str]| printed(&limit(&server, args)).0;
    assert!(top(&["top"]).starts_with("nothing was denied in the last "));
    for (key, count) in [("ip:1", 4), ("ip:2", 7), ("ip:3", 2)] {
        for _ in 0..count {
            limit(&server, &["check", "login", key]);
        }
    }
    let lines = top(&["top"]);
    let keys: Vec<_> = lines.lines().skip(1).map(|line| line.trim().to_owned()).collect();
    assert_eq!(keys, ["5  login  ip:2", "2  login  ip:1"], "{lines}");
    let json: Value = serde_json::from_str(&top(&["top", "--count", "1", "--json"])).expect("JSON");
    assert_eq!(json["denied"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["denied"][0]["key"], "ip:2");
}
