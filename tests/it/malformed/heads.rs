//! Invalid request lines and headers.

use super::{
    BY_HEADER, Case,
    Expected::{ClosedOr, Reason, Status},
    case, request,
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = request_lines();
    cases.extend(targets());
    cases.extend(headers());
    cases.extend(sizes());
    cases
}

/// A case with this head, unchanged.
fn raw(name: &str, head: &str, expected: super::Expected) -> Case {
    case(name, head.as_bytes(), expected)
}

fn request_lines() -> Vec<Case> {
    let host = BY_HEADER;
    let line =
        |name: &str, line: &str, expected| raw(name, &format!("{line}\r\n{host}\r\n"), expected);
    vec![
        line("no version", "GET /a", Status(&[400])),
        line("HTTP/0.9", "GET /a HTTP/0.9", Status(&[400])),
        line("HTTP/1.2", "GET /a HTTP/1.2", Status(&[400])),
        line("HTTP/2.0 in text", "GET /a HTTP/2.0", Status(&[400])),
        line("HTTP/3", "GET /a HTTP/3", Status(&[400])),
        line("a version in lower case", "GET /a http/1.1", Status(&[400])),
        line("text after the version", "GET /a HTTP/1.1 x", Status(&[400])),
        line("no method", " /a HTTP/1.1", Status(&[400])),
        line("a method of other characters", "G@T /a HTTP/1.1", Status(&[400])),
        line("a method in lower case", "put /a HTTP/1.1", Reason(405, "put".into())),
        line("an unknown method", "BREW /a HTTP/1.1", Reason(405, "BREW".into())),
        line("PATCH", "PATCH /a HTTP/1.1", Status(&[405])),
        line("OPTIONS", "OPTIONS /a HTTP/1.1", Status(&[405])),
        line("TRACE", "TRACE /a HTTP/1.1", Status(&[405])),
        line("CONNECT", "CONNECT fake-host:443 HTTP/1.1", Status(&[400, 405])),
        line("an asterisk", "OPTIONS * HTTP/1.1", Status(&[400, 405])),
        line("POST to a key", "POST /a HTTP/1.1\r\nContent-Length: 0", Status(&[405])),
        line("no target", "GET HTTP/1.1", Status(&[400])),
        line("an empty target", "GET  HTTP/1.1", Status(&[400])),
        line("a target without a slash", "GET a HTTP/1.1", Status(&[400])),
        line("a space in the target", "GET /a b HTTP/1.1", Status(&[400])),
        line("a tab in the target", "GET /a\tb HTTP/1.1", Status(&[400])),
        line("NUL in the target", "GET /a\0b HTTP/1.1", Status(&[400])),
        line("a control in the target", "GET /a\x01b HTTP/1.1", Status(&[400])),
        line("DEL in the target", "GET /a\x7fb HTTP/1.1", Status(&[400])),
        case(
            "bytes that are not UTF-8 in the target",
            [b"GET /a\xff\xfe HTTP/1.1\r\n", host.as_bytes(), b"\r\n"].concat(),
            Status(&[400]),
        ),
    ]
}

fn targets() -> Vec<Case> {
    let undecodable = || Reason(400, "Could not URL-decode key name".into());
    let mut cases = Vec::new();
    for method in ["GET", "PUT", "DELETE"] {
        for escape in
            ["%", "%2", "%zz", "%%41", "a%", "%u0041", "%FF", "%C0%80", "%ED%A0%80", "%E2%82"]
        {
            let line = format!("{method} /{escape}?urlencoded=true");
            let body = if method == "GET" { "" } else { "Content-Length: 0\r\n" };
            cases.push(case(line.clone(), request(&line, body, b""), undecodable()));
        }
    }
    for (line, expected) in [
        ("PUT /?urlencoded=true", Reason(400, "Key names must not be empty".into())),
        ("DELETE /", Reason(400, "Key names must not be empty".into())),
        ("PUT /.?urlencoded=true", Reason(400, "Illegal key name".into())),
        ("PUT /%2e%2E?urlencoded=true", Reason(400, "Illegal key name".into())),
    ] {
        cases.push(case(line, request(line, "Content-Length: 0\r\n", b""), expected));
    }
    for (name, path, status) in [
        ("a key of 513 bytes", format!("/{}?urlencoded=true", "k".repeat(513)), 414),
        (
            "a key of 514 bytes in escapes",
            format!("/{}", "%C3%A9".repeat(257)) + "?urlencoded=true",
            414,
        ),
        ("a key of 10,000 bytes", format!("/{}?urlencoded=true", "k".repeat(10_000)), 414),
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            let body = if method == "GET" { "" } else { "Content-Length: 1\r\n" };
            let sent: &[u8] = if method == "GET" { b"" } else { b"v" };
            let expected = Reason(status, "exceeds key length limit of 512.".into());
            let bytes = request(&format!("{method} {path}"), body, sent);
            cases.push(case(format!("{method}: {name}"), bytes, expected));
        }
    }
    cases
}

fn headers() -> Vec<Case> {
    let with = |name: &str, headers: &str, expected| {
        raw(name, &format!("GET /a HTTP/1.1\r\n{BY_HEADER}{headers}\r\n"), expected)
    };
    vec![
        with("a header without a colon", "no colon\r\n", Status(&[400])),
        with("a header without a name", ": value\r\n", Status(&[400])),
        with("a space before the colon", "X-A : b\r\n", Status(&[400])),
        with("a space in a name", "X A: b\r\n", Status(&[400])),
        with("a control in a name", "X\x01A: b\r\n", Status(&[400])),
        with("a name that is not ASCII", "X-\u{e9}: b\r\n", Status(&[400])),
        with("NUL in a value", "X-A: b\0c\r\n", Status(&[400])),
        with("a control in a value", "X-A: b\x01c\r\n", Status(&[400])),
        with("a bare CR in a value", "X-A: b\rc\r\n", Status(&[400])),
        with("a folded header", "X-A: b\r\n  c\r\n", Status(&[400])),
        with("a first header that is folded", " folded\r\nX-A: b\r\n", Status(&[400])),
        with("a request from a web page", "Origin: http://example.com\r\n", Status(&[403])),
        raw(
            "bare line feeds",
            "GET /%zz?urlencoded=true HTTP/1.1\nHost: x\nWaypost-Namespace: kept\n\n",
            Status(&[400]),
        ),
        raw(
            "an unknown namespace",
            &head_for("nowhere"),
            Reason(404, "Unknown namespace nowhere".into()),
        ),
        raw("an empty namespace", &head_for(""), Status(&[400])),
        raw("a namespace of 10,000 bytes", &head_for(&"n".repeat(10_000)), Status(&[404])),
        raw("a namespace in UTF-8", &head_for("na\u{ef}ve"), Reason(404, r"na\u00efve".into())),
        case(
            "a namespace that is not UTF-8",
            b"GET /a HTTP/1.1\r\nHost: x\r\nWaypost-Namespace: \xff\xfe\r\n\r\n".as_slice(),
            Status(&[400]),
        ),
        raw(
            "two namespaces",
            "GET /a HTTP/1.1\r\nHost: x\r\nWaypost-Namespace: nowhere\r\nWaypost-Namespace: kept\r\n\r\n",
            Status(&[400]),
        ),
    ]
}

fn head_for(namespace: &str) -> String {
    format!("GET /a HTTP/1.1\r\nHost: x\r\nWaypost-Namespace: {namespace}\r\n\r\n")
}

fn sizes() -> Vec<Case> {
    let long = |length: usize| "x".repeat(length);
    vec![
        raw(
            "a target of 70,000 bytes",
            &format!("GET /{} HTTP/1.1\r\n{BY_HEADER}\r\n", long(70_000)),
            Status(&[414, 431]),
        ),
        raw(
            "a target of 1,000,000 bytes",
            &format!("GET /{} HTTP/1.1\r\n{BY_HEADER}\r\n", long(1_000_000)),
            ClosedOr(&[414, 431]),
        ),
        raw(
            "a header of 70,000 bytes",
            &format!("GET /a HTTP/1.1\r\n{BY_HEADER}X-A: {}\r\n\r\n", long(70_000)),
            Status(&[431]),
        ),
        raw(
            "a header's name of 70,000 bytes",
            &format!("GET /a HTTP/1.1\r\n{BY_HEADER}{}: x\r\n\r\n", long(70_000)),
            Status(&[431, 400]),
        ),
        raw(
            "5,000 headers",
            &format!("GET /a HTTP/1.1\r\n{BY_HEADER}{}\r\n", "X-A: b\r\n".repeat(5_000)),
            Status(&[431]),
        ),
        raw(
            "a method of 70,000 bytes",
            &format!("{} /a HTTP/1.1\r\n{BY_HEADER}\r\n", "M".repeat(70_000)),
            Status(&[400, 431]),
        ),
    ]
}
