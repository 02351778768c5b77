//! What a client is told when hyper refuses its request.
//!
//! A head that is no HTTP, or too long, never becomes a request: hyper answers it by itself, with a
//! status and nothing else, and has no hook for more. So that answer gets its text on the way out,
//! in [`stream`](super::stream). Which rule of the parser was broken is not known there: hyper tells
//! it when the answer has left (then it is in the log, at `debug`).

/// As many headers has a request of HTTP/1 at most: hyper's own bound, with which it parses
/// them without allocating. workerd sends ten.
pub(super) const MAX_HEADERS: usize = 100;

/// The longest target that hyper takes.
const MAX_TARGET_BYTES: usize = 65_534;

/// What an answer of hyper's own has, and a text replaces.
const NO_BODY: &str = "content-length: 0\r\n";

/// The same answer with a text; none if this is no refusal of hyper's.
pub(super) fn with_text(answer: &[u8], max_header_bytes: u32) -> Option<String> {
    let answer = str::from_utf8(answer).ok()?;
    let status = answer.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    let text = match status {
        "400" => "this is no request of HTTP/1.1 that can be served: its first line, the name or \
             value of a header, its Content-Length or its Transfer-Encoding is not as it must be\n"
            .to_owned(),
        "414" => format!("the target of a request has at most {MAX_TARGET_BYTES} bytes\n"),
        "431" => format!(
            "the head of a request has at most {max_header_bytes} bytes (max-header-size) and \
             {MAX_HEADERS} headers\n"
        ),
        _ => return None,
    };
    let (before, after) = answer.split_once(NO_BODY)?;
    let length = text.len();
    Some(format!(
        "{before}content-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n{after}{text}"
    ))
}
