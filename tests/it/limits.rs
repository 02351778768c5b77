//! Rate limits of the test Worker on real runtimes. The cases are in `tests/clients/worker/cases`,
//! in the files whose names begin with `limit`.

use std::{net::TcpListener, path::Path};

use waypost_tests::{
    Address, Home, Server,
    clients::{Miniflare, Workerd},
    workerd::Worker,
};

use crate::{
    home,
    workers::{MIN_CASES, check, clients, worker_with},
};

/// The least number of cases for a binding. It catches a forgotten import.
const MIN_LIMIT_CASES: usize = 51;

/// The number of cases with wrong options, which miniflare's own simulator passes, too.
const MIN_OPTION_CASES: usize = 8;

/// The namespace of the binding `PLUGIN`.
const PLUGGED_IN: &str = "plugged in/ü";

/// A server that accepts connections (its system does) and never responds.
struct Silent {
    _listener: TcpListener,
    address: Address,
}

impl Silent {
    fn new() -> Silent {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = Address::Tcp(listener.local_addr().expect("a bound socket has an address"));
        Silent { _listener: listener, address }
    }
}

/// The flags of a server with the limits that the cases use.
fn flags() -> [String; 2] {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/limits.toml");
    ["--config".into(), config.to_str().expect("a path in UTF-8").into()]
}

fn over_tcp(home: &Home) -> Server {
    let [config, path] = flags();
    home.serve(&[&config, &path])
}

fn over_unix_socket(home: &Home) -> Server {
    let [config, path] = flags();
    home.serve_unix(&[&config, &path])
}

/// Runs all cases of rate limits.
fn every_case(workerd: &Workerd, serve: fn(&Home) -> Server) {
    let (home, silent) = (home(), Silent::new());
    let server = serve(&home);
    let worker = worker_with(workerd, server.address(), &silent.address);
    check(&worker, "LIMITER", MIN_LIMIT_CASES);
}

fn run(worker: &Worker, case: &str) -> Result<(), String> {
    worker.run("THROWS", &format!("limit down: {case}"))
}

/// Stops the server while its Worker keeps running.
fn down(serve: fn(&Home) -> Server, start: impl FnOnce(&Address) -> Worker) {
    let home = home();
    let server = serve(&home);
    let worker = start(server.address());
    assert_eq!(run(&worker, "the server is up"), Ok(()));
    assert!(server.stop().success());
    assert_eq!(run(&worker, "the server is down"), Ok(()));
}

/// Stops and restarts the server while its Worker keeps running.
fn restart(start: impl FnOnce(&Address) -> Worker) {
    let home = home();
    let server = over_unix_socket(&home);
    let worker = start(server.address());
    assert_eq!(run(&worker, "the server is up"), Ok(()));
    assert!(server.stop().success());
    let server = over_unix_socket(&home);
    assert_eq!(run(&worker, "the server is up again and has kept its counts"), Ok(()));
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
            fn every_case_passes_over_tcp() {
                let Some(workerd) = workerd() else { return };
                every_case(&workerd, over_tcp);
            }

            #[test]
            fn every_case_passes_over_a_unix_socket() {
                let Some(workerd) = workerd() else { return };
                every_case(&workerd, over_unix_socket);
            }

            #[test]
            fn an_unknown_inner_binding_is_rejected() {
                let Some(workerd) = workerd() else { return };
                let error = Worker::error_of_workerd(&workerd, "wrong.capnp");
                let expected = "unknown inner bindings: [onerror]; the known ones are fetcher, namespace";
                assert!(error.contains(expected), "{error}");
            }

            #[test]
            fn on_error_decides_while_the_server_is_down() {
                let Some(workerd) = workerd() else { return };
                let silent = Silent::new();
                for serve in [over_tcp, over_unix_socket] {
                    down(serve, |server| worker_with(&workerd, server, &silent.address));
                }
            }

            #[test]
            fn a_worker_is_still_denied_after_the_server_restarts() {
                let Some(workerd) = workerd() else { return };
                let silent = Silent::new();
                restart(|server| worker_with(&workerd, server, &silent.address));
            }
        }
    )*};
}

versions! {
    workerd_2026_08: "workerd-2026-08",
    workerd_2026_11: "workerd-2026-11",
}

/// The address in the form that the plugin expects.
fn url(address: &Address) -> String {
    match address {
        Address::Tcp(address) => format!("http://{address}"),
        Address::Unix(_) => address.to_string(),
    }
}

fn plugged_in(miniflare: &Miniflare, server: &Address, silent: &Silent) -> Worker {
    Worker::in_miniflare(miniflare, &["plugin", &url(server), &url(&silent.address)])
}

/// Runs the cases of these bindings through the plugin, and requires the given number of cases of
/// each.
fn every_case_plugged_in(
    miniflare: &Miniflare,
    serve: fn(&Home) -> Server,
    bindings: &[(&str, usize)],
) {
    let (home, silent) = (home(), Silent::new());
    let server = serve(&home);
    server.create_namespace(PLUGGED_IN, None);
    let worker = plugged_in(miniflare, server.address(), &silent);
    for (binding, at_least) in bindings {
        check(&worker, binding, *at_least);
    }
}

/// The kind of a binding, its options, and the error that they cause.
const UNKNOWN_OPTIONS: [(&str, &str, &str); 3] = [
    (
        "waypost-ratelimit",
        r#"{"limit":1,"period":60,"onerror":"allow"}"#,
        "unknown options: [onerror]; the known ones are server, namespace_id, simple, name",
    ),
    (
        "waypost-ratelimit",
        r#"{"simple":{"limit":1,"perod":60}}"#,
        "unknown options: [simple.perod]; the known ones are simple.limit, simple.period",
    ),
    (
        "waypost-kv",
        r#"{"namespace":"a","sever":"x"}"#,
        "unknown options: [sever]; the known ones are server, namespace, namespace_id",
    ),
];

/// The tests of one miniflare version, with our npm package.
macro_rules! miniflares {
    ($($version:ident,)*) => {$(
        mod $version {
            use super::*;

            fn miniflare() -> Option<Miniflare> {
                clients()?.$version().map(Miniflare::with_bindings)
            }

            #[test]
            fn every_case_of_rate_limits_passes_over_tcp() {
                let Some(miniflare) = miniflare() else { return };
                every_case_plugged_in(&miniflare, over_tcp, &[("LIMITER", MIN_LIMIT_CASES)]);
            }

            #[test]
            fn every_case_of_rate_limits_passes_over_a_unix_socket() {
                let Some(miniflare) = miniflare() else { return };
                let bindings = [("LIMITER", MIN_LIMIT_CASES)];
                every_case_plugged_in(&miniflare, over_unix_socket, &bindings);
            }

            #[test]
            fn every_case_of_kv_passes_over_tcp() {
                let Some(miniflare) = miniflare() else { return };
                let bindings = [("PLUGIN", MIN_CASES), ("UNKNOWN", 5)];
                every_case_plugged_in(&miniflare, over_tcp, &bindings);
            }

            #[test]
            fn every_case_of_kv_passes_over_a_unix_socket() {
                let Some(miniflare) = miniflare() else { return };
                let bindings = [("PLUGIN", MIN_CASES), ("UNKNOWN", 5)];
                every_case_plugged_in(&miniflare, over_unix_socket, &bindings);
            }

            #[test]
            fn its_own_simulator_reports_wrong_options_with_the_same_text() {
                let Some(miniflare) = miniflare() else { return };
                let bindings = [("SIMULATOR", MIN_OPTION_CASES)];
                every_case_plugged_in(&miniflare, over_tcp, &bindings);
            }

            #[test]
            fn an_unknown_option_is_rejected() {
                let Some(miniflare) = miniflare() else { return };
                for (kind, options, expected) in UNKNOWN_OPTIONS {
                    let error = Worker::error_of_miniflare(&miniflare, kind, options);
                    assert!(error.contains("binding WRONG: "), "{error}");
                    assert!(error.contains(expected), "{expected:?} is not in {error}");
                }
            }

            #[test]
            fn on_error_decides_while_the_server_is_down() {
                let Some(miniflare) = miniflare() else { return };
                let silent = Silent::new();
                for serve in [over_tcp, over_unix_socket] {
                    down(serve, |server| plugged_in(&miniflare, server, &silent));
                }
            }

            #[test]
            fn a_worker_is_still_denied_after_the_server_restarts() {
                let Some(miniflare) = miniflare() else { return };
                let silent = Silent::new();
                restart(|server| plugged_in(&miniflare, server, &silent));
            }
        }
    )*};
}

miniflares! {
    miniflare_4,
    miniflare_5,
}
