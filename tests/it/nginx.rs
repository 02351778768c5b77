//! nginx in front of an app, with the configuration of `server/bindings/nginx` as it is shown there.

use std::{fs, path::Path, process::Command, time::Duration};

use tempfile::TempDir;
use waypost_tests::{
    Address, Home, Server, clients,
    http::{Connection, Response},
    process::Process,
    wait,
};

use crate::home;

/// How long nginx may take to start before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of a day no hit comes back while a test runs: the first of three takes eight hours.
const LIMITS: &str = "[limits.per-address]\nlimit = 3\nperiod = \"1d\"\n";

/// As it is shown, and as a user has it who wants requests to pass while Waypost is down.
#[derive(Clone, Copy)]
enum Shown {
    Asis,
    Allowing,
}

/// A running nginx, and the app behind it, which is one more server of the same nginx.
struct Nginx {
    front: Address,
    _process: Process,
    _directory: TempDir,
}

impl Nginx {
    fn start(program: &str, waypost: &Address, shown: Shown) -> Nginx {
        let directory = TempDir::with_prefix("waypost-nginx-").expect("a temporary directory");
        let place = directory.path();
        let [front, app] = ["front", "app"].map(|name| place.join(name).display().to_string());
        let shown = shown_for(&waypost.to_string(), &front, &app, shown);
        fs::write(place.join("waypost.conf"), shown).expect("the directory takes files");
        fs::write(place.join("nginx.conf"), around(&app)).expect("the directory takes files");
        let mut command = Command::new(program);
        command.arg("-p").arg(place).args(["-c", "nginx.conf", "-e", "stderr"]);
        let process = Process::start(&mut command, &place.join("log")).expect("nginx runs");
        let front = Address::Unix(front.into());
        let is_up = wait::until(PATIENCE, || Connection::to(&front).ok());
        assert!(is_up.is_some(), "nginx is not up after {PATIENCE:?}: {}", process.log());
        Nginx { front, _process: process, _directory: directory }
    }

    fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut connection = Connection::to(&self.front).expect("nginx takes connections");
        connection.request(method, target, headers, body.as_bytes()).expect("nginx answers")
    }

    fn get(&self, target: &str) -> u16 {
        self.send("GET", target, &[], "").status
    }
}

/// The configuration that we show, at these addresses.
fn shown_for(waypost: &str, front: &str, app: &str, shown: Shown) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/bindings/nginx/waypost.conf");
    let mut text = fs::read_to_string(path).expect("it is there");
    let mut changes = vec![
        ("server 127.0.0.1:8420;", format!("server {waypost};")),
        ("server 127.0.0.1:3000;", format!("server unix:{app};")),
        ("listen 8080;", format!("listen unix:{front};")),
    ];
    if matches!(shown, Shown::Allowing) {
        changes.push(("#error_page", "error_page".into()));
    }
    for (from, to) in changes {
        assert_eq!(text.matches(from).count(), 1, "{from:?} is there once");
        text = text.replace(from, &to);
    }
    text
}

/// What a system's nginx.conf has around it, and the app.
fn around(app: &str) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {kind};\n"))
        .concat();
    // One process, which ends with its test; `user` counts for root alone.
    format!(
        "user root root; daemon off; master_process off; pid pid; error_log stderr;\n\
         events {{}}\n\
         http {{\n\
         access_log off;\n{temporary}\
         include waypost.conf;\n\
         server {{ listen unix:{app};\n\
         location / {{ return 200 \"app $request_method $request_uri $content_length\"; }}\n\
         location /forbidden {{ return 403 \"app\"; }} }} }}\n"
    )
}

fn serve(home: &Home, start: fn(&Home, &[&str]) -> Server) -> (Server, TempDir) {
    let directory = TempDir::with_prefix("waypost-limits-").expect("a temporary directory");
    let config = directory.path().join("waypost.toml");
    fs::write(&config, LIMITS).expect("the directory takes files");
    let server = start(home, &["--config", config.to_str().expect("a path in UTF-8")]);
    (server, directory)
}

#[test]
fn requests_over_the_limit_are_429_and_say_when_to_come_again() {
    let Some(program) = clients::nginx() else { return };
    for start in [Home::serve, Home::serve_unix] {
        let home = home();
        let (server, _config) = serve(&home, start);
        let nginx = Nginx::start(program, server.address(), Shown::Asis);
        for _ in 0..3 {
            assert_eq!(nginx.get("/"), 200);
        }
        let denied = nginx.send("GET", "/", &[], "");
        assert_eq!((denied.status, &denied.text()[..]), (429, "Too many requests\n"));
        let seconds = denied.header("retry-after").and_then(|text| text.parse::<u32>().ok());
        assert!(seconds.is_some_and(|seconds| (1..=2 * 86_400).contains(&seconds)), "{denied:?}");
    }
}

#[test]
fn the_app_gets_a_request_as_it_was_sent_and_its_answer_goes_through() {
    let Some(program) = clients::nginx() else { return };
    let home = home();
    let (server, _config) = serve(&home, Home::serve);
    let nginx = Nginx::start(program, server.address(), Shown::Asis);
    let posted = nginx.send("POST", "/a%2Fb?c=d", &[], "a body");
    assert_eq!((posted.status, &posted.text()[..]), (200, "app POST /a%2Fb?c=d 6"));
    let forbidden = nginx.send("GET", "/forbidden", &[], "");
    assert_eq!((forbidden.status, &forbidden.text()[..]), (403, "app"));
}

#[test]
fn nothing_that_a_client_sends_changes_the_question() {
    let Some(program) = clients::nginx() else { return };
    let home = home();
    let (server, _config) = serve(&home, Home::serve);
    server.create_namespace("open", None);
    let mut door = server.connect();
    let put = door.request("PUT", "/binding/open/ratelimit", &[], b"").expect("an answer");
    assert_eq!(put.status, 200, "{put:?}");
    let nginx = Nginx::start(program, server.address(), Shown::Asis);
    let tries = [
        ("GET", "/", ("Origin", "http://example.com")),
        ("POST", "/?peek=true&key=other", ("Waypost-Namespace", "open")),
        ("GET", "/ratelimit?reset=true", ("Content-Length", "0")),
    ];
    for expected in [200, 429] {
        for (method, target, header) in tries {
            let response = nginx.send(method, target, &[header], "");
            assert_eq!(response.status, expected, "{method} {target} {header:?}");
        }
    }
    assert_eq!(nginx.get("/_waypost?name=per-address&reset=true"), 404);
    assert_eq!(nginx.get("/"), 429);
}

#[test]
fn without_waypost_a_request_is_an_error_or_passes_as_the_configuration_says() {
    let Some(program) = clients::nginx() else { return };
    for (shown, expected) in [(Shown::Asis, 500), (Shown::Allowing, 200)] {
        let home = home();
        let (server, _config) = serve(&home, Home::serve_unix);
        let nginx = Nginx::start(program, server.address(), shown);
        for expected in [200, 200, 200, 429] {
            assert_eq!(nginx.get("/"), expected);
        }
        assert!(server.stop().success());
        assert_eq!(nginx.get("/"), expected);
    }
}
