//! Limits in the configuration file, used by name.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use super::{PERIOD, check, get, post, remaining, send, succeeds, with};
use crate::process::{Server, run};

/// A configuration file with this text, and its path.
fn file(text: &str) -> (TempDir, String) {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let path = directory.path().join("waypost.toml");
    fs::write(&path, text).expect("the file can be written");
    let path = path.to_str().expect("the path is UTF-8").to_owned();
    (directory, path)
}

fn configured(text: &str) -> (TempDir, Server) {
    let (directory, path) = file(text);
    (directory, Server::start(&["--config", &path]))
}

#[test]
fn a_configured_limit_is_used_by_name() {
    let (_directory, server) = configured(&format!(
        "[limits.login]\nlimit = 2\nperiod = \"{PERIOD}\"\n\n\
         [limits.\"by address\"]\nlimit = 5\nperiod = 60.5\nalgorithm = \"gcra\"\nburst = 3\nnamespace = \"n\"\n"
    ));
    let login = json!({"name": "login", "key": "a"});
    assert!(succeeds(&server, &login));
    let response = get(&server, "name=login&key=a&status=429&headers=1");
    assert_eq!(response.status, 200);
    assert!(response.header("ratelimit-policy").unwrap().starts_with("\"login\";q=2;w="));
    assert_eq!(post(&server, "/ratelimit?status=429", &login).status, 429);
    // Its counters are in the namespace with its own name, or in the configured one.
    let described = json!({"namespace": "login", "key": "a", "limit": 2, "period": PERIOD});
    assert!(!succeeds(&server, &described));
    assert_eq!(send(&server, &json!({"name": "by address"}))["limit"], 3);
    let described = json!({
        "namespace": "n", "limit": 5, "period": "60500ms", "algorithm": "gcra", "burst": 3, "peek": true
    });
    assert_eq!(remaining(&server, &described), 2);
    for line in [
        r#"waypost_ratelimit_checks_total{limit="login"} "#,
        r#"waypost_ratelimit_checks_total{limit="by address"} "#,
        r#"waypost_ratelimit_denials_total{limit="login"} "#,
    ] {
        assert!(server.metric(line).is_some(), "{line}");
    }
}

#[test]
fn fields_beside_the_name_override_the_configuration() {
    let (_directory, server) =
        configured(&format!("[limits.login]\nlimit = 2\nperiod = \"{PERIOD}\"\n"));
    let login = json!({"name": "login", "key": "a"});
    assert_eq!(remaining(&server, &login), 1);
    assert_eq!(remaining(&server, &with(login.clone(), json!({"limit": 10}))), 8);
    assert_eq!(remaining(&server, &with(login.clone(), json!({"namespace": "tenant"}))), 1);
    assert_eq!(remaining(&server, &with(login.clone(), json!({"algorithm": "fixed"}))), 1);
    let changed = with(login, json!({"algorithm": "gcra", "limit": 9, "burst": 4}));
    assert_eq!(send(&server, &changed)["limit"], 4);
}

#[test]
fn a_limit_in_shadow_mode_reports_its_decision() {
    let (_directory, server) =
        configured(&format!("[limits.new]\nlimit = 1\nperiod = \"{PERIOD}\"\nshadow = true\n"));
    let new = json!({"name": "new", "key": "a"});
    assert_eq!(send(&server, &new).get("shadowed"), None);
    let shadowed = send(&server, &new);
    assert_eq!((&shadowed["success"], &shadowed["shadowed"]), (&json!(true), &json!(true)));
    assert_eq!(post(&server, "/ratelimit?status=429", &new).status, 200);
    let label = |name: &str| format!("waypost_ratelimit_{name}_total{{limit=\"new\"}} ");
    for (name, value) in [("checks", "3"), ("denials", "0"), ("shadow_denials", "2")] {
        assert_eq!(server.metric(&label(name)).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn an_invalid_limit_is_reported_with_its_line() {
    for (text, line, expected) in [
        ("[limits.a]\nlimit = 1\n", 1, "`period` is missing: write `period`, or `unit`"),
        ("\n[limits.a]\nperiod = 60\n", 2, "missing field `limit`"),
        ("[limits.a]\nlimit = -1\nperiod = 60\n", 2, "`limit` is -1: use 0 to 4294967295"),
        ("[limits.a]\nlimit = \"1\"\nperiod = 60\n", 2, "string"),
        ("[limits.a]\nlimit = \"1\"\nperiod = 60\n", 2, "`limit` as a whole number from 0 to"),
        (
            "[limits.a]\nlimit = 1\nperiod = 60\nalgorithm = \"gcra\"\nburst = -1\n",
            5,
            "`burst` is -1: use 0 to 4294967295",
        ),
        ("[limits.a]\nlimit = 1\nperiod = \"1 fortnight\"\n", 3, "500ms"),
        ("[limits.a]\nlimit = 1\nperiod = -5\n", 3, "-5"),
        ("[limits.a]\nlimit = 1\nperiod = 0\n", 1, "a period is a whole number"),
        ("[limits.a]\nlimit = 4000000000\nperiod = 1\n", 1, "The algorithm \"fixed\" counts up to"),
        ("[limits.a]\nlimit = 1\nperiod = 60\nalgorithm = \"leaky\"\n", 4, "sliding, fixed, gcra"),
        (
            "[limits.a]\nlimit = 1\nperiod = 60\nburst = 5\n",
            1,
            "only the algorithm \"gcra\" has a burst",
        ),
        ("[limits.a]\nlimit = 1\nperiod = 60\nshadow = 1\n", 4, "bool"),
        ("[limits.a]\nlimit = 1\nperiod = 60\nperoid = 60\n", 4, "peroid"),
        ("data = \"d\"\n[limits]\na = 5\n", 3, "a limit"),
        ("[limits.\"\"]\nlimit = 1\nperiod = 60\n", 1, "can't be the name of a limit"),
        ("limiter-memory = \"1KiB\"\n", 1, "65536"),
        ("top-denied-keys = 101\n", 1, "0 to 100"),
    ] {
        let (_directory, path) = file(text);
        let output = run(["serve", "--config", &path]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text:?}");
        assert!(error.starts_with(&format!("waypost: {path}:{line}: ")), "{text:?}: {error}");
        assert!(error.contains(expected) && error.lines().count() == 1, "{text:?}: {error}");
    }
}

#[test]
fn the_memory_of_the_counters_is_configurable() {
    let server = Server::start(&["--limiter-memory", "64KiB"]);
    let capacity: u64 = server.metric("waypost_limiter_capacity ").unwrap().parse().unwrap();
    assert!((1024..=4096).contains(&capacity), "{capacity}");
    for n in 0..50 {
        assert!(succeeds(&server, &check(&n.to_string(), 1)));
    }
}
