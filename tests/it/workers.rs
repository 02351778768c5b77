//! The test Worker on real runtimes. Its cases are in `tests/clients/worker/cases`; each runs by
//! its name.

use std::path::Path;

use kv_core::{Attributes, Metadata, Store};
use waypost_tests::{
    Address, Home, Server,
    clients::{Clients, Workerd},
    random::noise,
    wait::{Stopwatch, unix_seconds},
    workerd::Worker,
};

use crate::home;

/// The id in the Worker's configuration.
const ID: &str = "00112233445566778899aabbccddeeff";

/// The least number of cases for a binding with a whole namespace. It catches a forgotten import.
pub(crate) const MIN_CASES: usize = 240;

pub(crate) fn clients() -> Option<&'static Clients> {
    Clients::get(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

/// Runs all cases of a binding, and fails with the names and errors of those that fail.
pub(crate) fn check(worker: &Worker, binding: &str, at_least: usize) {
    let cases = worker.cases(binding);
    assert!(cases.len() >= at_least, "{binding} has only {} cases", cases.len());
    let mut failures = Vec::new();
    for case in &cases {
        let clock = Stopwatch::start();
        match worker.run(binding, case) {
            Ok(()) => println!("{binding}: ok: {case} ({} ms)", clock.elapsed().as_millis()),
            Err(why) => failures.push(format!("{binding}: FAILED: {case}: {why}")),
        }
    }
    let count = failures.len();
    assert!(count == 0, "{count} of {} cases failed:\n{}", cases.len(), failures.join("\n"));
}

/// A server with the namespaces of the Worker's configuration, and the Worker in a workerd.
struct Site {
    worker: Worker,
    _server: Server,
    _home: Home,
}

impl Site {
    fn over_tcp(workerd: &Workerd) -> Site {
        let home = home();
        let server = home.serve(&[]);
        Site::new(workerd, home, server)
    }

    fn over_unix_socket(workerd: &Workerd) -> Site {
        let home = home();
        let server = home.serve_unix(&[]);
        Site::new(workerd, home, server)
    }

    fn new(workerd: &Workerd, home: Home, server: Server) -> Site {
        for (title, id) in [("by-header", None), ("by-id", Some(ID)), ("by path/ü", None)] {
            server.create_namespace(title, id);
        }
        let worker = worker(workerd, server.address());
        Site { worker, _server: server, _home: home }
    }
}

fn worker(workerd: &Workerd, server: &Address) -> Worker {
    worker_with(workerd, server, server)
}

/// Runs the Worker in a workerd. `silent` is the address of a server that accepts connections and
/// never responds.
pub(crate) fn worker_with(workerd: &Workerd, server: &Address, silent: &Address) -> Worker {
    let services = ["header", "token", "id", "server", "unknown", "expiring", "limits"];
    let mut external = services.map(|name| (name, server.to_string())).to_vec();
    external.push(("silent", silent.to_string()));
    Worker::in_workerd(workerd, &external)
}

/// Serves a store whose entries expire after a few seconds.
fn expiring(workerd: &Workerd) {
    let home = home();
    let store = Store::open(home.data()).expect("a new store opens");
    let namespace = store.create_namespace("expiring").expect("a new namespace can be created").id;
    let expires_at = Some(unix_seconds() + 10);
    for (key, value) in [("small", noise(1, 100)), ("large", noise(2, 300_000))] {
        let metadata = Metadata::new(format!(r#"{{"of":"{key}"}}"#)).ok();
        let attributes = Attributes { metadata, expires_at };
        store.put_with(namespace, key, value, attributes).expect("the put succeeds");
    }
    store.close().expect("the store closes");
    drop(store);
    let server = home.serve(&[]);
    check(&worker(workerd, server.address()), "EXPIRING", 2);
}

/// Kills and restarts the server while its Worker keeps running.
fn restart(workerd: &Workerd) {
    let home = home();
    let server = home.serve_unix(&[]);
    server.create_namespace("by-id", Some(ID));
    let worker = worker(workerd, server.address());
    let run = |case: &str| worker.run("RESTART", &format!("restart: {case}"));
    assert_eq!(run("the server is up"), Ok(()));
    server.kill();
    assert_eq!(run("the server is down"), Ok(()));
    let server = home.serve_unix(&[]);
    assert_eq!(run("the server is up again"), Ok(()));
    assert!(server.stop().success());
}

/// The tests of one workerd version.
macro_rules! versions {
    ($($module:ident: $name:literal,)*) => {$(
        mod $module {
            use super::*;

            fn workerd() -> Option<Workerd> {
                clients()?.workerd($name)
            }

            #[test]
            fn every_case_passes_by_header() {
                let Some(workerd) = workerd() else { return };
                check(&Site::over_tcp(&workerd).worker, "HEADER", MIN_CASES);
            }

            #[test]
            fn every_case_passes_with_a_token_and_none_without() {
                let Some(workerd) = workerd() else { return };
                let home = home();
                let admin = crate::admin_token_file(&home);
                let server = home.serve(&["--namespaces", "by-header", "--admin-token-file", &admin]);
                let worker = worker(&workerd, server.address());
                check(&worker, "NO_TOKEN", 3);
                check(&worker, "TOKEN", MIN_CASES);
            }

            #[test]
            fn every_case_passes_by_path_through_a_worker_in_front() {
                let Some(workerd) = workerd() else { return };
                check(&Site::over_tcp(&workerd).worker, "PATH", MIN_CASES);
            }

            #[test]
            fn every_case_passes_by_id_over_a_unix_socket() {
                let Some(workerd) = workerd() else { return };
                check(&Site::over_unix_socket(&workerd).worker, "ID", MIN_CASES);
            }

            #[test]
            fn an_unknown_namespace_gets_an_error_with_a_remedy() {
                let Some(workerd) = workerd() else { return };
                let site = Site::over_tcp(&workerd);
                check(&site.worker, "UNKNOWN", 5);
                check(&site.worker, "UNKNOWN_PATH", 5);
            }

            #[test]
            fn a_worker_reads_its_writes_after_the_server_is_killed_and_restarted() {
                let Some(workerd) = workerd() else { return };
                restart(&workerd);
            }

            #[test]
            fn a_worker_sees_entries_expire() {
                let Some(workerd) = workerd() else { return };
                expiring(&workerd);
            }
        }
    )*};
}

versions! {
    workerd_2026_08: "workerd-2026-08",
    workerd_2026_11: "workerd-2026-11",
}

#[test]
fn every_case_passes_through_miniflares_remote_proxy() {
    let Some(miniflare) = clients().and_then(Clients::miniflare_4) else { return };
    let home = home();
    let server = home.serve(&[]);
    server.create_namespace("proxied", None);
    let connection = format!("http://{}/binding/proxied?token=unused", server.address());
    check(&Worker::in_miniflare(&miniflare, &["proxy", &connection]), "PROXY", MIN_CASES);
}
