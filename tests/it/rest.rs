//! Clients of Cloudflare's API: the SDKs of npm and PyPI, unstorage and wrangler. Their calls are in
//! `tests/clients/rest.cjs` and `rest.py`.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};
use waypost_tests::{
    Home, Server,
    clients::{Clients, python_sdk},
};

use crate::{home, workers::clients};

/// A server, and the directory that it needs.
fn site() -> (Home, Server) {
    let home = home();
    let server = home.serve(&[]);
    (home, server)
}

/// Runs a client to its end. Its output names the cases that failed.
fn succeed(command: &mut Command) -> Output {
    let output = command.output().expect("the client runs");
    let (out, err) = (&output.stdout, &output.stderr);
    let (out, err) = (String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    assert!(output.status.success(), "{command:?}:\n{out}\n{err}");
    output
}

/// Runs the cases of an npm package.
fn npm(package: &str) {
    let Some(clients) = clients() else { return };
    let (_home, server) = site();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/rest.cjs");
    succeed(clients.node_22().arg(script).arg(package).arg(format!("http://{}", server.address())));
}

#[test]
fn the_npm_sdk_does_every_call() {
    npm("cloudflare");
}

#[test]
fn the_older_npm_sdk_does_every_call() {
    npm("cloudflare-4");
}

#[test]
fn unstorage_sets_reads_lists_and_clears_items() {
    npm("unstorage");
}

#[test]
fn the_python_sdk_does_every_call() {
    let Some(packages) = python_sdk(Path::new(env!("CARGO_TARGET_TMPDIR"))) else { return };
    let (_home, server) = site();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/rest.py");
    let url = format!("http://{}", server.address());
    succeed(Command::new("python3").env("PYTHONPATH", packages).arg(script).arg(url));
}

/// A wrangler with a home of its own.
struct Wrangler<'a> {
    clients: &'a Clients,
    server: &'a Server,
    home: tempfile::TempDir,
}

impl Wrangler<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.clients.wrangler();
        let url = format!("http://{}/client/v4", self.server.address());
        command
            .args(arguments)
            .current_dir(self.home.path())
            .env("HOME", self.home.path())
            .env("XDG_CONFIG_HOME", self.home.path())
            .env("CLOUDFLARE_API_BASE_URL", url)
            .env("CLOUDFLARE_API_TOKEN", "wpt_any")
            .envs([("WRANGLER_SEND_METRICS", "false"), ("WRANGLER_HIDE_BANNER", "true")])
            .env("CI", "1");
        command
    }

    /// Runs a command that must succeed, and returns what it prints.
    fn run(&self, arguments: &[&str]) -> String {
        let output = succeed(&mut self.command(arguments));
        String::from_utf8(output.stdout).expect("wrangler prints text")
    }

    /// Runs a command that prints JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.run(arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.home.path().join(name), bytes).expect("the file is written");
    }
}

#[test]
fn wrangler_does_every_call() {
    let Some(clients) = clients() else { return };
    if !clients.has_wrangler() {
        return;
    }
    let (_home, server) = site();
    let home = tempfile::tempdir().expect("a temporary directory");
    let wrangler = Wrangler { clients, server: &server, home };
    // Without an account id it looks for the account.
    wrangler.run(&["kv", "namespace", "create", "first"]);
    let listed = wrangler.json(&["kv", "namespace", "list"]);
    let id = listed[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(listed, json!([{"id": id, "title": "first", "supports_url_encoding": true}]));
    let taken = wrangler.command(&["kv", "namespace", "create", "first"]).output();
    assert!(!taken.expect("wrangler runs").status.success());
    wrangler.run(&["kv", "namespace", "rename", "first", "--new-name", "second"]);

    let at = ["--remote", "--namespace-id", &id];
    let with = |arguments: &[&'static str]| [arguments, &at[..]].concat();
    wrangler.run(&with(&["kv", "key", "put", "dir/leaf %ü", "hello", "--ttl", "120"]));
    let metadata = ["kv", "key", "put", "plain", "text", "--metadata", r#"{"a":[1]}"#];
    wrangler.run(&with(&metadata));
    let binary: Vec<u8> = (0..=255).collect();
    wrangler.write("binary", &binary);
    wrangler.run(&with(&["kv", "key", "put", "file", "--path", "binary"]));
    assert_eq!(wrangler.run(&with(&["kv", "key", "get", "dir/leaf %ü", "--text"])).trim(), "hello");
    let read = succeed(&mut wrangler.command(&with(&["kv", "key", "get", "file"])));
    assert_eq!(read.stdout, binary);
    let keys = wrangler.json(&with(&["kv", "key", "list"]));
    let names: Vec<_> = keys.as_array().expect("keys").iter().map(|key| &key["name"]).collect();
    assert_eq!(names, ["dir/leaf %ü", "file", "plain"]);
    assert_eq!(keys[2], json!({"name": "plain", "metadata": {"a": [1]}}));
    wrangler.run(&with(&["kv", "key", "delete", "plain"]));

    let pairs: Vec<_> =
        (0..1500).map(|at| json!({"key": format!("b{at:04}"), "value": "v"})).collect();
    let names: Vec<_> = (0..1500).map(|at| format!("b{at:04}")).collect();
    wrangler.write("pairs.json", json!(pairs).to_string().as_bytes());
    wrangler.write("names.json", json!(names).to_string().as_bytes());
    wrangler.run(&with(&["kv", "bulk", "put", "pairs.json"]));
    let keys = wrangler.json(&with(&["kv", "key", "list", "--prefix", "b"]));
    assert_eq!(keys.as_array().expect("keys").len(), 1500);
    wrangler.run(&with(&["kv", "bulk", "delete", "names.json", "--force"]));
    assert_eq!(wrangler.json(&with(&["kv", "key", "list", "--prefix", "b"])), json!([]));
    wrangler.run(&["whoami"]);
    wrangler.run(&["kv", "namespace", "delete", "--namespace-id", &id, "--skip-confirmation"]);
    assert_eq!(wrangler.json(&["kv", "namespace", "list"]), json!([]));
}
