//! Traefik, Caddy and HAProxy in front of an app, with the configurations of `server/bindings`.

use std::{fs, path::Path, time::Duration};

use tempfile::TempDir;
use waypost_tests::{
    Home, Server,
    proxies::{Proxy, caddy, haproxy, traefik},
    wait,
};

use crate::home;

const PATIENCE: Duration = Duration::from_secs(60);

/// A path that the app answers. The app is the Waypost server itself.
const PATH: &str = "/readyz";

/// With a limit per day, no request becomes available again during a test: one of three takes eight hours.
const LIMITS: &str = "[limits.per-address]\nlimit = 3\nperiod = \"1d\"\n";

/// The proxies.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Traefik,
    Caddy,
    HaProxy,
}

const ALL: [Kind; 3] = [Kind::Traefik, Kind::Caddy, Kind::HaProxy];

/// What the key of a request is.
#[derive(Clone, Copy)]
enum Key {
    Address,
    Header,
}

fn shown(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/bindings");
    fs::read_to_string(folder.join(file)).expect("the file can be read")
}

/// A configuration that the documentation shows, with this test's addresses: those of Waypost and of the app.
fn config(file: &str, servers: [&Server; 2], key: Key, front: (&str, &str)) -> String {
    let [waypost, app] = servers.map(|server| server.address().to_string());
    let mut changes = vec![("127.0.0.1:8420", &waypost[..]), ("127.0.0.1:3000", &app[..]), front];
    if let Key::Header = key {
        changes.push(("trusted_proxies=1\"", "key_header=x-api-key\""));
        changes.push(("trusted_proxies=1\n", "key_header=x-api-key\n"));
    }
    let text = shown(file);
    changes.into_iter().fold(text, |text, (from, to)| text.replace(from, to))
}

impl Kind {
    /// Starts the proxy between Waypost and the app; none if it is not installed.
    fn start(self, servers: [&Server; 2], key: Key) -> Option<Proxy> {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let config = |file, front| config(file, servers, key, front);
        Some(match self {
            Kind::Traefik => {
                let fixed = ("/etc/traefik/", "{here}/");
                let first = config("traefik/traefik.yaml", ("127.0.0.1:8080", "{front}"));
                let files = [
                    ("traefik.yaml", &first.replace(fixed.0, fixed.1)[..]),
                    ("dynamic.yaml", &config("traefik/dynamic.yaml", fixed)),
                ];
                Proxy::start(traefik(directory)?, &files, &["--configFile={here}/traefik.yaml"])
            }
            Kind::Caddy => {
                let text = config("caddy/Caddyfile", ("http://:8080", "http://:{port}"));
                let arguments = ["run", "--adapter", "caddyfile", "--config", "{here}/Caddyfile"];
                Proxy::start(caddy(directory)?, &[("Caddyfile", &text)], &arguments)
            }
            Kind::HaProxy => {
                let text = config("haproxy/haproxy.cfg", ("127.0.0.1:8080", "{front}"));
                let text = text.replace("/etc/haproxy/", "{here}/");
                let lua = shown("haproxy/waypost.lua");
                let files = [("haproxy.cfg", &text[..]), ("waypost.lua", &lua)];
                Proxy::start(haproxy()?, &files, &["-db", "-f", "{here}/haproxy.cfg"])
            }
        })
    }
}

fn serve(home: &Home) -> (Server, TempDir) {
    let directory = TempDir::with_prefix("waypost-limits-").expect("a temporary directory");
    let config = directory.path().join("waypost.toml");
    fs::write(&config, LIMITS).expect("the file can be written");
    let server = home.serve(&["--config", config.to_str().expect("a path in UTF-8")]);
    (server, directory)
}

/// Waits until the proxy forwards requests: Traefik accepts connections before it has its routes.
fn wait_for_routes(proxy: &Proxy, headers: &[(&str, &str)]) {
    let is_there = wait::until(PATIENCE, || (proxy.get(PATH, headers).status == 200).then_some(()));
    assert!(is_there.is_some(), "the proxy forwards nothing: {:?}", proxy.get(PATH, headers));
}

#[test]
fn requests_over_the_limit_of_an_address_get_429_and_a_retry_after() {
    for kind in ALL {
        let home = home();
        let (server, _config) = serve(&home);
        let Some(proxy) = kind.start([&server; 2], Key::Address) else { continue };
        wait_for_routes(&proxy, &[]);
        // What a client says about itself changes nothing.
        let said = [
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Api-Key", "other"),
            ("Waypost-Namespace", "open"),
            ("Origin", "http://example.com"),
        ];
        for header in &said[..2] {
            assert_eq!(proxy.get(PATH, &[*header]).status, 200, "{kind:?} {header:?}");
        }
        for header in said {
            let denied = proxy.get(PATH, &[header]);
            assert_eq!(denied.status, 429, "{kind:?} {header:?}: {denied:?}");
            let seconds = denied.header("retry-after").and_then(|text| text.parse::<u32>().ok());
            let is_right = seconds.is_some_and(|seconds| (1..=2 * 86_400).contains(&seconds));
            assert!(is_right, "{kind:?} {header:?}: {denied:?}");
        }
    }
}

#[test]
fn each_value_of_a_header_has_its_own_limit() {
    for kind in ALL {
        let home = home();
        let (server, _config) = serve(&home);
        let Some(proxy) = kind.start([&server; 2], Key::Header) else { continue };
        for key in ["a", "b&key=a&status=200", "%61"] {
            wait_for_routes(&proxy, &[("X-Api-Key", key)]);
            let statuses: Vec<u16> =
                (0..3).map(|_| proxy.get(PATH, &[("X-Api-Key", key)]).status).collect();
            assert_eq!(statuses, [200, 200, 429], "{kind:?} {key}");
        }
    }
}

#[test]
fn no_request_passes_while_waypost_is_down() {
    for kind in ALL {
        let (app_home, home) = (home(), home());
        let (app, _config) = serve(&app_home);
        let (server, _other) = serve(&home);
        let Some(proxy) = kind.start([&server, &app], Key::Address) else { continue };
        wait_for_routes(&proxy, &[]);
        assert!(server.stop().success());
        let status = proxy.get(PATH, &[]).status;
        assert!(status >= 500, "{kind:?}: {status}");
    }
}

#[test]
fn the_documentation_shows_the_tested_configurations() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/proxies.md");
    let page = fs::read_to_string(page).expect("the file is there");
    for file in [
        "traefik/traefik.yaml",
        "traefik/dynamic.yaml",
        "caddy/Caddyfile",
        "haproxy/haproxy.cfg",
        "haproxy/waypost.lua",
        "nginx/waypost.conf",
    ] {
        assert!(page.contains(shown(file).trim_end()), "{file} is not in docs/proxies.md");
    }
}
