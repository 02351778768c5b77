//! Stopping a server: the drain, the second signal, and the files that remain.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    process::Command,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    http::Peer,
    process::{PATIENCE, Server},
};

const LIVE: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
const READY: &str = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";

/// A put whose head was accepted and whose body is still to be sent.
fn begin_put(server: &Server) -> Peer<std::net::TcpStream> {
    let mut peer = server.connect();
    peer.send("PUT /binding/n/k HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n");
    peer.send("Expect: 100-continue\r\n\r\n");
    assert_eq!(peer.response().status, 100);
    peer
}

#[test]
fn a_stop_finishes_requests_and_closes_idle_connections() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start(&["--namespaces", "n"]);
        let mut idle = server.connect();
        assert_eq!(idle.request(LIVE).status, 200);
        let mut silent = server.connect();
        let mut put = begin_put(&server);
        server.signal(signal);
        assert_eq!(idle.rest(), "");
        assert_eq!(silent.rest(), "");
        assert!(server.is_running());
        let response = put.request("vvvvvv");
        assert_eq!((response.status, response.header("connection")), (200, Some("close")));
        assert_eq!(put.rest(), "");
        assert_eq!(server.wait().code(), Some(0));
        assert!(server.try_connect().is_err());
        // The last acknowledged write is durable.
        let server = Server::start_in(server.into_directory(), "127.0.0.1:0", &[]);
        let get = "GET /binding/n/k HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(server.connect().request(get).body, "vvvvvv");
    }
}

#[test]
fn a_stop_keeps_the_counters_of_rate_limits() {
    let check = r#"{"namespace":"n","key":"a","limit":1,"period":"700d"}"#;
    let length = check.len();
    let request =
        format!("POST /ratelimit HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{check}");
    let server = Server::start(&[]);
    assert!(server.connect().request(&request).body.contains(r#""success":true"#));
    let server = Server::start_in(server.stop(), "127.0.0.1:0", &[]);
    assert!(server.connect().request(&request).body.contains(r#""success":false"#));
}

#[test]
fn a_hangup_does_not_shorten_the_drain() {
    let mut server = Server::start(&["--namespaces", "n"]);
    let mut put = begin_put(&server);
    server.signal(Signal::TERM);
    server.await_log("draining");
    server.signal(Signal::HUP);
    assert_eq!(put.request("vvvvvv").status, 200);
    assert_eq!(server.wait().code(), Some(0));
    assert!(!server.log().contains("stopping at once"), "{}", server.log());
}

#[test]
#[cfg(target_os = "linux")]
fn under_nohup_a_hangup_reloads_and_stops_nothing() {
    let mut command = Command::new("sh");
    command.env_clear().args(["-c", r#"trap '' HUP; exec "$0" "$@""#]);
    command.arg(env!("CARGO_BIN_EXE_waypost")).args(["serve", "--listen", "127.0.0.1:0"]);
    let mut server = Server::start_with(command, TempDir::new().unwrap(), &[]);
    server.signal(Signal::HUP);
    server.await_log("reloaded the configuration");
    assert_eq!(server.connect().request(READY).status, 200);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_server_whose_log_nobody_can_read_goes_on() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let listen = format!("unix:{}", path.display());
    let data = directory.path().join("data");
    let mut command = crate::process::waypost(["serve", "--listen", &listen, "--data"]);
    let mut child = command.arg(data).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    let mut connect = || {
        for _ in 0..3000 {
            if let Ok(stream) = UnixStream::connect(&path) {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                return Peer::new(stream);
            }
            assert!(child.try_wait().unwrap().is_none(), "the server has ended");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("the server does not listen");
    };
    assert_eq!(connect().request(LIVE).status, 200);
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_log_shows_the_number_of_draining_connections() {
    for count in [0, 1, 2] {
        let server = Server::start(&[]);
        let mut peers: Vec<_> = (0..count).map(|_| server.connect()).collect();
        for peer in &mut peers {
            assert_eq!(peer.request(LIVE).status, 200);
        }
        let log = server.into_log();
        assert!(log.contains(&format!("connections={count}\n")), "{log}");
    }
}

#[test]
fn readyz_fails_at_once_and_other_requests_succeed_during_the_notice() {
    let mut server = Server::start(&["--drain-notice", "1h", "--namespaces", "n"]);
    let mut peer = server.connect();
    assert_eq!(peer.request(READY).status, 200);
    server.signal(Signal::TERM);
    let unready = loop {
        let response = peer.request(READY);
        if response.status != 200 {
            break response;
        }
    };
    assert_eq!(unready.status, 503);
    assert!(unready.body.contains("draining"), "{}", unready.body);
    let mut new = server.connect();
    assert_eq!(new.request(LIVE).status, 200);
    let put = "PUT /binding/n/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nv";
    assert_eq!(new.request(put).status, 200);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let mut server = Server::start(&["--namespaces", "n"]);
    let mut put = begin_put(&server);
    let mut idle = server.connect();
    assert_eq!(idle.request(LIVE).status, 200);
    server.signal(Signal::INT);
    assert_eq!(idle.rest(), "");
    assert!(server.is_running());
    server.signal(Signal::INT);
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(put.rest(), "");
    assert!(server.log().contains("stopping at once"), "{}", server.log());
}

#[test]
fn a_stop_loses_no_write_in_relaxed_durability() {
    for notice in ["0s", "1h"] {
        let settings =
            ["--namespaces", "n", "--durability", "relaxed:1h", "--drain-notice", notice];
        let mut server = Server::start(&settings);
        let put = "PUT /binding/n/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nv";
        assert_eq!(server.connect().request(put).status, 200);
        let get = "GET /binding/n/k HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(server.connect().request(get).body, "v");
        server.signal(Signal::TERM);
        if notice == "1h" {
            server.await_log("draining");
            server.signal(Signal::INT);
        }
        assert_eq!(server.wait().code(), Some(0), "{}", server.log());
        let server = Server::start_in(server.into_directory(), "127.0.0.1:0", &[]);
        assert_eq!(server.connect().request(get).body, "v");
    }
}

#[test]
fn requests_that_outlast_the_drain_are_cut() {
    let mut server = Server::start(&["--drain", "200ms", "--namespaces", "n"]);
    let mut put = begin_put(&server);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(put.rest(), "");
    assert!(server.log().contains("requests that still run"), "{}", server.log());
}

#[test]
fn a_socket_has_its_mode_whatever_the_umask() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let listen = format!("unix:{}", path.display());
    for (umask, args, mode) in [
        ("000", &[][..], 0o660),
        ("022", &[], 0o660),
        ("077", &[], 0o660),
        ("000", &["--socket-mode", "0600"], 0o600),
        ("077", &["--socket-mode", "0666"], 0o666),
    ] {
        let mut command = Command::new("sh");
        let script = format!("umask {umask}; exec \"$0\" \"$@\"");
        command.env_clear().args(["-c", &script, env!("CARGO_BIN_EXE_waypost")]);
        command.args(["serve", "--listen", &listen]);
        let server = Server::start_with(command, TempDir::new().unwrap(), args);
        let permissions = fs::metadata(&path).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, mode, "umask {umask}, {args:?}");
        server.stop();
    }
}

#[test]
fn a_server_removes_its_socket_file() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let listen = format!("unix:{}", path.display());
    let start = || Server::start_in(TempDir::new().unwrap(), &listen, &[]);
    let send = || {
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Peer::new(stream).request(LIVE).status
    };
    let mut server = start();
    assert_eq!(send(), 200);
    let other = crate::process::run(["serve", "--listen", &listen]);
    assert!(String::from_utf8(other.stderr).unwrap().contains("is in use"));
    assert_eq!(send(), 200);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    assert!(!path.exists());

    // A killed server leaves its socket file behind, and the next server replaces it.
    let mut server = start();
    server.signal(Signal::KILL);
    server.wait();
    assert!(path.exists());
    drop(start());

    fs::remove_file(&path).unwrap();
    fs::write(&path, "not a socket").unwrap();
    let refused = crate::process::run(["serve", "--listen", &listen]);
    assert!(String::from_utf8(refused.stderr).unwrap().contains("is not a socket"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "not a socket");
}
