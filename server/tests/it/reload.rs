//! A changed configuration is taken while the server runs.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Server, run};

/// A limit whose period ends in no test.
const TWO: &str = "[limits.login]\nlimit = 2\nperiod = \"700d\"\n";

/// A limit of Envoy.
const RLS: &str =
    "domain: d\ndescriptors:\n  - {key: one, rate_limit: {unit: year, requests_per_unit: 1}}\n";

/// A server with files that a test changes.
struct Reloaded {
    server: Server,
    files: TempDir,
}

impl Reloaded {
    /// Starts a server with this file, and with these arguments beside it.
    fn start(config: &str, args: &[&str]) -> Reloaded {
        let files = TempDir::new().expect("a temporary directory can be made");
        Reloaded::start_in(files, config, args)
    }

    fn start_in(files: TempDir, config: &str, args: &[&str]) -> Reloaded {
        let file = files.path().join("waypost.toml");
        fs::write(&file, config).expect("the file can be written");
        let server = Server::start(&[&["--config", file.to_str().expect("UTF-8")], args].concat());
        Reloaded { server, files }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Replaces a file at once, as careful programs do.
    fn replace(&self, name: &str, text: &str) {
        fs::write(self.path("new"), text).expect("the file can be written");
        fs::rename(self.path("new"), self.path(name)).expect("the file can be replaced");
    }

    /// Changes the file of `--config`, sends SIGHUP, and waits for the `n`th reload.
    fn reload(&self, config: &str, n: usize) {
        self.replace("waypost.toml", config);
        self.server.signal(Signal::HUP);
        self.server.await_log_times("reloaded the configuration", n);
    }

    fn check(&self, name: &str) -> u16 {
        let target = format!("/ratelimit?name={name}&key=a&status=429");
        self.get(&target, "x")
    }

    fn get(&self, target: &str, host: &str) -> u16 {
        let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        self.server.connect().request(head).status
    }

    fn metrics(&self) -> String {
        self.server.connect().request("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").body
    }

    fn has_alarm(&self) -> bool {
        let lasts = "waypost_alarm{kind=\"faulty-configuration\",of=\"here\"} 1\n";
        self.metrics().contains(lasts)
    }
}

#[test]
fn a_reload_keeps_counters_and_replaces_limits() {
    let one = Reloaded::start(TWO, &[]);
    assert_eq!([(); 3].map(|()| one.check("login")), [200, 200, 429]);
    // The same limit, a larger one, and one more.
    one.reload(&format!("{TWO}\n[limits.other]\nlimit = 1\nperiod = \"1d\"\n"), 1);
    assert_eq!((one.check("login"), one.check("other")), (429, 200));
    one.reload(&TWO.replace('2', "3"), 2);
    assert_eq!([one.check("login"), one.check("login")], [200, 429]);
    assert_eq!(one.check("other"), 400, "it is gone");
    let metrics = one.metrics();
    assert!(metrics.contains(r#"waypost_ratelimit_checks_total{limit="login"} 6"#), "{metrics}");
    assert!(!metrics.contains(r#"limit="other""#), "{metrics}");
    assert!(metrics.contains(r#"limit="""#), "{metrics}");
    one.server.stop();
}

#[test]
fn a_reload_applies_what_it_can_and_names_the_other_settings() {
    let one = Reloaded::start("", &[]);
    assert_eq!(one.get("/healthz", "kv.example.com"), 403);
    one.reload("allowed-hosts = [\"kv.example.com\"]\ncache = \"8MiB\"\nqueue = 3\n", 1);
    assert_eq!(one.get("/healthz", "kv.example.com"), 200);
    let log = one.server.log();
    assert!(log.contains("until the server is restarted: cache, queue"), "{log}");
    one.reload("", 2);
    assert_eq!(one.get("/healthz", "kv.example.com"), 403);
}

#[test]
fn a_faulty_file_keeps_the_former_configuration_until_it_is_mended() {
    let one = Reloaded::start(TWO, &[]);
    assert_eq!(one.check("login"), 200);
    one.replace("waypost.toml", &format!("{TWO}lisen = 1\n"));
    one.server.signal(Signal::HUP);
    let place = format!("{}:4: ", one.path("waypost.toml").display());
    one.server.await_log(&place);
    one.server.await_log("faulty-configuration");
    assert_eq!(one.check("login"), 200);
    assert!(one.has_alarm());
    // Without another signal.
    one.replace("waypost.toml", &TWO.replace('2', "9"));
    one.server.await_log_times("reloaded the configuration", 1);
    assert_eq!(one.check("login"), 200);
    one.server.await_log_times("faulty-configuration", 2);
    assert!(!one.has_alarm());
}

#[test]
fn changed_files_of_envoy_are_taken_without_a_signal() {
    let files = TempDir::new().expect("a temporary directory can be made");
    let yaml = files.path().join("rls.yaml");
    fs::write(&yaml, RLS).expect("the file can be written");
    let one = Reloaded::start_in(files, "", &["--rls-config", yaml.to_str().expect("UTF-8")]);
    assert!(one.metrics().contains(r#"limit="rls:d.one"#));
    one.replace("rls.yaml", &RLS.replace("one", "two"));
    one.server.await_log_times("took the changed limits of Envoy", 1);
    let metrics = one.metrics();
    assert!(metrics.contains(r#"limit="rls:d.two"#) && !metrics.contains(r#"limit="rls:d.one"#));
    one.replace("rls.yaml", "domain: d\ndescriptors:\n  - {kex: one}\n");
    one.server.await_log(&format!("{}:3: ", yaml.display()));
    one.server.await_log("faulty-configuration");
    assert!(one.metrics().contains(r#"limit="rls:d.two"#));
    assert!(one.has_alarm());
    one.replace("rls.yaml", RLS);
    one.server.await_log_times("took the changed limits of Envoy", 2);
    one.server.await_log_times("faulty-configuration", 2);
    assert!(!one.has_alarm());
}

#[test]
fn a_configmap_of_kubernetes_is_taken_when_its_link_is_replaced() {
    let files = TempDir::new().expect("a temporary directory can be made");
    let version = |place: &Path, name: &str, text: &str| {
        fs::create_dir(place.join(name)).expect("a directory can be made");
        fs::write(place.join(name).join("rls.yaml"), text).expect("the file can be written");
    };
    version(files.path(), "..1", RLS);
    symlink("..1", files.path().join("..data")).expect("a link can be made");
    symlink("..data/rls.yaml", files.path().join("rls.yaml")).expect("a link can be made");
    let mount = files.path().to_str().expect("UTF-8").to_owned();
    let one = Reloaded::start_in(files, "", &["--rls-config", &mount]);
    version(one.files.path(), "..2", &RLS.replace("one", "two"));
    symlink("..2", one.path("..data_tmp")).expect("a link can be made");
    fs::rename(one.path("..data_tmp"), one.path("..data")).expect("the link can be replaced");
    fs::remove_dir_all(one.path("..1")).expect("the former version can be removed");
    one.server.await_log("took the changed limits of Envoy");
    assert!(one.metrics().contains(r#"limit="rls:d.two"#));
    assert!(!one.has_alarm());
}

#[test]
fn the_token_of_a_file_is_replaced_without_a_restart_and_a_faulty_file_keeps_the_former_one() {
    let files = TempDir::new().expect("a temporary directory can be made");
    let made = || {
        let made = run(["token", "generate"]);
        String::from_utf8(made.stdout).expect("UTF-8").trim().to_owned()
    };
    let (old, new, newer) = (made(), made(), made());
    let path = files.path().join("token");
    fs::write(&path, &old).expect("the file can be written");
    let args = ["--admin-token-file", path.to_str().expect("UTF-8")];
    let one = Reloaded::start_in(files, "", &args);
    let mut open = one.server.connect();
    let mut status = |token: &str| {
        let head =
            format!("GET /v1/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
        open.request(head).status
    };
    let has_alarm = |token: &str| {
        let head =
            format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
        let metrics = one.server.connect().request(head).body;
        metrics.contains("waypost_alarm{kind=\"faulty-configuration\",of=\"here\"} 1\n")
    };
    assert_eq!((status(&old), status(&new)), (200, 401));
    // A file that can't be used, first by its change and then by a signal.
    one.replace("token", &new[..20]);
    one.server.await_log(&format!("--admin-token-file: {}: ", path.display()));
    one.server.await_log("faulty-configuration");
    one.server.signal(Signal::HUP);
    one.server.await_log("reloaded the configuration");
    assert_eq!(status(&old), 200);
    assert!(has_alarm(&old));
    one.replace("token", &format!("{new}\n"));
    one.server.await_log("took the changed token");
    assert_eq!((status(&old), status(&new)), (401, 200));
    one.server.await_log_times("faulty-configuration", 2);
    assert!(!has_alarm(&new));
    one.replace("token", &newer);
    one.server.signal(Signal::HUP);
    one.server.await_log_times("took the changed token", 2);
    assert_eq!((status(&new), status(&newer)), (401, 200));
    for token in [&old, &new, &newer] {
        assert!(!one.server.log().contains(&token[4..]), "a token is in the log");
    }
}
