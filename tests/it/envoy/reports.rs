//! Usage that Envoy reports when a request is done, and headers with which a client might make a call fail.

use std::fmt::Write as _;

use waypost_tests::{http::Connection, wait};

use super::{Envoy, PATIENCE, Site, blocks, get, page, replaced};

/// The app answers how many tokens a request took.
const APP: (&str, &str) = (
    "direct_response: { status: 200, body: { inline_string: the app } }\n",
    "direct_response: { status: 200, body: { inline_string: the app } }\n                \
     response_headers_to_add: { header: { key: x-tokens, value: \"600\" } }\n",
);

/// The route before which a test puts its own configuration.
const ROUTE: &str = "                route:\n                  cluster: app\n";

/// The part of the documentation that looks before a request, and reports after it.
fn reporting() -> String {
    let page = page();
    let block = blocks(&page, "```yaml\n")
        .into_iter()
        .find(|block| block.contains("apply_on_stream_done"))
        .expect("the documentation shows a report");
    let lines = block.lines().map(|line| format!("                {line}\n"));
    lines.collect::<String>() + ROUTE
}

impl Site {
    /// A site with another limit at the end of its file.
    fn with(self, limits: &str) -> Site {
        let text = std::fs::read_to_string(&self.file).expect("the file can be read");
        std::fs::write(&self.file, text + limits).expect("the file can be written");
        self
    }

    /// A site that allows an address three requests.
    fn with_three_requests(self) -> Site {
        let text = std::fs::read_to_string(&self.file).expect("the file can be read");
        let three = replaced(&text, &[("requests_per_unit = 100", "requests_per_unit = 3")]);
        std::fs::write(&self.file, three).expect("the file can be written");
        self
    }
}

#[test]
fn reported_usage_denies_once_it_exceeds_the_limit() {
    for algorithm in ["sliding", "fixed", "gcra"] {
        let Some(site) = Site::new() else { return };
        let site = site.with(&format!(
            "\n[[rls]]\ndomain = \"{algorithm}\"\n[[rls.descriptors]]\nkey = \"tokens\"\nrate_limit = \
             {{ period = \"700d\", requests_per_unit = 1000, algorithm = \"{algorithm}\" }}\n"
        ));
        let server = site.serve();
        let domain = format!("domain: {algorithm}");
        let envoy = site.envoy(&[APP, (ROUTE, &reporting()), ("domain: edge", &domain)]);
        let checks = format!("waypost_ratelimit_checks_total{{limit=\"rls:{algorithm}.tokens\"}}");
        let mut statuses = Vec::new();
        for sent in 1..=8_u32 {
            let status = get(&envoy, "/", Some("a")).status;
            statuses.push(status);
            // Envoy reports after it has answered: each request that passes has a look and a report.
            let passed = statuses.iter().filter(|status| **status == 200).count();
            let expected = f64::from(sent) + f64::from(u8::try_from(passed).expect("eight"));
            let is_reported =
                wait::until(PATIENCE, || (server.metric(&checks) >= expected).then_some(()));
            assert!(is_reported.is_some(), "a request that passed is not reported");
        }
        assert_eq!(statuses, [200, 200, 429, 429, 429, 429, 429, 429], "{algorithm}");
        assert_eq!(get(&envoy, "/", Some("b")).status, 200);
        assert_eq!(envoy.stat("cluster.app.ratelimit.error"), 0);
    }
}

/// Sends a request with any bytes as its tenant.
fn status_of(envoy: &Envoy, tenant: &[u8]) -> u16 {
    let mut connection = Connection::to(envoy.front()).expect("Envoy accepts connections");
    let head = [b"GET / HTTP/1.1\r\nHost: app\r\nx-tenant: ", tenant, b"\r\n\r\n"].concat();
    connection.send(&head).expect("Envoy reads");
    connection.response_to("GET").expect("Envoy answers").status
}

#[test]
fn a_header_that_is_not_text_lifts_no_limit() {
    let Some(site) = Site::new() else { return };
    let site = site.with_three_requests();
    let _server = site.serve();
    let envoy = site.envoy(&[]);
    let odd: [&[u8]; 3] = [b"\xff\xfe", b"a", "\u{fc}".as_bytes()];
    assert_eq!(odd.map(|tenant| status_of(&envoy, tenant)), [200; 3]);
    assert_eq!(odd.map(|tenant| status_of(&envoy, tenant)), [429; 3]);
    assert_eq!(envoy.stat("cluster.app.ratelimit.error"), 0);
}

#[test]
fn a_long_header_in_many_descriptors_lifts_no_limit() {
    let Some(site) = Site::new() else { return };
    let site = site.with_three_requests();
    let server = site.serve();
    let long = vec![b'x'; 50 << 10];
    for (descriptors, expected) in [(20, [200, 200, 200, 429]), (100, [429; 4])] {
        let mut limits = String::from("                  rate_limits:\n");
        for n in 0..descriptors {
            let header = format!("header_name: x-tenant, descriptor_key: k{n}");
            writeln!(
                limits,
                "                  - actions:\n                    - request_headers: {{ {header} }}"
            )
            .expect("writing to a String does not fail");
        }
        let envoy = site.envoy(&[("                  rate_limits:\n", &limits)]);
        assert_eq!([(); 4].map(|()| status_of(&envoy, &long)), expected, "{descriptors}");
        assert_eq!(envoy.stat("cluster.app.ratelimit.error"), 0, "{descriptors}");
    }
    assert!(server.metric("waypost_rls_too_long_total") >= 4.0);
}
