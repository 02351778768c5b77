//! Bytes that are not HTTP/1.1, and valid requests with some bytes changed.

use waypost_tests::random::{Random, noise};

use super::{
    Case,
    Expected::{ClosedOr, Status},
    case,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) fn cases() -> Vec<Case> {
    let tls_hello = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &noise(1, 500)];
    let http2 = |frames: &[u8]| [PREFACE, b"\0\0\0\x04\0\0\0\0\0", frames].concat();
    let rejected = || ClosedOr(&[400]);
    vec![
        case("HTTP/0.9", "GET /a\r\n", ClosedOr(&[400])).cut(),
        case("HTTP/0.9, and the client waits", "GET /a\r\n", ClosedOr(&[400])),
        case("TLS", tls_hello.concat(), Status(&[400])),
        case("SSH", "SSH-2.0-OpenSSH_9.6\r\n", rejected()),
        case("Redis", "*1\r\n$4\r\nPING\r\n", Status(&[400])),
        case("a SOCKS greeting", b"\x05\x01\x00".as_slice(), rejected()),
        case("PROXY", "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET / HTTP/1.1\r\n\r\n", Status(&[400])),
        case("an HTTP response", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Status(&[400])),
        case("NULs", vec![0; 1000], Status(&[400])),
        case("50,000 empty lines", "\r\n".repeat(50_000), ClosedOr(&[400, 431])),
        case("noise", noise(7, 5_000), rejected()),
        case("nothing", "", ClosedOr(&[])),
        case("no byte before the client closes", "", ClosedOr(&[])).cut(),
        case("half a preface", &PREFACE[..14], ClosedOr(&[400])),
        case(
            "a preface with a wrong end",
            b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".as_slice(),
            Status(&[400]),
        ),
        http2_case("random frames", &http2(&noise(3, 2_000))),
        http2_case("a frame that is too long", &http2(b"\xff\xff\xff\x00\0\0\0\0\x01")),
        http2_case("data on an unknown stream", &http2(b"\0\0\x01\0\0\0\0\0\x05x")),
        http2_case(
            "headers that are not HPACK",
            &http2(b"\0\0\x04\x01\x05\0\0\0\x01\xff\xff\xff\xff"),
        ),
        http2_case(
            "no settings",
            &[PREFACE, b"\0\0\x04\x01\x05\0\0\0\x01\x82\x84\x86\x41"].concat(),
        ),
        http2_case("a window update of zero", &http2(b"\0\0\x04\x08\0\0\0\0\0\0\0\0\0")),
    ]
}

/// An HTTP/2 server reports errors in frames; this client only sees that the connection is closed.
fn http2_case(name: &str, bytes: &[u8]) -> Case {
    case(format!("HTTP/2: {name}"), bytes, super::Expected::Frames)
}

/// A request with some bytes changed, in a namespace that does not exist: if it is still valid, it
/// changes nothing.
pub(super) fn damaged(random: &mut Random) -> Vec<u8> {
    let requests: [&[u8]; 5] = [
        b"GET /key?urlencoded=true&cache_ttl=60 HTTP/1.1\r\nHost: fake-host\r\nWaypost-Namespace: none\r\n\r\n",
        b"PUT /key?urlencoded=true&expiration_ttl=60 HTTP/1.1\r\nHost: fake-host\r\nWaypost-Namespace: none\r\n\
          CF-KV-Metadata: {\"a\":1}\r\nContent-Length: 5\r\n\r\nvalue",
        b"PUT /binding/none/key HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nvalue\r\n0\r\n\r\n",
        b"POST /bulk/get HTTP/1.1\r\nHost: x\r\nWaypost-Namespace: none\r\nContent-Length: 14\r\n\r\n{\"keys\":[\"a\"]}",
        b"POST /v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{\"title\":[1]}",
    ];
    let mut bytes = pick(random, &requests).to_vec();
    for _ in 0..random.between(1, 6) {
        if bytes.is_empty() {
            break;
        }
        let at = index(random, bytes.len());
        match random.between(0, 4) {
            0 => bytes[at] = random.next().to_le_bytes()[0],
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, *pick(random, b"\0\r\n :%/?\x7f\xff5a")),
            _ => bytes.truncate(at + 1),
        }
    }
    bytes
}

fn pick<'a, T>(random: &mut Random, from: &'a [T]) -> &'a T {
    &from[index(random, from.len())]
}

fn index(random: &mut Random, length: usize) -> usize {
    let length = u64::try_from(length).expect("a length fits");
    usize::try_from(random.between(0, length)).expect("an index fits")
}
