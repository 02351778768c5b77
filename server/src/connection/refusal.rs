//! The text of a refusal by hyper.
//!
//! A head that is not HTTP, or is too long, never becomes a request: hyper 1 responds to it by itself,
//! with a status and nothing else, and has no hook to add more. So that response gets its text on the
//! way out, in [`stream`](super::stream). Which rule of the parser was broken is not known there:
//! hyper reports it only after the response was sent (then it is in the log, at `debug`).

/// The most headers of a request in HTTP/1: hyper's own bound, with which it parses them without
/// allocating. workerd sends ten.
pub(super) const MAX_HEADERS: usize = 100;

/// The longest target that hyper accepts.
const MAX_TARGET_BYTES: usize = 65_534;

/// Part of every response that hyper makes by itself. The text replaces it.
const NO_BODY: &str = "content-length: 0\r\n";

/// The same response with a text; none if it is not a refusal by hyper.
pub(super) fn with_text(response: &[u8], max_header_bytes: u32) -> Option<String> {
    let response = str::from_utf8(response).ok()?;
    let status = response.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    let text = match status {
        "400" => {
            "this is not a valid HTTP/1.1 request: check its first line, the name or value of a \
             header, its Content-Length and its Transfer-Encoding\n"
                .to_owned()
        }
        "414" => format!("the target of a request has at most {MAX_TARGET_BYTES} bytes\n"),
        "431" => format!(
            "the head of a request has at most {max_header_bytes} bytes (max-header-size) and \
             {MAX_HEADERS} headers\n"
        ),
        _ => return None,
    };
    let (before, after) = response.split_once(NO_BODY)?;
    let length = text.len();
    Some(format!(
        "{before}content-type: text/plain; charset=utf-8\r\n\
         x-content-type-options: nosniff\r\ncontent-length: {length}\r\n{after}{text}"
    ))
}
