//! nginx in front of an app, with the configuration of `server/bindings/nginx`.

use std::{fs, path::Path, process::Command, time::Duration};

use tempfile::TempDir;
use waypost_tests::{
    Address, Home, Server, clients,
    http::{Connection, Response},
    process::Process,
    wait,
};

use crate::home;

/// The time after which a test fails because nginx does not start.
const PATIENCE: Duration = Duration::from_secs(30);

/// With a limit per day, no request becomes available again during a test: one of three takes eight
/// hours.
const LIMITS: &str = "[limits.per-address]\nlimit = 3\nperiod = \"1d\"\n";

/// The configuration as it is, or with the line that lets requests pass while Waypost is down.
#[derive(Clone, Copy)]
enum Variant {
    Default,
    FailOpen,
    /// With the header that docs/tokens.md shows.
    Token(&'static str),
}

/// A running nginx, and the app behind it, which is another server of the same nginx.
struct Nginx {
    front: Address,
    _process: Process,
    _directory: TempDir,
}

impl Nginx {
    fn start(program: &str, waypost: &Address, variant: Variant) -> Nginx {
        let directory = TempDir::with_prefix("waypost-nginx-").expect("a temporary directory");
        let place = directory.path();
        let [front, app] = ["front", "app"].map(|name| place.join(name).display().to_string());
        let config = shown_config(&waypost.to_string(), &front, &app, variant);
        fs::write(place.join("waypost.conf"), config).expect("the file can be written");
        fs::write(place.join("nginx.conf"), around(&app)).expect("the file can be written");
        let mut command = Command::new(program);
        command.arg("-p").arg(place).args(["-c", "nginx.conf", "-e", "stderr"]);
        let process = Process::start(&mut command, &place.join("log")).expect("nginx runs");
        let front = Address::Unix(front.into());
        let is_ready = wait::until(PATIENCE, || Connection::to(&front).ok());
        assert!(is_ready.is_some(), "nginx is not ready after {PATIENCE:?}: {}", process.log());
        Nginx { front, _process: process, _directory: directory }
    }

    fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut connection = Connection::to(&self.front).expect("nginx accepts connections");
        connection.request(method, target, headers, body.as_bytes()).expect("nginx answers")
    }

    fn get(&self, target: &str) -> u16 {
        self.send("GET", target, &[], "").status
    }
}

/// The configuration that the documentation shows, with these addresses.
fn shown_config(waypost: &str, front: &str, app: &str, variant: Variant) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/bindings/nginx/waypost.conf");
    let mut text = fs::read_to_string(path).expect("the file can be read");
    let mut changes = vec![
        ("server 127.0.0.1:8420;", format!("server {waypost};")),
        ("server 127.0.0.1:3000;", format!("server unix:{app};")),
        ("listen 8080;", format!("listen unix:{front};")),
    ];
    match variant {
        Variant::Default => {}
        Variant::FailOpen => changes.push(("#error_page", "error_page".into())),
        Variant::Token(token) => {
            let header = format!("proxy_set_header Authorization \"Bearer {token}\";");
            let before = "proxy_set_header Connection \"\";";
            changes.push((before, format!("{before}\n{header}")));
        }
    }
    for (from, to) in changes {
        assert_eq!(text.matches(from).count(), 1, "{from:?} must occur once");
        text = text.replace(from, &to);
    }
    text
}

/// The parts of a system's nginx.conf around it, and the app.
fn around(app: &str) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {kind};\n"))
        .concat();
    // One process, which ends with its test. Only root needs the `user` directive.
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
    fs::write(&config, LIMITS).expect("the file can be written");
    let server = start(home, &["--config", config.to_str().expect("a path in UTF-8")]);
    (server, directory)
}

#[test]
fn requests_over_the_limit_get_429_and_a_retry_after() {
    let Some(program) = clients::nginx() else { return };
    for start in [Home::serve, Home::serve_unix] {
        let home = home();
        let (server, _config) = serve(&home, start);
        let nginx = Nginx::start(program, server.address(), Variant::Default);
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
fn requests_and_responses_pass_unchanged() {
    let Some(program) = clients::nginx() else { return };
    let home = home();
    let (server, _config) = serve(&home, Home::serve);
    let nginx = Nginx::start(program, server.address(), Variant::Default);
    let posted = nginx.send("POST", "/a%2Fb?c=d", &[], "a body");
    assert_eq!((posted.status, &posted.text()[..]), (200, "app POST /a%2Fb?c=d 6"));
    let forbidden = nginx.send("GET", "/forbidden", &[], "");
    assert_eq!((forbidden.status, &forbidden.text()[..]), (403, "app"));
}

#[test]
fn a_client_cannot_change_the_limit_request() {
    let Some(program) = clients::nginx() else { return };
    let home = home();
    let (server, _config) = serve(&home, Home::serve);
    server.create_namespace("open", None);
    let mut direct = server.connect();
    let put = direct.request("PUT", "/binding/open/ratelimit", &[], b"").expect("an answer");
    assert_eq!(put.status, 200, "{put:?}");
    let nginx = Nginx::start(program, server.address(), Variant::Default);
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
fn requests_fail_or_pass_as_configured_while_waypost_is_down() {
    let Some(program) = clients::nginx() else { return };
    for (variant, expected) in [(Variant::Default, 500), (Variant::FailOpen, 200)] {
        let home = home();
        let (server, _config) = serve(&home, Home::serve_unix);
        let nginx = Nginx::start(program, server.address(), variant);
        for expected in [200, 200, 200, 429] {
            assert_eq!(nginx.get("/"), expected);
        }
        assert!(server.stop().success());
        assert_eq!(nginx.get("/"), expected);
    }
}

#[test]
fn nginx_sends_its_token() {
    let Some(program) = clients::nginx() else { return };
    let home = home();
    let admin = crate::admin_token_file(&home);
    let directory = TempDir::with_prefix("waypost-limits-").expect("a temporary directory");
    let config = directory.path().join("waypost.toml");
    fs::write(&config, LIMITS).expect("the file can be written");
    let config = config.to_str().expect("a path in UTF-8");
    let server = home.serve(&["--config", config, "--admin-token-file", &admin]);
    let nginx = Nginx::start(program, server.address(), Variant::Token(crate::ADMIN_TOKEN));
    for expected in [200, 200, 200, 429] {
        assert_eq!(nginx.get("/"), expected);
    }
    // Without the token, nginx receives 401, which it passes on.
    let without = Nginx::start(program, server.address(), Variant::Default);
    assert_eq!(without.get("/"), 401);
}
