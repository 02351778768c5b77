//! The client commands: their output and their errors.

use std::process::Output;

use tempfile::TempDir;

use crate::process::{Server, run};

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("the output is UTF-8")
}

/// Asserts the form of a failure: nothing on stdout, one line on stderr.
fn assert_fails(output: &Output, expected: &str) {
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let error = text(&output.stderr);
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.starts_with("waypost: ") && error.contains(expected), "{error}");
}

#[test]
fn namespaces_can_be_created_listed_renamed_and_dropped() {
    let directory = TempDir::new().unwrap();
    let socket = format!("unix:{}", directory.path().join("socket").display());
    for listen in ["127.0.0.1:0", &socket] {
        let server = Server::start_in(TempDir::new().unwrap(), listen, &[]);
        let url = server.url();
        let namespace = |args: &[&str]| run(["namespace", "--server", &url].iter().chain(args));
        let id = "0123456789abcdef0123456789abcdef";

        let made = namespace(&["create", "a b/ü", "--id", id]);
        assert_eq!(text(&made.stdout), format!("created {id}  a b/ü\n"));
        assert!(made.status.success());
        assert_fails(&namespace(&["create", "a b/ü"]), "exists already");
        assert_fails(&namespace(&["create", "x", "--id", "zz"]), "32 hexadecimal digits");

        assert_eq!(text(&namespace(&["list"]).stdout), format!("{id}  a b/ü\n"));
        let json = format!("{{\"namespaces\":[{{\"id\":\"{id}\",\"title\":\"a b/ü\"}}]}}\n");
        assert_eq!(text(&namespace(&["list", "--json"]).stdout), json);

        let renamed = namespace(&["rename", "a b/ü", "c", "--json"]);
        assert_eq!(text(&renamed.stdout), format!("{{\"id\":\"{id}\",\"title\":\"c\"}}\n"));
        assert_fails(&namespace(&["rename", "a b/ü", "d"]), "a b/ü");

        // The test has no terminal for the confirmation.
        assert_fails(&namespace(&["drop", "c"]), "--yes");
        assert_eq!(text(&namespace(&["drop", "c", "--yes"]).stdout), format!("dropped {id}  c\n"));
        assert_fails(&namespace(&["drop", "c", "--yes"]), "no namespace");
        assert_eq!(text(&namespace(&["list"]).stdout), "");

        // A dropped namespace may be created again, and merged into another one.
        assert!(namespace(&["create", "c", "--id", id]).status.success());
        assert!(namespace(&["create", "d"]).status.success());
        assert_fails(&namespace(&["merge", "c", id]), "the same one");
        let merged = namespace(&["merge", "c", "d"]);
        let merged = text(&merged.stdout);
        assert!(merged.starts_with("moved 0 entries into "), "{merged}");
        assert!(merged.ends_with(&format!("\ndropped {id}  c\n")), "{merged}");
    }
}

#[test]
fn the_command_or_the_server_rejects_an_invalid_name() {
    let server = Server::start(&[]);
    let url = server.url();
    let namespace = |args: &[&str]| run(["namespace", "--server", &url].iter().chain(args));
    for args in [&["create", ""][..], &["rename", "", "x"], &["rename", "x", ""], &["drop", ""]] {
        let output = namespace(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains("a value is required for"), "{output:?}");
    }
    assert_fails(&namespace(&["create", &"x".repeat(100_000)]), "longer than 65536 bytes");
    assert_fails(&namespace(&["create", &"x".repeat(513)]), "512");
    assert_fails(&namespace(&["drop", &"x".repeat(90_000), "--yes"]), "");
}

#[test]
fn without_a_server_a_command_explains_how_to_start_one() {
    let directory = TempDir::new().unwrap();
    let nowhere = format!("unix:{}", directory.path().join("none").display());
    // The port was free a moment ago: it is bound and released here.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for server in [nowhere, format!("http://{free}")] {
        let output = run(["namespace", "list", "--server", &server]);
        assert_fails(&output, &format!("no Waypost server at {server}: start one with"));
    }
}

#[test]
fn a_command_detects_a_server_that_is_not_waypost() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let other = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        assert_ne!(stream.read(&mut [0; 1024]).unwrap(), 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").unwrap();
    });
    let output = run(["namespace", "list", "--server", &url]);
    other.join().unwrap();
    assert_fails(&output, "is not that of a Waypost server");
}

#[test]
fn load_is_put_on_a_server_and_its_times_are_printed() {
    let server = Server::start(&[]);
    let url = server.url();
    let small = ["--duration", "200ms", "--connections", "3", "--keys", "1100", "--size", "10"];
    let bench = |args: &[&str]| run(["bench", &url].iter().chain(&small).chain(args));
    let output = bench(&["--reads", "50"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[0].contains("p99.9") && lines[1].starts_with("get") && lines[2].starts_with("put")
    );
    let output = bench(&["--reads", "100", "--rate", "100", "--json"]);
    let json: serde_json::Value = serde_json::from_str(text(&output.stdout)).expect("JSON");
    assert_eq!((&json["errors"], &json["put"]["requests"]), (&0.into(), &0.into()), "{json}");
    assert!(json["get"]["requests"].as_u64().is_some_and(|requests| requests <= 20), "{json}");
    let listed = run(["kv", "list", "waypost-bench", "--server", &url]);
    assert_eq!(text(&listed.stdout).lines().count(), 1100);
    drop(server);
    assert_fails(&bench(&[]), "start one with `waypost serve`");
}

#[test]
fn completions_and_man_pages_come_from_the_help() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(["completions", shell]);
        assert!(output.status.success() && text(&output.stdout).contains("dry-run"), "{shell}");
    }
    let directory = TempDir::new().unwrap();
    let pages = directory.path().join("man/man1");
    let output = run(["man", pages.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = std::fs::read_to_string(pages.join("waypost-kv-import.1")).unwrap();
    assert!(page.contains("resume"), "{page}");
    assert_fails(&run(["man", "/proc/none"]), "can't write to /proc/none");
}

#[test]
fn help_shows_environment_variables_and_defaults() {
    let help = run(["serve", "--help"]);
    assert!(help.status.success());
    for expected in ["127.0.0.1:8420", "WAYPOST_DATA", "--idle-timeout", "relaxed:100ms", "Ctrl-C"]
    {
        assert!(text(&help.stdout).contains(expected), "{expected}");
    }
    assert!(text(&run(["namespace", "drop", "--help"]).stdout).contains("--yes"));
    assert_eq!(
        text(&run(["--version"]).stdout).trim(),
        concat!("waypost ", env!("CARGO_PKG_VERSION"))
    );
}
