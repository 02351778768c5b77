//! Invalid lengths and chunks, and bodies that end early or stall.

use super::{
    BY_HEADER, Case,
    Expected::{self, Closed, ClosedOr, Status},
    case, request,
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = lengths();
    cases.extend(codings());
    cases.extend(chunks());
    cases.extend(cut());
    cases.extend(stalled());
    cases.extend(too_long());
    cases
}

fn put(name: &str, headers: &str, body: &str, expected: Expected) -> Case {
    case(name, request("PUT /new?urlencoded=true", headers, body.as_bytes()), expected)
}

fn lengths() -> Vec<Case> {
    let mut cases = Vec::new();
    for length in
        ["-1", "+5", "abc", "", "5abc", "0x5", "5.0", "1e1", "5 5", "99999999999999999999"]
    {
        let headers = format!("Content-Length: {length}\r\n");
        let name = format!("a length of {length:?}");
        cases.push(put(&name, &headers, "value", Status(&[400])));
    }
    cases.push(put(
        "two lengths",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "values",
        Status(&[400]),
    ));
    cases.push(put("two lengths in one", "Content-Length: 5, 6\r\n", "values", Status(&[400])));
    cases
}

fn codings() -> Vec<Case> {
    let chunk = "5\r\nvalue\r\n0\r\n\r\n";
    vec![
        put("an unknown coding", "Transfer-Encoding: gzip\r\n", chunk, Status(&[400, 501])),
        put(
            "a coding after chunked",
            "Transfer-Encoding: chunked, gzip\r\n",
            chunk,
            Status(&[400, 501]),
        ),
        put("a coding like chunked", "Transfer-Encoding: xchunked\r\n", chunk, Status(&[400, 501])),
        put("no coding", "Transfer-Encoding: \r\n", chunk, Status(&[400, 501])),
        put("identity", "Transfer-Encoding: identity\r\n", "value", Status(&[400, 501])),
        case(
            "chunks in HTTP/1.0",
            format!("PUT /new HTTP/1.0\r\n{BY_HEADER}Transfer-Encoding: chunked\r\n\r\n{chunk}"),
            Status(&[400]),
        ),
    ]
}

fn chunks() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, body) in [
        ("a size that is not a number", "zz\r\nvalue\r\n0\r\n\r\n"),
        ("a negative size", "-5\r\nvalue\r\n0\r\n\r\n"),
        ("no size", "\r\nvalue\r\n0\r\n\r\n"),
        ("a size over 64 bits", "fffffffffffffffff\r\nvalue\r\n0\r\n\r\n"),
        ("a size with 0x", "0x5\r\nvalue\r\n0\r\n\r\n"),
        ("two sizes", "5 5\r\nvalue\r\n0\r\n\r\n"),
        ("more bytes than the size", "5\r\nvalues\r\n0\r\n\r\n"),
        ("fewer bytes than the size", "9\r\nvalue\r\n0\r\n\r\n"),
        ("no line end after a chunk", "5\r\nvalue0\r\n\r\n"),
        ("a bare line feed after a size", "5\nvalue\r\n0\r\n\r\n"),
    ] {
        let name = format!("chunks: {name}");
        cases.push(put(&name, "Transfer-Encoding: chunked\r\n", body, Status(&[400, 408])));
    }
    let long = format!("5;{}\r\nvalue\r\n0\r\n\r\n", "x".repeat(100_000));
    cases.push(put(
        "chunks: an extension of 100,000 bytes",
        "Transfer-Encoding: chunked\r\n",
        &long,
        ClosedOr(&[400]),
    ));
    let trailers = format!("5\r\nvalue\r\n0\r\n{}\r\n", "X-A: b\r\n".repeat(20_000));
    cases.push(put(
        "chunks: 20,000 trailers",
        "Transfer-Encoding: chunked\r\n",
        &trailers,
        ClosedOr(&[400, 431]),
    ));
    cases
}

/// The client closes the connection in the middle. It may not read a response; nothing is stored.
fn cut() -> Vec<Case> {
    let whole = request("PUT /new?urlencoded=true", "Content-Length: 5\r\n", b"value");
    let mut cases: Vec<Case> = [1, 10, 26, 40, whole.len() - 6]
        .into_iter()
        .map(|at| {
            let name = format!("a head cut after {at} bytes");
            case(name, &whole[..at], ClosedOr(&[400])).cut()
        })
        .collect();
    let gone = || ClosedOr(&[400]);
    let large = "x".repeat(200_000);
    cases.extend([
        put("no byte of the body", "Content-Length: 5\r\n", "", gone()).cut(),
        put("a body cut short by one byte", "Content-Length: 6\r\n", "value", gone()).cut(),
        put("a large body cut", "Content-Length: 300000\r\n", &large, gone()).cut(),
        put("chunks without an end", "Transfer-Encoding: chunked\r\n", "5\r\nvalue\r\n", gone())
            .cut(),
        put("a chunk cut", "Transfer-Encoding: chunked\r\n", "5\r\nval", gone()).cut(),
        put("an end cut", "Transfer-Encoding: chunked\r\n", "5\r\nvalue\r\n0\r\n", gone()).cut(),
        put(
            "large chunks cut",
            "Transfer-Encoding: chunked\r\n",
            &format!("30d40\r\n{large}\r\n30d40\r\n{}", &large[..100_000]),
            gone(),
        )
        .cut(),
        case(
            "a bulk get cut",
            request("POST /bulk/get", "Content-Length: 50\r\n", br#"{"keys":["a""#),
            gone(),
        )
        .cut(),
    ]);
    cases
}

/// The client keeps the connection open and sends no more.
fn stalled() -> Vec<Case> {
    let whole = request("PUT /new?urlencoded=true", "Content-Length: 5\r\n", b"value");
    vec![
        case("a stalled request line", &whole[..9], Closed),
        case("a stalled header", &whole[..whole.len() - 10], Closed),
        put("a body that does not begin", "Content-Length: 5\r\n", "", Status(&[408])),
        put("a body that stalls", "Content-Length: 5\r\n", "val", Status(&[408])),
        put("a chunk that stalls", "Transfer-Encoding: chunked\r\n", "5\r\nva", Status(&[408])),
        put(
            "a size that stalls",
            "Transfer-Encoding: chunked\r\n",
            "5\r\nvalue\r\n",
            Status(&[408]),
        ),
        put(
            "a large body that stalls",
            "Content-Length: 900000\r\n",
            &"x".repeat(500_000),
            Status(&[408]),
        ),
        put(
            "a body with a far too large length that stalls",
            "Content-Length: 9000000000000000000\r\n",
            "value",
            Status(&[408, 413]),
        ),
        case(
            "a bulk get that stalls",
            request("POST /bulk/get", "Content-Length: 50\r\n", br#"{"keys":["a""#),
            Status(&[408]),
        ),
    ]
}

fn too_long() -> Vec<Case> {
    let one_over = "x".repeat(26_214_401);
    let far_over = "x".repeat(60_000_000);
    let chunk = format!("{:x}\r\n{one_over}\r\n0\r\n\r\n", one_over.len());
    let far_length = format!("Content-Length: {}\r\n", far_over.len());
    let length =
        Expected::Reason(413, "Value length of 26214401 exceeds limit of 26214400.".into());
    vec![
        put("a value one byte too long", "Content-Length: 26214401\r\n", &one_over, length.clone()),
        put("chunks one byte too long", "Transfer-Encoding: chunked\r\n", &chunk, length),
        put("a value that is far too long", &far_length, &far_over, ClosedOr(&[413])),
    ]
}
