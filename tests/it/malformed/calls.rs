//! Valid HTTP requests that are invalid calls.

use std::fmt::Write as _;

use super::{
    Case,
    Expected::{self, Reason, Status},
    NAMESPACE, case, request,
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = puts();
    cases.extend(gets_and_lists());
    cases.extend(bulk());
    cases.extend(unknown());
    cases.extend(namespaces());
    cases.extend(proxied());
    cases
}

fn reason(status: u16, text: &str) -> Expected {
    Reason(status, text.to_owned())
}

fn puts() -> Vec<Case> {
    let mut cases = Vec::new();
    for (query, text) in [
        ("expiration=", "Invalid expiration of "),
        ("expiration=abc", "Invalid expiration of abc"),
        ("expiration=1e10", "Invalid expiration of 1e10"),
        ("expiration=0", "Invalid expiration of 0"),
        ("expiration=-1", "Invalid expiration of -1"),
        ("expiration=1", "Invalid expiration of 1."),
        ("expiration=%00", "Invalid expiration of "),
        ("expiration=%0D%0AX-A:%20b", "Invalid expiration of "),
        ("expiration_ttl=", "Invalid expiration_ttl of "),
        ("expiration_ttl=abc", "Invalid expiration_ttl of abc"),
        ("expiration_ttl=0", "Invalid expiration_ttl of 0. Please specify integer greater than 0."),
        ("expiration_ttl=-60", "Invalid expiration_ttl of -60"),
        ("expiration_ttl=59", "Invalid expiration_ttl of 59. Expiration TTL must be at least 60."),
        ("expiration_ttl=1&expiration=2000000000", "Invalid expiration_ttl of 1"),
    ] {
        let line = format!("PUT /new?urlencoded=true&{query}");
        let bytes = request(&line, "Content-Length: 1\r\n", b"v");
        cases.push(case(query, bytes, reason(400, text)));
    }
    for (name, metadata, expected) in [
        ("that is not JSON", &b"{a:1}"[..], Status(&[400])),
        ("of two values", b"1 2", Status(&[400])),
        ("that is empty", b"", Status(&[400])),
        ("that is not UTF-8", b"\"\xff\"", Status(&[400])),
        ("with half an emoji", b"\"\xed\xa0\x80\"", Status(&[400])),
    ] {
        let headers = [b"CF-KV-Metadata: ", metadata, b"\r\nContent-Length: 1\r\n\r\nv"].concat();
        let bytes = request("PUT /new?urlencoded=true", "", b"");
        let bytes = [&bytes[..bytes.len() - 2], &headers].concat();
        cases.push(case(format!("metadata {name}"), bytes, expected));
    }
    let twice = "CF-KV-Metadata: 1\r\nCF-KV-Metadata: 1\r\nContent-Length: 1\r\n";
    let bytes = request("PUT /new?urlencoded=true", twice, b"v");
    cases.push(case("metadata twice", bytes, reason(400, "Please specify it once.")));
    let long = format!("CF-KV-Metadata: \"{}\"\r\nContent-Length: 1\r\n", "x".repeat(1023));
    let bytes = request("PUT /new?urlencoded=true", &long, b"v");
    let text = "Metadata length of 1025 exceeds limit of 1024.";
    cases.push(case("metadata of 1025 bytes", bytes, reason(413, text)));
    cases
}

fn gets_and_lists() -> Vec<Case> {
    let mut cases = Vec::new();
    for (line, status, text) in [
        ("/a?urlencoded=true&cache_ttl=29", 400, "Invalid cache_ttl of 29."),
        ("/a?urlencoded=true&cache_ttl=abc", 400, "Invalid cache_ttl of "),
        ("/a?urlencoded=true&cache_ttl=", 400, "Invalid cache_ttl of "),
        ("/?key_count_limit=0", 400, "Please specify an integer greater than 0."),
        ("/?key_count_limit=-1", 400, "Please specify an integer greater than 0."),
        ("/?key_count_limit=abc", 400, "Please specify an integer greater than 0."),
        ("/?key_count_limit=1001", 400, "Please specify an integer less than 1000."),
        ("/?key_count_limit=99999999999999999999", 400, "Invalid key_count_limit of"),
        ("/?cursor=%21%21%21", 400, "cursor"),
        ("/?cursor=%ff", 400, "cursor"),
    ] {
        cases.push(case(line, request(&format!("GET {line}"), "", b""), reason(status, text)));
    }
    let long = format!("GET /?prefix={}", "p".repeat(513));
    let text = "UTF-8 encoded length of 513 exceeds key length limit of 512.";
    cases.push(case("a prefix of 513 bytes", request(&long, "", b""), reason(414, text)));
    cases
}

fn bulk() -> Vec<Case> {
    let call = |name: &str, body: &[u8], expected: Expected| {
        let headers =
            format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        case(format!("bulk: {name}"), request("POST /bulk/get", &headers, body), expected)
    };
    let keys = |count: usize| {
        let mut keys = String::from("\"k0\"");
        for i in 1..count {
            write!(keys, ",\"k{i}\"").expect("a string takes all that is written");
        }
        format!(r#"{{"keys":[{keys}]}}"#).into_bytes()
    };
    let deep = ["[".repeat(200_000), "]".repeat(200_000)].concat();
    let bad = || Status(&[400]);
    vec![
        call("no body", b"", bad()),
        call("half an object", br#"{"keys":["a"#, bad()),
        call("an array", b"[]", bad()),
        call("null", b"null", bad()),
        call("no keys", b"{}", bad()),
        call("keys that are a string", br#"{"keys":"a"}"#, bad()),
        call("keys that are numbers", br#"{"keys":[1,2]}"#, bad()),
        call("keys that are null", br#"{"keys":[null]}"#, bad()),
        call("an empty list of keys", br#"{"keys":[]}"#, reason(400, "minimum of 1 key")),
        call("101 keys", &keys(101), reason(400, "You can request a maximum of 100 keys")),
        call("200,000 keys", &keys(200_000), Status(&[400, 413])),
        call("an empty key", br#"{"keys":[""]}"#, reason(400, "Key names must not be empty")),
        call("a dot", br#"{"keys":["."]}"#, reason(400, "Illegal key name")),
        call("half an emoji", br#"{"keys":["\ud800"]}"#, reason(400, "half a surrogate pair")),
        call("a raw control in a string", b"{\"keys\":[\"a\nb\"]}", bad()),
        call("text after the object", br#"{"keys":["a"]} x"#, bad()),
        call(
            "an unknown type",
            br#"{"keys":["a"],"type":"arrayBuffer"}"#,
            reason(400, "is not a valid type"),
        ),
        call(
            "a type that splits headers",
            br#"{"keys":["a"],"type":"\r\nX-A: b"}"#,
            reason(400, "is not a valid type"),
        ),
        call("a type that is a number", br#"{"keys":["a"],"type":5}"#, bad()),
        call(
            "a cacheTtl of 29",
            br#"{"keys":["a"],"cacheTtl":"29"}"#,
            reason(400, "Invalid cache_ttl of 29"),
        ),
        call(
            "a cacheTtl that is not a number",
            br#"{"keys":["a"],"cacheTtl":"x"}"#,
            reason(400, "Invalid cache_ttl of"),
        ),
        call("a deep array", deep.as_bytes(), Status(&[400, 413])),
        call(
            "a deep array as keys",
            format!(r#"{{"keys":{deep}}}"#).as_bytes(),
            Status(&[400, 413]),
        ),
        call("XML", b"<keys><key>a</key></keys>", bad()),
    ]
}

fn unknown() -> Vec<Case> {
    let text = "Make it with: waypost namespace create nowhere";
    let mut cases = Vec::new();
    for (method, path, status) in [
        ("GET", "a", 404),
        ("GET", "", 404),
        ("PUT", "a", 404),
        ("DELETE", "a", 404),
        ("POST", "bulk/get", 404),
    ] {
        let head = |target: &str, header: &str| {
            let length = if method == "GET" { "" } else { "Content-Length: 2\r\n" };
            let body = if method == "GET" { "" } else { "{}" };
            format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{header}{length}\r\n{body}")
        };
        let by_path = head(&format!("/binding/nowhere/{path}"), "");
        let by_header = head(&format!("/{path}"), "Waypost-Namespace: nowhere\r\n");
        cases.push(case(
            format!("unknown by path: {method} {path}"),
            by_path,
            reason(status, text),
        ));
        cases.push(case(
            format!("unknown by header: {method} {path}"),
            by_header,
            reason(status, text),
        ));
    }
    for (target, status) in [
        ("/binding", 404),
        ("/binding/", 404),
        ("/binding//a", 404),
        ("/binding/%ff/a", 400),
        ("/binding/%zz/a", 404),
        ("/nothing/here", 404),
        ("/", 404),
    ] {
        let statuses: &'static [u16] = if status == 400 { &[400] } else { &[404] };
        cases.push(case(
            target,
            format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"),
            Status(statuses),
        ));
    }
    cases
}

fn namespaces() -> Vec<Case> {
    let call = |name: &str, line: &str, body: &str, statuses: &'static [u16]| {
        let head = format!("{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        case(format!("namespaces: {name}"), head + body, Status(statuses))
    };
    let create = "POST /v1/namespaces";
    vec![
        call("no body", create, "", &[400]),
        call("half an object", create, r#"{"title":"#, &[400]),
        call("no title", create, "{}", &[400]),
        call("an empty title", create, r#"{"title":""}"#, &[400]),
        call("a title that is a number", create, r#"{"title":5}"#, &[400]),
        call(
            "a title of 600 bytes",
            create,
            &format!(r#"{{"title":"{}"}}"#, "t".repeat(600)),
            &[400],
        ),
        call("a title that is taken", create, &format!(r#"{{"title":"{NAMESPACE}"}}"#), &[409]),
        call("an unknown field", create, r#"{"title":"new","colour":"red"}"#, &[400]),
        call("a short id", create, r#"{"title":"new","id":"00ff"}"#, &[400]),
        call(
            "an id with letters that are not hexadecimal",
            create,
            &format!(r#"{{"title":"new","id":"{}"}}"#, "z".repeat(32)),
            &[400],
        ),
        call(
            "the id that is reserved for the system",
            create,
            &format!(r#"{{"title":"new","id":"{}"}}"#, "0".repeat(32)),
            &[400, 409],
        ),
        call("a body of 100,000 bytes", create, &"x".repeat(100_000), &[400, 413]),
        call("PUT", "PUT /v1/namespaces", "{}", &[405]),
        call("dropping an unknown namespace", "DELETE /v1/namespaces/nowhere", "", &[404]),
        call(
            "renaming an unknown namespace",
            "PATCH /v1/namespaces/nowhere",
            r#"{"title":"x"}"#,
            &[404],
        ),
        call("renaming to an empty title", "PATCH /v1/namespaces/kept", r#"{"title":""}"#, &[400]),
        call("renaming with half an object", "PATCH /v1/namespaces/kept", "{", &[400]),
    ]
}

/// The form in which miniflare's remote proxy sends requests.
fn proxied() -> Vec<Case> {
    let call = |name: &str, url: &[u8], statuses: &'static [u16]| {
        let head = format!("PUT /binding/{NAMESPACE} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n");
        let bytes = [head.as_bytes(), b"MF-URL: ", url, b"\r\n\r\nv"].concat();
        case(format!("proxied: {name}"), bytes, Status(statuses))
    };
    vec![
        call("an empty URL", b"", &[400]),
        call("no URL", b"key", &[400]),
        call("a URL that is not UTF-8", b"https://fake-host/\xff", &[400]),
        call("a URL with a space", b"https://fake-host/a b", &[400]),
        call("a URL without a key", b"https://fake-host", &[400]),
        call("a bad escape", b"https://fake-host/%zz?urlencoded=true", &[400]),
        case(
            "proxied: a websocket",
            format!(
                "GET /binding/{NAMESPACE}?MF-Binding=KV HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n\r\n"
            ),
            Status(&[400]),
        ),
    ]
}
