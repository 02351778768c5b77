//! A real Envoy in front of an app, with the configuration of `server/bindings/envoy`.

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

mod reports;

const PATIENCE: Duration = Duration::from_secs(60);

/// The number of requests that a tenant has for `/login*`.
const LIMIT: usize = 5;

fn shown(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/bindings/envoy");
    fs::read_to_string(folder.join(file)).expect("the file can be read")
}

fn replaced(text: &str, parts: &[(&str, &str)]) -> String {
    parts.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is not in\n{text}");
        text.replace(from, to)
    })
}

/// The configuration that the documentation shows, with the test's addresses, periods that do not
/// end during a test, and a timeout that is long enough for a busy machine. The app is another
/// listener of the same Envoy.
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

/// A server's directory and configuration.
struct Site {
    home: Home,
    file: PathBuf,
    envoy: &'static Path,
}

impl Site {
    /// None if Envoy is missing.
    fn new() -> Option<Site> {
        let envoy = program(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
        let home = home();
        let file = home.socket().with_extension("toml");
        let periods = [("unit = \"minute\"", "unit = \"year\""), ("\"10s\"", "\"700d\"")];
        let text = replaced(&shown("waypost.toml"), &periods);
        fs::write(&file, text).expect("the file can be written");
        Some(Site { home, file, envoy })
    }

    fn flags<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["--config", self.file.to_str().expect("the path is UTF-8")], more].concat()
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
    let mut connection = Connection::to(envoy.front()).expect("Envoy accepts connections");
    connection.request("GET", path, &headers, b"").expect("Envoy answers")
}

fn statuses(envoy: &Envoy, path: &str, tenant: &str, count: usize) -> Vec<u16> {
    (0..count).map(|_| get(envoy, path, Some(tenant)).status).collect()
}

#[test]
fn requests_pass_up_to_the_limit() {
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
    // Another tenant, another path, and a request without a limit.
    assert_eq!(get(&envoy, "/login", Some("b")).status, 200);
    assert_eq!(get(&envoy, "/login2", Some("a")).status, 200);
    assert_eq!(get(&envoy, "/", Some("a")).status, 200);
    assert_eq!(envoy.stat("cluster.app.ratelimit.over_limit"), 2);
    assert_eq!(envoy.stat("cluster.app.ratelimit.error"), 0);
}

#[test]
fn a_request_denied_by_one_descriptor_costs_the_other_nothing() {
    let Some(site) = Site::new() else { return };
    let _server = site.serve();
    let envoy = site.envoy(&[]);
    assert_eq!(statuses(&envoy, "/login", "a", LIMIT + 20)[LIMIT..], [429; 20]);
    // The address has 100, and 5 are used by the requests that passed.
    let mut passed = 0;
    while get(&envoy, "/", None).status == 200 {
        passed += 1;
    }
    assert_eq!(passed, 95);
    assert_eq!(get(&envoy, "/login", Some("b")).status, 429);
}

/// Envoy reads `hits_addend` only from limits in the filter's configuration for a route.
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
fn a_route_can_set_the_cost_of_a_request() {
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
fn a_period_that_is_not_a_unit_has_no_window_in_envoy_headers() {
    let Some(site) = Site::new() else { return };
    let _server = site.home.serve_unix(&site.flags(&["--rls-headers", "none"]));
    let filter = "              failure_mode_deny: false";
    let own = "              enable_x_ratelimit_headers: DRAFT_VERSION_03\n";
    let envoy = site.envoy(&[(filter, &format!("{own}{filter}"))]);
    // The tenant's limit is per 10 s, reported as unit 0; the address's is per year here.
    let answer = get(&envoy, "/login", Some("a"));
    assert_eq!(answer.header("x-ratelimit-limit"), Some("5, 100;w=31536000"));
    assert_eq!(answer.header("x-ratelimit-remaining"), Some("4"));
    let reset = answer.header("x-ratelimit-reset").and_then(|value| value.parse::<u64>().ok());
    assert!(reset.is_some_and(|seconds| seconds > 0), "{answer:?}");
}

#[test]
fn envoy_fails_as_configured_while_the_server_is_down_and_reconnects() {
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
    // A clean stop keeps the counters, so the limit is still used up.
    let _server = site.serve();
    for envoy in [&open, &closed] {
        let denied =
            wait::until(PATIENCE, || (get(envoy, "/login", Some("a")).status == 429).then_some(()));
        assert!(denied.is_some(), "Envoy does not reconnect to the server");
        assert_eq!(get(envoy, "/login", Some("b")).status, 200);
    }
}

#[test]
fn envoy_reconnects_after_its_idle_connection_is_closed() {
    let Some(site) = Site::new() else { return };
    let server = site.home.serve_unix(&site.flags(&["--idle-timeout", "200ms"]));
    let envoy = site.envoy(&[]);
    for round in 1..=3 {
        assert_eq!(get(&envoy, "/login", Some("a")).status, 200);
        let away = wait::until(PATIENCE, || {
            (envoy.stat("cluster.waypost.upstream_cx_destroy") >= round).then_some(())
        });
        assert!(away.is_some(), "an idle connection is not closed");
    }
    assert_eq!(envoy.stat("cluster.app.ratelimit.error"), 0);
    drop(server);
}

/// The page of the documentation.
fn page() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/envoy.md");
    fs::read_to_string(page).expect("the file is there")
}

/// The blocks of a page that begin in this way.
fn blocks<'a>(page: &'a str, kind: &str) -> Vec<&'a str> {
    let blocks = page.split(kind).skip(1);
    blocks.map(|block| block.split_once("```").expect("it ends").0).collect()
}

#[test]
fn the_documentation_shows_the_tested_configuration() {
    let page = page();
    let config = shown("envoy.yaml");
    assert_eq!(blocks(&page, "```toml\n"), [shown("waypost.toml")]);
    let mut yaml = blocks(&page, "```yaml\n");
    // The tests of reports run the third.
    yaml.retain(|block| !block.contains("apply_on_stream_done"));
    assert_eq!(yaml.len(), 2);
    for line in yaml.iter().flat_map(|block| block.lines()).map(str::trim) {
        assert!(config.lines().any(|other| other.trim() == line), "{line:?} is not in envoy.yaml");
    }
    let home = home();
    let file = home.socket().with_extension("toml");
    fs::write(&file, shown("waypost.toml")).expect("the file can be written");
    let _server = home.serve(&["--config", file.to_str().expect("the path is UTF-8")]);
}

#[test]
fn envoy_sends_its_token_as_metadata() {
    let Some(site) = Site::new() else { return };
    let admin = crate::admin_token_file(&site.home);
    let server = site.home.serve(&site.flags(&["--admin-token-file", &admin]));
    let service = "grpc_service: { envoy_grpc: { cluster_name: waypost } }";
    let metadata = format!(
        "grpc_service: {{ envoy_grpc: {{ cluster_name: waypost }}, initial_metadata: [{{ key: authorization, value: \
         \"Bearer {}\" }}] }}",
        crate::ADMIN_TOKEN
    );
    let envoy = Envoy::start(site.envoy, &config(server.address(), &[(service, &metadata)]));
    assert_eq!(statuses(&envoy, "/login", "a", LIMIT + 1)[LIMIT - 1..], [200, 429]);
    assert_eq!(envoy.stat("cluster.app.ratelimit.error"), 0);
    // Without the token, Envoy can't ask, and does as configured for that case.
    let without = Envoy::start(site.envoy, &config(server.address(), &[]));
    assert_eq!(get(&without, "/login", Some("a")).status, 200);
    assert_eq!(without.stat("cluster.app.ratelimit.error"), 1);
}
