use super::*;

/// The head of a request with these headers.
fn request(version: Version, target: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().version(version).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

/// What is refused of a request over HTTP/1.1.
fn checked(headers: &[(&str, &str)]) -> Result<(), Refusal> {
    let allowed = ["kv.example.com".parse().expect("a name")];
    WebPages::new(allowed.into()).check(&request(Version::HTTP_11, "/k", headers))
}

#[test]
fn a_program_on_this_machine_is_served() {
    for host in ["localhost:8420", "127.0.0.1:8420", "[::1]:8420", "fake-host", "waypost", ""] {
        assert_eq!(checked(&[("host", host)]), Ok(()), "{host}");
    }
    assert_eq!(checked(&[]), Ok(()));
    assert_eq!(checked(&[("host", "x"), ("sec-fetch-mode", "cors")]), Ok(()), "Node's fetch");
}

#[test]
fn a_public_name_is_refused_unless_it_is_allowed() {
    for host in ["evil.example", "EVIL.example:8420", "evil.example.", "localhost.evil.example"] {
        let refusal = checked(&[("host", host)]).expect_err(host);
        assert_eq!(
            (&refusal, refusal.status()),
            (&Refusal::Host(host.into()), StatusCode::FORBIDDEN)
        );
        assert!(refusal.to_string().contains("--allowed-hosts"), "{refusal}");
    }
    for host in ["kv.example.com", "KV.Example.Com:443", "kv.example.com."] {
        assert_eq!(checked(&[("host", host)]), Ok(()), "{host}");
    }
    let two = [("host", "localhost"), ("host", "evil.example")];
    assert_eq!(checked(&two), Err(Refusal::Host("evil.example".into())));
    let malformed = checked(&[("host", "a@b")]).expect_err("a@b");
    assert_eq!(malformed.status(), StatusCode::BAD_REQUEST);
}

#[test]
fn a_whole_url_as_the_target_replaces_the_host() {
    let check = |version, target, host| {
        WebPages::default().check(&request(version, target, &[("host", host)]))
    };
    let refused = Err(Refusal::Host("evil.example".into()));
    assert_eq!(check(Version::HTTP_11, "http://evil.example/k", "localhost"), refused);
    assert_eq!(check(Version::HTTP_10, "http://evil.example/k", "localhost"), refused);
    assert_eq!(check(Version::HTTP_11, "http://fake-host/k", "evil.example"), Ok(()));
    let user = check(Version::HTTP_11, "http://localhost@evil.example/k", "localhost");
    assert_eq!(user.map_err(|refusal| refusal.status()), Err(StatusCode::BAD_REQUEST));
}

#[test]
fn the_authority_of_http2_may_be_any_name_but_is_no_excuse_for_an_origin() {
    let check = |headers: &[(&str, &str)]| {
        WebPages::default().check(&request(Version::HTTP_2, "http://rls.svc.local/k", headers))
    };
    assert_eq!(check(&[]), Ok(()));
    let refused = Err(Refusal::Origin("http://rls.svc.local".into()));
    assert_eq!(check(&[("origin", "http://rls.svc.local")]), refused);
    assert_eq!(check(&[("sec-fetch-site", "cross-site")]), Err(Refusal::Site("cross-site".into())));
}

#[test]
fn an_origin_is_refused_unless_it_is_the_host_of_the_request() {
    let with = |host, origin| checked(&[("host", host), ("origin", origin)]);
    for (host, origin) in [
        ("localhost:8420", "http://localhost:8420"),
        ("LOCALHOST:8420", "http://localhost:8420"),
        ("127.0.0.1:8420", "http://127.0.0.1:8420"),
        ("[::1]:8420", "http://[::1]:8420"),
        ("localhost", "http://localhost"),
        ("localhost:80", "http://localhost"),
        ("kv.example.com", "https://kv.example.com"),
        ("kv.example.com:443", "https://kv.example.com"),
        ("kv.example.com:8443", "https://kv.example.com:8443"),
    ] {
        assert_eq!(with(host, origin), Ok(()), "{origin} at {host}");
    }
    for (host, origin) in [
        ("localhost:8420", "http://evil.example"),
        ("localhost:8420", "http://localhost:3000"),
        ("localhost:8420", "http://localhost"),
        ("localhost:8420", "http://127.0.0.1:8420"),
        ("localhost:8420", "http://localhost:8420.evil.example"),
        ("localhost:8420", "http://localhost:8420/"),
        ("localhost:8420", "http://x@localhost:8420"),
        ("localhost:8420", "localhost:8420"),
        ("localhost:8420", "ftp://localhost:8420"),
        ("localhost:8420", "chrome-extension://localhost:8420"),
        ("localhost:8420", "null"),
        ("localhost:8420", ""),
        ("localhost:443", "http://localhost"),
        ("kv.example.com", "https://www.example.com"),
        ("", "http://"),
    ] {
        let refusal = with(host, origin).expect_err(origin);
        assert_eq!(refusal, Refusal::Origin(origin.into()), "{origin} at {host}");
        assert_eq!(refusal.status(), StatusCode::FORBIDDEN);
        assert!(refusal.to_string().contains("Origin"), "{refusal}");
    }
    let own = ("origin", "http://localhost:8420");
    assert!(checked(&[own]).is_err(), "no host");
    assert!(checked(&[("host", "localhost:8420"), own, own]).is_err(), "two origins");
    let hosts = [("host", "localhost:8420"), ("host", "localhost:8420"), own];
    assert!(checked(&hosts).is_err(), "two hosts");
}

#[test]
fn a_request_that_another_site_caused_is_refused() {
    let with = |sites: &[&'static str]| {
        let sites = sites.iter().map(|site| ("sec-fetch-site", *site));
        checked(&[("host", "localhost")].into_iter().chain(sites).collect::<Vec<_>>())
    };
    assert_eq!(with(&["none"]), Ok(()));
    assert_eq!(with(&["same-origin"]), Ok(()));
    for site in ["cross-site", "same-site", "", "None", "none, cross-site", "new-in-2040"] {
        assert_eq!(with(&[site]), Err(Refusal::Site(site.into())), "{site}");
    }
    assert!(with(&["none", "cross-site"]).is_err());
}

#[test]
fn a_refusal_repeats_what_the_client_sent_in_few_safe_bytes() {
    let long = "x".repeat(10_000);
    let refusal = checked(&[("host", "a"), ("origin", &long)]).expect_err("an origin").to_string();
    assert!(refusal.len() < 600 && refusal.contains("x…)"), "{refusal}");
    let mut request = request(Version::HTTP_11, "/", &[]);
    let bytes = HeaderValue::from_bytes(b"\xe2\x80\xae\xff").expect("a value");
    request.headers_mut().insert(ORIGIN, bytes);
    let refusal = WebPages::default().check(&request).expect_err("an origin").to_string();
    assert!(refusal.contains(r"\xe2\x80\xae\xff"), "{refusal}");
}
