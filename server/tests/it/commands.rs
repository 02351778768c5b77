//! The client commands: what they print, and how they fail.

use std::process::Output;

use tempfile::TempDir;

use crate::process::{Server, run};

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("text")
}

/// Fails as a client command should: nothing on stdout, one line on stderr.
fn assert_fails(output: &Output, says: &str) {
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let error = text(&output.stderr);
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.starts_with("waypost: ") && error.contains(says), "{error}");
}

#[test]
fn namespaces_are_made_listed_renamed_and_dropped() {
    let directory = TempDir::new().unwrap();
    let socket = format!("unix:{}", directory.path().join("socket").display());
    for listen in ["127.0.0.1:0", &socket] {
        let server = Server::start_in(TempDir::new().unwrap(), listen, &[]);
        let url = server.url();
        let ask = |args: &[&str]| run(["namespace", "--server", &url].iter().chain(args));
        let id = "0123456789abcdef0123456789abcdef";

        let made = ask(&["create", "a b/ü", "--id", id]);
        assert_eq!(text(&made.stdout), format!("created {id}  a b/ü\n"));
        assert!(made.status.success());
        assert_fails(&ask(&["create", "a b/ü"]), "exists already");
        assert_fails(&ask(&["create", "x", "--id", "zz"]), "32 hexadecimal digits");

        assert_eq!(text(&ask(&["list"]).stdout), format!("{id}  a b/ü\n"));
        let json = format!("{{\"namespaces\":[{{\"id\":\"{id}\",\"title\":\"a b/ü\"}}]}}\n");
        assert_eq!(text(&ask(&["list", "--json"]).stdout), json);

        let renamed = ask(&["rename", "a b/ü", "c", "--json"]);
        assert_eq!(text(&renamed.stdout), format!("{{\"id\":\"{id}\",\"title\":\"c\"}}\n"));
        assert_fails(&ask(&["rename", "a b/ü", "d"]), "a b/ü");

        // Nobody is at a terminal here.
        assert_fails(&ask(&["drop", "c"]), "--yes");
        assert_eq!(text(&ask(&["drop", "c", "--yes"]).stdout), format!("dropped {id}  c\n"));
        assert_fails(&ask(&["drop", "c", "--yes"]), "no namespace");
        assert_eq!(text(&ask(&["list"]).stdout), "");
    }
}

#[test]
fn a_name_that_cannot_be_is_told_by_the_command_or_by_the_server() {
    let server = Server::start(&[]);
    let url = server.url();
    let ask = |args: &[&str]| run(["namespace", "--server", &url].iter().chain(args));
    for args in [&["create", ""][..], &["rename", "", "x"], &["rename", "x", ""], &["drop", ""]] {
        let output = ask(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains("a value is required for"), "{output:?}");
    }
    assert_fails(&ask(&["create", &"x".repeat(100_000)]), "512");
    assert_fails(&ask(&["create", &"x".repeat(513)]), "512");
    assert_fails(&ask(&["drop", &"x".repeat(90_000), "--yes"]), "");
}

#[test]
fn without_a_server_a_command_says_how_to_get_one() {
    let directory = TempDir::new().unwrap();
    let nowhere = format!("unix:{}", directory.path().join("none").display());
    // A port that was free a moment ago: bound, asked for and given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for server in [nowhere, format!("http://{free}")] {
        let output = run(["namespace", "list", "--server", &server]);
        assert_fails(&output, &format!("no Waypost server at {server}: start one with"));
    }
}

#[test]
fn a_server_that_is_no_waypost_is_told_from_one() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stranger = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        assert_ne!(stream.read(&mut [0; 1024]).unwrap(), 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").unwrap();
    });
    let output = run(["namespace", "list", "--server", &url]);
    stranger.join().unwrap();
    assert_fails(&output, "is not that of a Waypost server");
}

#[test]
fn help_names_the_environment_and_the_defaults() {
    let help = run(["serve", "--help"]);
    assert!(help.status.success());
    for says in ["127.0.0.1:8420", "WAYPOST_DATA", "--idle-timeout", "relaxed:100ms", "Ctrl-C"] {
        assert!(text(&help.stdout).contains(says), "{says}");
    }
    assert!(text(&run(["namespace", "drop", "--help"]).stdout).contains("--yes"));
    assert_eq!(
        text(&run(["--version"]).stdout).trim(),
        concat!("waypost ", env!("CARGO_PKG_VERSION"))
    );
}
