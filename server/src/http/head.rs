//! The rules of a request's head that all APIs share. Without them, a field that a client relies on would be
//! ignored: a condition, or a coding of the body.

use http::{HeaderMap, HeaderName, Method, Request, StatusCode, Version, header};

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedHead {
    /// The status of the response.
    pub status: StatusCode,
    /// What is wrong, and what to do.
    pub sentence: &'static str,
    /// Where the request ends is not known, so that nothing after it can be read.
    pub is_unframed: bool,
}

/// A refusal after which the body can be read.
const fn refused(status: StatusCode, sentence: &'static str) -> RefusedHead {
    RefusedHead { status, sentence, is_unframed: false }
}

/// Checks the head of a request.
///
/// # Errors
/// The first rule that is broken.
pub fn check<B>(request: &Request<B>) -> Result<(), RefusedHead> {
    let headers = request.headers();
    check_coding(headers)?;
    check_host(headers, request.version())?;
    check_expectations(headers, request.version())?;
    check_conditions(headers, request.method())
}

/// Whether the client waits for a `100 Continue` before it sends the body. Call it for a head that passed
/// [`check`].
#[must_use]
pub fn expects_continue(headers: &HeaderMap) -> bool {
    elements(headers, &header::EXPECT).next().is_some()
}

/// hyper takes every body whose last coding is `chunked`, and removes only that one: what is coded otherwise as
/// well would be stored as it was sent (RFC 9112, sections 6.1 and 7).
fn check_coding(headers: &HeaderMap) -> Result<(), RefusedHead> {
    if !headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(());
    }
    let mut codings = elements(headers, &header::TRANSFER_ENCODING);
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let (first, second) = (codings.next(), codings.next());
    if first.is_some_and(is_chunked) && second.is_none() {
        return Ok(());
    }
    let is_repeated =
        elements(headers, &header::TRANSFER_ENCODING).filter(|it| is_chunked(it)).count() > 1;
    let status = if is_repeated { StatusCode::BAD_REQUEST } else { StatusCode::NOT_IMPLEMENTED };
    Err(RefusedHead { status, sentence: CODINGS, is_unframed: true })
}

/// A request names its host once, and in HTTP/1.1 it must (RFC 9112, section 3.2).
fn check_host(headers: &HeaderMap, version: Version) -> Result<(), RefusedHead> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_11 => Err(refused(StatusCode::BAD_REQUEST, NO_HOST)),
        (Some(_), Some(_)) => Err(refused(StatusCode::BAD_REQUEST, TWO_HOSTS)),
        (Some(host), None) if !is_host(host.as_bytes()) => {
            Err(refused(StatusCode::BAD_REQUEST, INVALID_HOST))
        }
        _ => Ok(()),
    }
}

/// Whether this is `uri-host [ ":" port ]` (RFC 9110, section 7.2), which may be empty. `http::uri::Authority`
/// accepts user information, and rejects escapes, with which clients name sockets.
fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            let is_address = |byte: &u8| byte.is_ascii_alphanumeric() || b":.%-_~".contains(byte);
            if end == 0 || !rest[..end].iter().all(is_address) {
                return false;
            }
            (&b""[..], &rest[end + 1..])
        }
        _ => host.split_at(host.iter().position(|byte| *byte == b':').unwrap_or(host.len())),
    };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte);
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    name.iter().all(is_name) && is_port
}

/// The only expectation is `100-continue`, which a request of HTTP/1.0 must not have heeded (RFC 9110, section
/// 10.1.1).
fn check_expectations(headers: &HeaderMap, version: Version) -> Result<(), RefusedHead> {
    let mut expected = elements(headers, &header::EXPECT);
    let is_known = expected.all(|it| it.eq_ignore_ascii_case(b"100-continue"));
    if is_known || version <= Version::HTTP_10 {
        return Ok(());
    }
    Err(refused(StatusCode::EXPECTATION_FAILED, EXPECTATION))
}

/// The conditions of a change. Those of a read only save bytes. `If-Modified-Since` and `If-Range` have no
/// meaning for a change (RFC 9110, section 13.1).
static CONDITIONS: [HeaderName; 3] =
    [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_UNMODIFIED_SINCE];

/// No API compares anything before it changes something, none changes a part of a value, and none decodes a value.
fn check_conditions(headers: &HeaderMap, method: &Method) -> Result<(), RefusedHead> {
    if method.is_safe() {
        return Ok(());
    }
    if CONDITIONS.iter().any(|name| headers.contains_key(name)) {
        return Err(refused(StatusCode::BAD_REQUEST, CONDITION));
    }
    if headers.contains_key(header::CONTENT_RANGE) {
        return Err(refused(StatusCode::BAD_REQUEST, PART));
    }
    let mut codings = elements(headers, &header::CONTENT_ENCODING);
    if codings.any(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
        return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, ENCODED));
    }
    Ok(())
}

/// The elements of a list in the fields of this name, without the empty ones.
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let fields = headers.get_all(name).iter();
    let elements = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
    elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// The refusal of a coding of the body.
const CODINGS: &str = "the only transfer coding of this server is `chunked`, and once: send the body with \
    `Transfer-Encoding: chunked` or with Content-Length, and without other codings";

/// The refusal of a request without a host.
const NO_HOST: &str =
    "a request of HTTP/1.1 needs the header Host: add one, such as `Host: localhost`";

/// The refusal of a request with several hosts.
const TWO_HOSTS: &str = "the header Host is there more than once: send it once";

/// The refusal of a host that is none.
const INVALID_HOST: &str = "the header Host is not a host name or an address with or without a port: send one such as \
    `Host: localhost:8420`";

/// The refusal of an expectation.
const EXPECTATION: &str = "the only expectation that this server meets is `Expect: 100-continue`: send the request \
    without others";

/// The refusal of a condition.
const CONDITION: &str = "conditions of writes (If-Match, If-None-Match, If-Unmodified-Since) are not supported. Nothing \
    was changed: send the request without them if it may change what another client has written meanwhile";

/// The refusal of a part of a value.
const PART: &str = "a part of a value can't be written (Content-Range). Nothing was changed: send the whole value, \
    without this header";

/// The refusal of an encoded value.
const ENCODED: &str = "the body has a Content-Encoding, which this server does not store, so that readers could not \
    decode the value. Nothing was changed: send the body as it is, or leave the header out and let the readers decode \
    the value";

#[cfg(test)]
mod tests {
    use super::*;

    /// The status with which a request with these fields is refused; 200 if it is not.
    fn status(method: &str, version: Version, fields: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().method(method).version(version);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let checked = check(&request.body(()).expect("a valid request"));
        checked.map_or_else(|refused| refused.status.as_u16(), |()| 200)
    }

    #[test]
    fn a_request_names_its_host_once() {
        use Version as V;
        for (version, hosts, expected) in [
            (V::HTTP_11, &["localhost:8420"][..], 200),
            (V::HTTP_11, &[], 400),
            (V::HTTP_11, &["a", "a"], 400),
            (V::HTTP_11, &["a", "b"], 400),
            (V::HTTP_11, &["", ""], 400),
            (V::HTTP_10, &[], 200),
            (V::HTTP_10, &["a"], 200),
            (V::HTTP_10, &["a", "b"], 400),
            (V::HTTP_2, &[], 200),
            (V::HTTP_2, &["a", "b"], 400),
        ] {
            let fields: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            assert_eq!(status("GET", version, &fields), expected, "{version:?} {hosts:?}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_a_port() {
        for host in [
            "",
            "fake-host",
            "localhost:8420",
            "127.0.0.1",
            "[::1]",
            "[::1]:8420",
            "[fe80::1%25eth0]:80",
            "way_post",
            "a.b.",
            "%2Frun%2Fwaypost.sock",
            "xn--nave-6pa:",
            "a:0",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "a b",
            "a/b",
            "http://a",
            "user@a",
            "a, b",
            "a:b",
            "a:80:80",
            "[::1",
            "[]",
            "[::1]x",
            "[a/b]",
            "::1",
            "a?b",
            "a#b",
            "na\u{ef}ve",
            "\"a\"",
            "<a>",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn the_only_transfer_coding_is_chunked_once() {
        for (codings, expected) in [
            (&["chunked"][..], 200),
            (&["Chunked"], 200),
            (&["chunked,"], 200),
            (&["gzip, chunked"], 501),
            (&["gzip", "chunked"], 501),
            (&["identity, chunked"], 501),
            (&["identity"], 501),
            (&["chunked, gzip"], 501),
            (&["chunked;q=1"], 501),
            (&["x-chunked"], 501),
            (&[""], 501),
            (&["chunked, chunked"], 400),
            (&["chunked", "chunked"], 400),
            (&["chunked, gzip, chunked"], 400),
        ] {
            let mut fields = vec![("host", "a")];
            fields.extend(codings.iter().map(|coding| ("transfer-encoding", *coding)));
            assert_eq!(status("PUT", Version::HTTP_11, &fields), expected, "{codings:?}");
        }
    }

    #[test]
    fn the_only_expectation_is_a_100_continue() {
        for (expected, version, status_) in [
            ("100-continue", Version::HTTP_11, 200),
            ("100-Continue", Version::HTTP_11, 200),
            ("", Version::HTTP_11, 200),
            ("100-continue, 100-continue", Version::HTTP_11, 200),
            ("200-ok", Version::HTTP_11, 417),
            ("100-continue, durable", Version::HTTP_11, 417),
            ("100-continue=1", Version::HTTP_11, 417),
            ("durable", Version::HTTP_2, 417),
            ("durable", Version::HTTP_10, 200),
        ] {
            let fields = [("host", "a"), ("expect", expected)];
            assert_eq!(status("PUT", version, &fields), status_, "{expected} {version:?}");
        }
    }

    #[test]
    fn what_a_change_relies_on_is_not_ignored() {
        for (name, value, expected) in [
            ("if-match", "\"a\"", 400),
            ("if-match", "*", 400),
            ("if-none-match", "*", 400),
            ("if-unmodified-since", "Sat, 29 Oct 1994 19:43:31 GMT", 400),
            ("content-range", "bytes 0-4/10", 400),
            ("content-encoding", "gzip", 415),
            ("content-encoding", "identity, br", 415),
            ("content-encoding", "identity", 200),
            ("if-modified-since", "Sat, 29 Oct 1994 19:43:31 GMT", 200),
            ("if-range", "\"a\"", 200),
        ] {
            for method in ["PUT", "DELETE", "POST", "PATCH"] {
                let fields = [("host", "a"), (name, value)];
                assert_eq!(status(method, Version::HTTP_11, &fields), expected, "{method} {name}");
            }
            for method in ["GET", "HEAD"] {
                let fields = [("host", "a"), (name, value)];
                assert_eq!(status(method, Version::HTTP_11, &fields), 200, "{method} {name}");
            }
        }
    }
}
