//! A real Envoy in front of an app, with the configuration of `server/bindings/envoy` as it is shown
//! there.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use waypost_tests::{
    Address, Home, Server,
    envoy::{Envoy, program},
    http::{Connection, Response},
    wait,
};

use crate::home;

const PATIENCE: Duration = Duration::from_secs(60);

/// The hits of a tenant in `/login*`.
const LIMIT: usize = 5;

fn shown(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/bindings/envoy");
    fs::read_to_string(folder.join(file)).expect("the file is there")
}

fn replaced(text: &str, parts: &[(&str, &str)]) -> String {
    parts.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is not in\n{text}");
        text.replace(from, to)
    })
}

/// As it is shown, but for the addresses, for periods that no test sees the end of, and for a timeout
/// that a busy machine keeps. The app is one more listener of the same Envoy.
fn config(waypost: &Address, parts: &[(&str, &str)]) -> String {
    let to_waypost = match waypost {
        Address::Tcp(address) => {
            format!(
                "socket_address: {{ address: {}, port_value: {} }}",
                address.ip(),
                address.port()
            )
        }
        Address::Unix(path) => format!("pipe: {{ path: {} }}", path.display()),
    };
    let text = replaced(
        &shown("envoy.yaml"),
        &[
            ("port_value: 8000", "port_value: 0"),
            (
                "socket_address: { address: 127.0.0.1, port_value: 3000 }",
                "pipe: { path: {here}/app }",
            ),
            ("socket_address: { address: 127.0.0.1, port_value: 8420 }", &to_waypost),
            ("timeout: 0.1s", "timeout: 60s"),
            ("static_resources:\n  listeners:\n", APP),
        ],
    );
    replaced(&text, parts)
}

const APP: &str = r#"admin: { address: { pipe: { path: {here}/admin } } }
static_resources:
  listeners:
  - name: app
    address: { pipe: { path: {here}/app } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: app
          route_config:
            virtual_hosts:
            - name: app
              domains: ["*"]
              routes:
              - match: { prefix: / }
                direct_response: { status: 200, body: { inline_string: the app } }
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
"#;

/// A home with the configuration of the server.
struct Site {
    home: Home,
    file: PathBuf,
    envoy: &'static Path,
}

impl Site {
    /// None if there is no Envoy.
    fn new() -> Option<Site> {
        let envoy = program(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
        let home = home();
        let file = home.socket().with_extension("toml");
        let periods = [("unit = \"minute\"", "unit = \"year\""), ("\"10s\"", "\"700d\"")];
        let text = replaced(&shown("waypost.toml"), &periods);
        fs::write(&file, text).expect("the directory takes files");
        Some(Site { home, file, envoy })
    }

    fn flags<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["--config", self.file.to_str().expect("a text")], more].concat()
    }

    fn serve(&self) -> Server {
        self.home.serve_unix(&self.flags(&[]))
    }

    fn envoy(&self, parts: &[(&str, &str)]) -> Envoy {
        Envoy::start(self.envoy, &config(&Address::Unix(self.home.socket()), parts))
    }
}

fn get(envoy: &Envoy, path: &str, tenant: Option<&str>) -> Response {
    let headers: Vec<_> = tenant.iter().map(|tenant| ("x-tenant", *tenant)).collect();
    let mut connection = Connection::to(envoy.front()).expect("Envoy takes connections");
    connection.request("GET", path, &headers, b"").expect("Envoy answers")
}

fn statuses(envoy: &Envoy, path: &str, tenant: &str, count: usize) -> Vec<u16> {
    (0..count).map(|_| get(envoy, path, Some(tenant)).status).collect()
}

#[test]
fn requests_pass_up_to_the_limit_and_no_more() {
    let Some(site) = Site::new() else { return };
    let server = site.home.serve(&site.flags(&[]));
    let envoy = Envoy::start(site.envoy, &config(server.address(), &[]));
    let allowed = get(&envoy, "/login", Some("a"));
    assert_eq!((allowed.status, &*allowed.text()), (200, "the app"));
    assert_eq!(allowed.header("x-ratelimit-limit"), Some("5"));
    assert_eq!(allowed.header("x-ratelimit-remaining"), Some("4"));
    assert_eq!(statuses(&envoy, "/login", "a", LIMIT), [200, 200, 200, 200, 429]);
    let denied = get(&envoy, "/login", Some("a"));
    assert_eq!(denied.status, 429);
    assert_eq!(denied.header("x-envoy-ratelimited"), Some("true"));
    assert_eq!(denied.header("x-ratelimit-remaining"), Some("0"));
    let wait = denied.header("retry-after").and_then(|value| value.parse::<u64>().ok());
    assert!(wait.is_some_and(|seconds| seconds > 0), "{denied:?}");
    // Another tenant, another path, and no limit at all.
    assert_eq!(get(&envoy, "/login", Some("b")).status, 200);
    assert_eq!(get(&envoy, "/login2", Some("a")).status, 200);
    assert_eq!(get(&envoy, "/", Some("a")).status, 200);
    assert_eq!(envoy.stat("cluster.app.ratelimit.over_limit"), 2);
    assert_eq!(envoy.stat("cluster.app.ratelimit.error"), 0);
}

#[test]
fn what_one_descriptor_denies_does_not_use_up_the_other() {
    let Some(site) = Site::new() else { return };
    let _server = site.serve();
    let envoy = site.envoy(&[]);
    assert_eq!(statuses(&envoy, "/login", "a", LIMIT + 20)[LIMIT..], [429; 20]);
    // 100 for the address, of which the 5 that passed are gone.
    let mut passed = 0;
    while get(&envoy, "/", None).status == 200 {
        passed += 1;
    }
    assert_eq!(passed, 95);
    assert_eq!(get(&envoy, "/login", Some("b")).status, 429);
}

/// Envoy reads `hits_addend` where the limits are those of the filter for a route.
const COSTLY: &str = r#"                typed_per_filter_config:
                  envoy.filters.http.ratelimit:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute
                    rate_limits:
                    - hits_addend: { number: 3 }
                      actions:
                      - request_headers: { header_name: x-tenant, descriptor_key: tenant }
                      - request_headers: { header_name: ":path", descriptor_key: path }
"#;

#[test]
fn a_route_can_say_how_many_hits_a_request_is() {
    let Some(site) = Site::new() else { return };
    let _server = site.serve();
    let route = "                route:\n                  cluster: app\n";
    let costly = format!("{COSTLY}{route}");
    let envoy = site.envoy(&[(route, &costly)]);
    assert_eq!(get(&envoy, "/login", Some("a")).header("x-ratelimit-remaining"), Some("2"));
    assert_eq!(get(&envoy, "/login", Some("a")).status, 429);
    assert_eq!(get(&envoy, "/login", Some("b")).header("x-ratelimit-remaining"), Some("2"));
}

#[test]
fn a_period_without_a_unit_has_no_window_in_envoy_s_own_fields() {
    let Some(site) = Site::new() else { return };
    let _server = site.home.serve_unix(&site.flags(&["--rls-headers", "none"]));
    let filter = "              failure_mode_deny: false";
    let own = "              enable_x_ratelimit_headers: DRAFT_VERSION_03\n";
    let envoy = site.envoy(&[(filter, &format!("{own}{filter}"))]);
    // The tenant's limit is for 10 s, shown as unit 0; the address' is for a year here.
    let answer = get(&envoy, "/login", Some("a"));
    assert_eq!(answer.header("x-ratelimit-limit"), Some("5, 100;w=31536000"));
    assert_eq!(answer.header("x-ratelimit-remaining"), Some("4"));
    let reset = answer.header("x-ratelimit-reset").and_then(|value| value.parse::<u64>().ok());
    assert!(reset.is_some_and(|seconds| seconds > 0), "{answer:?}");
}

#[test]
fn while_the_server_is_away_envoy_does_as_it_is_told_and_then_comes_back() {
    let Some(site) = Site::new() else { return };
    let server = site.serve();
    let open = site.envoy(&[]);
    let closed = site.envoy(&[("failure_mode_deny: false", "failure_mode_deny: true")]);
    assert_eq!(statuses(&open, "/login", "a", 3), [200; 3]);
    assert_eq!(statuses(&closed, "/login", "a", 3), [200, 200, 429]);
    assert!(server.stop().success());
    assert_eq!(statuses(&open, "/login", "a", 3), [200; 3]);
    assert_eq!(statuses(&closed, "/login", "a", 3), [500; 3]);
    assert!(open.stat("cluster.app.ratelimit.error") >= 3);
    // A clean stop keeps the counters: what was used up still is.
    let _server = site.serve();
    for envoy in [&open, &closed] {
        let denied =
            wait::until(PATIENCE, || (get(envoy, "/login", Some("a")).status == 429).then_some(()));
        assert!(denied.is_some(), "Envoy does not come back to the server");
        assert_eq!(get(envoy, "/login", Some("b")).status, 200);
    }
}

#[test]
fn envoy_does_not_mind_that_its_idle_connection_is_closed() {
    let Some(site) = Site::new() else { return };
    let server = site.home.serve_unix(&site.flags(&["--idle-timeout", "200ms"]));
    let envoy = site.envoy(&[]);
    for round in 1..=3 {
        assert_eq!(get(&envoy, "/login", Some("a")).status, 200);
        let away = wait::until(PATIENCE, || {
            (envoy.stat("cluster.waypost.upstream_cx_destroy") >= round).then_some(())
        });
        assert!(away.is_some(), "an idle connection stays");
    }
    assert_eq!(envoy.stat("cluster.app.ratelimit.error"), 0);
    drop(server);
}

#[test]
fn the_documentation_shows_the_tested_configuration() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/envoy.md");
    let page = fs::read_to_string(page).expect("the file is there");
    let config = shown("envoy.yaml");
    let blocks = |kind: &'static str| {
        let blocks = page.split(kind).skip(1);
        blocks.map(|block| block.split_once("```").expect("it ends").0).collect::<Vec<_>>()
    };
    assert_eq!(blocks("```toml\n"), [shown("waypost.toml")]);
    let yaml = blocks("```yaml\n");
    assert_eq!(yaml.len(), 2);
    for line in yaml.iter().flat_map(|block| block.lines()).map(str::trim) {
        assert!(config.lines().any(|other| other.trim() == line), "{line:?} is not in envoy.yaml");
    }
    let home = home();
    let file = home.socket().with_extension("toml");
    fs::write(&file, shown("waypost.toml")).expect("the directory takes files");
    let _server = home.serve(&["--config", file.to_str().expect("a text")]);
}
