//! Counters over the end of a server: a clean stop keeps them, a crash forgets them.

use std::fs;

use kv_core::Store;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::{PERIOD, check, remaining, succeeds, with};
use crate::process::Server;

fn start_in(directory: TempDir) -> Server {
    Server::start_in(directory, "127.0.0.1:0", &[])
}

fn kill(mut server: Server) -> TempDir {
    server.signal(Signal::KILL);
    assert!(!server.wait().success());
    server.into_directory()
}

/// Uses up the counters of all algorithms.
fn use_up(server: &Server) {
    for check in all() {
        assert!(succeeds(server, &check), "{check}");
        assert!(!succeeds(server, &check), "{check}");
    }
}

fn all() -> [serde_json::Value; 3] {
    ["sliding", "fixed", "gcra"].map(|name| with(check("a", 1), json!({"algorithm": name})))
}

#[test]
fn a_clean_stop_keeps_the_counters() {
    let server = Server::start(&[]);
    use_up(&server);
    let server = start_in(server.stop());
    for check in all() {
        assert!(!succeeds(&server, &check), "{check}");
    }
    assert!(succeeds(&server, &check("b", 1)));
    // And again, with what has come since.
    let server = start_in(server.stop());
    assert!(!succeeds(&server, &check("a", 1)));
    assert!(!succeeds(&server, &check("b", 1)));
    assert!(!server.log().contains("WARN"), "{}", server.log());
}

#[test]
fn a_crash_forgets_the_counters_also_those_that_a_stop_before_it_kept() {
    let server = Server::start(&[]);
    use_up(&server);
    let server = start_in(kill(server));
    use_up(&server);
    let server = start_in(server.stop());
    assert!(!succeeds(&server, &check("a", 1)));
    let server = start_in(kill(server));
    use_up(&server);
}

#[test]
fn counters_go_on_under_a_limit_that_was_changed_and_in_a_table_of_another_size() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("waypost.toml");
    let write = |limit: u32| {
        let text = format!("[limits.login]\nlimit = {limit}\nperiod = \"{PERIOD}\"\n");
        fs::write(&file, text).unwrap();
    };
    let path = file.to_str().unwrap();
    let login = json!({"name": "login", "key": "a"});
    write(5);
    let server = Server::start(&["--config", path]);
    assert_eq!(remaining(&server, &with(login.clone(), json!({"cost": 4}))), 1);
    write(10);
    let args = ["--config", path, "--limiter-memory", "1MiB"];
    let server = Server::start_in(server.stop(), "127.0.0.1:0", &args);
    assert_eq!(remaining(&server, &login), 5);
    write(3);
    let server = Server::start_in(server.stop(), "127.0.0.1:0", &args);
    assert!(!succeeds(&server, &login));
}

#[test]
fn counters_that_can_t_be_read_start_from_zero_with_a_warning() {
    let server = Server::start(&[]);
    use_up(&server);
    let directory = server.stop();
    let store = Store::open(directory.path().join("data")).unwrap();
    let mut saved = store.local("ratelimit").unwrap().expect("they are saved").read().unwrap();
    *saved.last_mut().expect("they have bytes") ^= 1;
    store.save_local("ratelimit", [saved]).unwrap();
    drop(store);
    let server = start_in(directory);
    assert!(server.log().contains("counters of rate limits start from zero"), "{}", server.log());
    use_up(&server);
    // They were dropped, and others are saved in their place.
    let server = start_in(server.stop());
    assert!(!succeeds(&server, &check("a", 1)));
}

#[test]
fn a_server_that_checked_nothing_saves_nothing() {
    let directory = Server::start(&[]).stop();
    let store = Store::open(directory.path().join("data")).unwrap();
    assert!(store.local("ratelimit").unwrap().is_none());
}
