//! Rate-limit counters across restarts: a clean stop keeps them, a crash loses them.

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

/// Uses up one counter of each algorithm.
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
    // Once more, with the requests since then.
    let server = start_in(server.stop());
    assert!(!succeeds(&server, &check("a", 1)));
    assert!(!succeeds(&server, &check("b", 1)));
    assert!(!server.log().contains("WARN"), "{}", server.log());
}

#[test]
fn a_crash_loses_all_counters_even_those_that_an_earlier_stop_kept() {
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
fn counters_survive_a_changed_limit_and_a_changed_table_size() {
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
fn unreadable_counters_start_from_zero_with_a_warning() {
    let server = Server::start(&[]);
    use_up(&server);
    let directory = server.stop();
    let store = Store::open(directory.path().join("data")).unwrap();
    let mut saved =
        store.local("ratelimit").unwrap().expect("the counters are saved").read().unwrap();
    *saved.last_mut().expect("the saved counters are not empty") ^= 1;
    store.save_local("ratelimit", [saved]).unwrap();
    drop(store);
    let server = start_in(directory);
    assert!(server.log().contains("counters of rate limits start from zero"), "{}", server.log());
    use_up(&server);
    // The unreadable counters are dropped, and new ones are saved in their place.
    let server = start_in(server.stop());
    assert!(!succeeds(&server, &check("a", 1)));
}

#[test]
fn a_server_without_checks_saves_nothing() {
    let directory = Server::start(&[]).stop();
    let store = Store::open(directory.path().join("data")).unwrap();
    assert!(store.local("ratelimit").unwrap().is_none());
}
