//! Envoy's rate-limit service, over gRPC.

use std::fs;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http2::SendRequest};
use prost::Message;
use rustix::process::Signal;
use tempfile::TempDir;
use tonic::{Code, Status, client::Grpc};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
};
use tonic_prost::ProstCodec;
use waypost::api::rls::proto::{
    Code as Answer, Entry, RateLimitDescriptor, RateLimitRequest, RateLimitResponse, Unit,
};

use crate::{
    http::http2,
    process::{Server, run},
};

const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
const CHECK: &str = "/grpc.health.v1.Health/Check";

/// Periods so long that no window ends during a test.
const CONFIG: &str = r#"
rls-algorithm = "fixed"

[[rls]]
domain = "edge"

[[rls.descriptors]]
key = "user"
rate_limit = { period = "700d", requests_per_unit = 2, name = "per-user" }
"#;

/// A client of a server's gRPC services, on one connection.
struct Client {
    sender: SendRequest<tonic::body::Body>,
    address: String,
}

impl Client {
    async fn to(server: &Server) -> Client {
        let (sender, _connection) = http2(&server.address).await;
        Client { sender, address: server.address.clone() }
    }

    async fn call<Q, A>(&self, path: &'static str, message: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let service = tower::service_fn(|request: Request<tonic::body::Body>| {
            self.sender.clone().send_request(request)
        });
        let origin = format!("http://{}", self.address).parse().expect("a URI");
        let mut grpc = Grpc::with_origin(service, origin);
        let path = http::uri::PathAndQuery::from_static(path);
        let codec = ProstCodec::<Q, A>::default();
        let answer = grpc.unary(tonic::Request::new(message), path, codec).await;
        answer.map(tonic::Response::into_inner)
    }

    async fn limit(
        &self,
        domain: &str,
        key: &str,
        value: &str,
    ) -> Result<RateLimitResponse, Status> {
        let entry = Entry { key: key.into(), value: value.into() };
        let descriptor = RateLimitDescriptor { entries: vec![entry], ..Default::default() };
        let descriptors = vec![descriptor];
        let request = RateLimitRequest { domain: domain.into(), descriptors, hits_addend: 0 };
        self.call(SHOULD_RATE_LIMIT, request).await
    }

    async fn health(&self, service: &str) -> Result<ServingStatus, Status> {
        let request = HealthCheckRequest { service: service.into() };
        let answer: HealthCheckResponse = self.call(CHECK, request).await?;
        Ok(answer.status())
    }
}

fn server(config: &str, args: &[&str]) -> (Server, TempDir) {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let file = directory.path().join("waypost.toml");
    fs::write(&file, config).expect("the file can be written");
    let config = ["--config", file.to_str().expect("the path is UTF-8")];
    (Server::start(&[&config, args].concat()), directory)
}

#[tokio::test]
async fn the_response_has_complete_statuses() {
    let (server, _file) = server(CONFIG, &["--rls-headers", "ietf"]);
    let client = Client::to(&server).await;
    for remaining in [1, 0] {
        let answer = client.limit("edge", "user", "a").await.expect("the server answers");
        assert_eq!(answer.overall_code(), Answer::Ok);
        let status = &answer.statuses[0];
        let limit = status.current_limit.as_ref().expect("a limit applies");
        assert_eq!((limit.requests_per_unit, &limit.name[..]), (2, "per-user"));
        // 700 days are not a unit of the protocol.
        assert_eq!(limit.unit(), Unit::Unknown);
        assert_eq!(status.limit_remaining, remaining);
        assert!(status.duration_until_reset.is_some_and(|time| time.seconds > 0));
    }
    let denied = client.limit("edge", "user", "a").await.expect("the server answers");
    assert_eq!(denied.overall_code(), Answer::OverLimit);
    let names: Vec<&str> =
        denied.response_headers_to_add.iter().map(|field| &field.key[..]).collect();
    assert_eq!(names, ["ratelimit-policy", "ratelimit", "retry-after"]);
    assert_eq!(denied.response_headers_to_add[0].value, r#""per-user";q=2;w=60480000"#);
    for (domain, key) in [("edge", "other"), ("other", "user")] {
        let answer = client.limit(domain, key, "a").await.expect("the server answers");
        assert_eq!(answer.overall_code(), Answer::Ok);
        assert_eq!(answer.statuses[0].current_limit, None);
    }
    for (name, value) in [
        ("waypost_rls_unknown_domains_total ", "1"),
        ("waypost_rls_unmatched_descriptors_total ", "1"),
        ("waypost_ratelimit_denials_total{limit=\"rls:edge.user\"} ", "1"),
        ("waypost_requests_total{api=\"rls\",method=\"POST\",status=\"2xx\"} ", "5"),
    ] {
        assert_eq!(server.metric(name).as_deref(), Some(value), "{name}");
    }
}

#[tokio::test]
async fn concurrent_calls_on_one_connection_are_counted_exactly() {
    let config = CONFIG.replace("requests_per_unit = 2", "requests_per_unit = 150");
    let (server, _file) = server(&config, &[]);
    let client = Client::to(&server).await;
    let calls = (0..400).map(|_| client.limit("edge", "user", "a"));
    let mut allowed = 0;
    for answer in join_all(calls).await {
        allowed += usize::from(answer.expect("the server answers").overall_code() == Answer::Ok);
    }
    assert_eq!(allowed, 150);
}

/// Runs all futures concurrently on this thread.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        let mut is_done = true;
        for (future, output) in &mut running {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(ready) => *output = Some(ready),
                    std::task::Poll::Pending => is_done = false,
                }
            }
        }
        if is_done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, output)| output).collect()
}

#[tokio::test]
async fn an_invalid_call_gets_a_status_and_an_explanation() {
    let (server, _file) = server(CONFIG, &[]);
    let client = Client::to(&server).await;
    let refused = async |path, message: Vec<u8>| {
        // `Vec<u8>` encodes as a message with one field of bytes, which is not a valid request.
        client.call::<_, RateLimitResponse>(path, message).await.expect_err("the call is rejected")
    };
    let status =
        client.limit("", "user", "a").await.expect_err("a call without a domain is rejected");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "rate limit domain must not be empty");
    let no_descriptor = RateLimitRequest { domain: "edge".into(), ..Default::default() };
    let status = client.call::<_, RateLimitResponse>(SHOULD_RATE_LIMIT, no_descriptor).await;
    assert_eq!(
        status.expect_err("a call without a descriptor is rejected").code(),
        Code::InvalidArgument
    );
    let status = refused(SHOULD_RATE_LIMIT, vec![0xff; 9]).await;
    assert_eq!(status.code(), Code::Internal, "{status:?}");
    // A message that is too long is denied: Envoy would let the client pass if the call failed.
    let long = client.limit("edge", "user", &"x".repeat(5 << 20)).await;
    assert_eq!(long.expect("the server answers").overall_code(), Answer::OverLimit);
    let status = refused("/grpc.health.v1.Health/Watch", Vec::new()).await;
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("/grpc.health.v1.Health/Watch"), "{status:?}");
    // The connection stays usable.
    assert!(client.limit("edge", "user", "a").await.is_ok());
}

#[tokio::test]
async fn a_request_that_is_not_grpc_gets_a_hint() {
    let (server, _file) = server(CONFIG, &[]);
    let http1 =
        format!("POST {SHOULD_RATE_LIMIT} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    let answer = server.connect().request(http1);
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("h2c") && answer.body.contains("http2_protocol_options"));
    let (mut sender, _connection) = http2(&server.address).await;
    let url = format!("http://{}{SHOULD_RATE_LIMIT}", server.address);
    for (method, kind, status) in [
        ("GET", "application/grpc", 405),
        ("POST", "application/json", 415),
        ("POST", "application/grpc+json", 415),
        ("POST", "application/grpcx", 415),
    ] {
        let request = Request::builder().method(method).uri(&url).header("content-type", kind);
        let request = request.body(Full::new(Bytes::new())).expect("the request is valid");
        let response = sender.send_request(request).await.expect("the server answers");
        assert_eq!(response.status(), status, "{method} {kind}");
        let body = response.into_body().collect().await.expect("the body is complete").to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("application/grpc"), "{body:?}");
    }
}

#[tokio::test]
async fn the_health_check_fails_once_the_server_drains() {
    let (server, _file) = server(CONFIG, &["--drain-notice", "60s"]);
    let client = Client::to(&server).await;
    for service in ["", "ratelimit", "envoy.service.ratelimit.v3.RateLimitService"] {
        assert_eq!(
            client.health(service).await.expect("the server answers"),
            ServingStatus::Serving
        );
    }
    assert_eq!(
        client.health("other").await.expect_err("the service is unknown").code(),
        Code::NotFound
    );
    server.signal(Signal::TERM);
    server.await_log("draining");
    assert_eq!(client.health("").await.expect("the server answers"), ServingStatus::NotServing);
    // It still decides about requests.
    assert!(client.limit("edge", "user", "a").await.is_ok());
}

#[tokio::test]
async fn a_clean_stop_keeps_the_counters() {
    let (server, file) = server(CONFIG, &[]);
    let client = Client::to(&server).await;
    for _ in 0..3 {
        client.limit("edge", "user", "a").await.expect("the server answers");
    }
    drop(client);
    let config = file.path().join("waypost.toml");
    let args = ["--config", config.to_str().expect("the path is UTF-8")];
    let server = Server::start_in(server.stop(), "127.0.0.1:0", &args);
    let client = Client::to(&server).await;
    let denied = client.limit("edge", "user", "a").await.expect("the server answers");
    assert_eq!(denied.overall_code(), Answer::OverLimit);
    let other = client.limit("edge", "user", "b").await.expect("the server answers");
    assert_eq!(other.overall_code(), Answer::Ok);
}

const YAML: &str = "domain: DOMAIN
descriptors:
  - key: user
    rate_limit: {unit: year, requests_per_unit: 1}
";

#[tokio::test]
async fn configuration_files_of_envoyproxy_ratelimit_work_unchanged() {
    let files = TempDir::new().unwrap();
    for (name, domain) in [("a.yaml", "a"), ("b.yml", "b"), (".hidden.yaml", "a"), ("c.txt", "c")] {
        fs::write(files.path().join(name), YAML.replace("DOMAIN", domain)).unwrap();
    }
    fs::create_dir(files.path().join("sub")).unwrap();
    let file = files.path().join("a.yaml");
    for (path, domains) in [(files.path(), &["a", "b"][..]), (&file, &["a"])] {
        let (server, _file) = server(CONFIG, &["--rls-config", path.to_str().unwrap()]);
        let client = Client::to(&server).await;
        for domain in ["a", "b", "c", "edge"] {
            let answer = client.limit(domain, "user", "x").await.expect("the server answers");
            let is_known = domains.contains(&domain) || domain == "edge";
            assert_eq!(answer.statuses[0].current_limit.is_some(), is_known, "{domain}");
        }
    }
}

#[tokio::test]
async fn a_limit_too_large_for_a_sliding_window_uses_a_fixed_one_with_a_warning() {
    let files = TempDir::new().unwrap();
    let file = files.path().join("a.yaml");
    let large = YAML.replace("DOMAIN", "a").replace("unit: 1}", "unit: 5000000}");
    fs::write(&file, large).unwrap();
    let server = Server::start(&["--rls-config", file.to_str().unwrap()]);
    let answer =
        Client::to(&server).await.limit("a", "user", "x").await.expect("the server answers");
    assert_eq!(answer.statuses[0].limit_remaining, 4_999_999);
    let log = server.into_log();
    let warning = log.lines().find(|line| line.contains("a.user: too many requests_per_unit"));
    assert!(warning.is_some_and(|line| line.contains("WARN")), "{log}");
}

#[test]
fn an_invalid_configuration_is_reported_with_file_and_position() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let fails = |toml: &str, yaml: &str, expected: &[&str]| {
        fs::write(path("waypost.toml"), toml).unwrap();
        fs::write(path("limits.yaml"), yaml).unwrap();
        let rls = ["--rls-config".to_owned(), path("limits.yaml")];
        let output = run(["serve".to_owned(), "--config".into(), path("waypost.toml")]
            .iter()
            .chain(if yaml.is_empty() { &[] } else { &rls[..] }));
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{toml}{yaml}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(
            expected.iter().all(|expected| error.contains(expected)),
            "{expected:?} in {error:?}"
        );
    };
    let toml = path("waypost.toml");
    let yaml = path("limits.yaml");
    fails("[[rls]]\ndomain = \"d\"\ndescriptor = []\n", "", &[&toml, ":3:", "descriptor"]);
    fails("rls-algorithm = \"leaky\"\n", "", &[":1:", "sliding, fixed, gcra"]);
    fails("\nrls-headers = \"all\"\n", "", &[":2:", "none, x-ratelimit, ratelimit or ietf"]);
    let descriptors = "descriptors = [{ key = \"a\", descriptors = [{ key = \"b\", rate_limit = { unit = \"second\" } }] }]";
    let wrong = format!("[[rls]]\ndomain = \"d\"\n{descriptors}\n");
    fails(&wrong, "", &[&toml, "domain \"d\", descriptor a > b: "]);
    fails("", "domain: d\nother: 1\n", &[&format!("{yaml}:2: "), "unknown field `other`"]);
    fails("", "# nothing\n", &[&yaml, "it has no domain"]);
    fails(CONFIG, &YAML.replace("DOMAIN", "edge"), &[&yaml, "domain \"edge\": it exists twice"]);
    let empty = TempDir::new().unwrap();
    for missing in [empty.path().to_str().unwrap(), "/nowhere/at/all.yaml"] {
        let output = run(["serve", "--rls-config", missing]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(&format!("can't read {missing}")));
    }
}
