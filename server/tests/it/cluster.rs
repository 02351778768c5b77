//! A cluster from the command line: made, invited to, joined.

use std::{net::UdpSocket, path::Path, process::Output};

use tempfile::TempDir;

use crate::process::{Server, run, waypost};

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("text")
}

/// A UDP port that was free a moment ago: bound, asked for and given back.
fn free_port() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.local_addr().expect("it has one").to_string()
}

fn cluster(command: &str, args: &[&str], directory: &Path) -> Output {
    let data = directory.join("data");
    waypost(["cluster", command])
        .args(args)
        .arg("--data")
        .arg(data)
        .output()
        .expect("the binary runs")
}

fn init(directory: &Path) -> Output {
    let listen = free_port();
    cluster(
        "init",
        &["--name", "prod", "--location", "fra", "--cluster-listen", &listen],
        directory,
    )
}

/// Prints a token and nothing else on stdout.
fn token(args: &[&str], directory: &Path) -> String {
    let output = cluster("invite", args, directory);
    assert!(output.status.success(), "{output:?}");
    let token = text(&output.stdout).strip_suffix('\n').expect("one line");
    assert!(token.starts_with("wp1-") && !token.contains(char::is_whitespace), "{token}");
    assert!(text(&output.stderr).contains("waypost serve --join TOKEN"), "{output:?}");
    token.to_owned()
}

#[test]
fn a_second_location_joins_by_three_commands() {
    let first = TempDir::new().unwrap();
    let made = init(first.path());
    assert!(made.status.success(), "{made:?}");
    for says in ["made the cluster ", "prod", "fra", "ca.key in a safe place", "cluster invite"] {
        assert!(text(&made.stdout).contains(says), "{says}: {made:?}");
    }
    // Before the server runs and while it does.
    let early = token(&["--expires", "30m"], first.path());
    let first = Server::start_in(first, "127.0.0.1:0", &[]);
    let token = token(&["--name", "ams"], first.directory.path());
    assert_ne!(token, early);

    let second = TempDir::new().unwrap();
    let listen = free_port();
    let join = ["--join", &token, "--cluster-listen", &listen];
    let second = Server::start_in(second, "127.0.0.1:0", &join);
    assert!(second.log().contains("joined the cluster prod as ams"), "{}", second.log());
    assert!(first.log().contains("the location ams is a member"), "{}", first.log());

    let second = Server::start_in(second.stop(), "127.0.0.1:0", &join);
    assert!(second.log().contains("a member of the cluster prod already"), "{}", second.log());
    let second = Server::start_in(second.stop(), "127.0.0.1:0", &[]);
    assert!(second.into_log().contains("stopped"));
    assert!(first.into_log().contains("stopped"));
}

#[test]
fn a_token_that_does_not_do_is_told_in_one_line_before_anything_is_served() {
    let first = TempDir::new().unwrap();
    assert!(init(first.path()).status.success());
    let token = token(&[], first.path());
    let joining = TempDir::new().unwrap();
    let data = joining.path().join("data").display().to_string();
    let typo =
        format!("{}{}", &token[..token.len() - 1], if token.ends_with('a') { 'b' } else { 'a' });
    let output = run(["serve", "--data", &data, "--join", &typo]);
    assert_eq!(output.status.code(), Some(1));
    let says = text(&output.stderr);
    assert!(says.contains("join: the token was mistyped or cut"), "{says}");
    assert!(!says.contains(&token[20..40]), "what is right of it stays a secret: {says}");

    // Nobody serves there: the port is closed, and the token is as good as before.
    let output = run(["serve", "--data", &data, "--listen", "127.0.0.1:0", "--join", &token]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("The token is as good as before"), "{output:?}");
    let output = run(["serve", "--data", &data, "--listen", "127.0.0.1:0"]);
    assert!(text(&output.stderr).contains("joining the cluster was not finished"), "{output:?}");
}

#[test]
fn what_a_cluster_command_can_not_do_it_says() {
    let directory = TempDir::new().unwrap();
    let fails = |output: Output, says: &str| {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(text(&output.stdout), "");
        let error = text(&output.stderr);
        assert!(error.lines().count() == 1 && error.contains(says), "{error}");
    };
    fails(cluster("invite", &[], directory.path()), "has no cluster: make one with");
    let nowhere = ["--name", "prod", "--cluster-listen", "127.0.0.1:0"];
    fails(cluster("init", &nowhere, directory.path()), "say --advertise HOST:PORT");
    assert!(init(directory.path()).status.success());
    fails(init(directory.path()), "has the files of a cluster already: nothing was changed");
}
