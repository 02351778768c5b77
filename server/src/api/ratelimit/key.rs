//! The key of a check that a proxy makes before it forwards a request: from the headers that it sends.
//!
//! Proxies put text of the client into a header safely, but not all of them can encode it for a query.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
    num::NonZeroU8,
};

use hyper::{HeaderMap, header::HeaderName};

use super::error::Invalid;

/// The header to which each proxy appends the address that it was called from.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The parameter that names a header.
pub(super) const KEY_HEADER: &str = "key_header";
/// The parameter that has the number of proxies.
pub(super) const TRUSTED_PROXIES: &str = "trusted_proxies";

/// Where the key of a check is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In the header of this name. A request without it has the empty key.
    Header(HeaderName),
    /// The address of the client, behind this many proxies.
    Address(NonZeroU8),
}

impl KeySource {
    /// Reads a parameter that names a source; none if it is another parameter.
    pub(super) fn of(name: &str, value: &[u8]) -> Result<Option<KeySource>, Invalid> {
        let (source, expected) = match name {
            KEY_HEADER => (
                HeaderName::from_bytes(value).ok().map(KeySource::Header),
                "the name of a header, such as x-api-key",
            ),
            TRUSTED_PROXIES => {
                let number = str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                (
                    number.map(KeySource::Address),
                    "the number of proxies in front of this server: 1 to 255",
                )
            }
            _ => return Ok(None),
        };
        source.map(Some).ok_or_else(|| Invalid::parameter(name, value, expected))
    }

    /// The key that a request has there.
    pub(super) fn key(&self, headers: &HeaderMap) -> Result<Cow<'static, [u8]>, Invalid> {
        let (field, key) = match self {
            KeySource::Header(name) => (name.as_str(), header(headers, name)?),
            KeySource::Address(proxies) => (FORWARDED_FOR, address(headers, *proxies)?),
        };
        Invalid::check_length(field, &key)?;
        Ok(key.into())
    }
}

/// The value of a header. Two are refused: with each other second value, a client would have another key.
fn header(headers: &HeaderMap, name: &HeaderName) -> Result<Vec<u8>, Invalid> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(|value| value.as_bytes().to_vec());
    if values.next().is_some() {
        return Err(Invalid::Twice(name.to_string()));
    }
    Ok(value.unwrap_or_default())
}

/// The address of the client. The last address is that of whoever called the last proxy, the one before it
/// that of whoever called the proxy before, and so on. What is before those is the client's word.
fn address(headers: &HeaderMap, proxies: NonZeroU8) -> Result<Vec<u8>, Invalid> {
    let all: Vec<&[u8]> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|address| !address.is_empty())
        .collect();
    let at = all.len().saturating_sub(usize::from(proxies.get()));
    let found = all.get(at).ok_or(Invalid::NoAddress)?;
    let parsed = str::from_utf8(found).ok().and_then(parse);
    Ok(parsed.map_or_else(|| found.to_vec(), |address| address.to_string().into_bytes()))
}

/// Reads an address, in any of the forms that proxies write, so that a client has one key.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address =
        bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|it| it.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn source(name: &str, value: &str) -> Result<Option<KeySource>, Invalid> {
        KeySource::of(name, value.as_bytes())
    }

    fn key(source: &KeySource, headers: &[(&'static str, &[u8])]) -> Result<String, String> {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(*name, HeaderValue::from_bytes(value).expect("a header"));
        }
        let key = source.key(&all).map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&key).into_owned())
    }

    #[test]
    fn the_address_is_the_one_that_the_trusted_proxies_saw() {
        for (proxies, headers, expected) in [
            (1, &["192.0.2.1"][..], "192.0.2.1"),
            (1, &["forged, 198.51.100.7,192.0.2.1"], "192.0.2.1"),
            (2, &["forged, 192.0.2.1, 10.0.0.1"], "192.0.2.1"),
            (2, &["forged", "192.0.2.1", " 10.0.0.1 "], "192.0.2.1"),
            (2, &["forged, 192.0.2.1", ",10.0.0.1,"], "192.0.2.1"),
            // A request that did not pass the outer proxy.
            (3, &["192.0.2.1, 10.0.0.1"], "192.0.2.1"),
            (1, &["192.0.2.1:1234"], "192.0.2.1"),
            (1, &["[2001:DB8::1]:1234"], "2001:db8::1"),
            (1, &["[2001:db8:0:0::1]"], "2001:db8::1"),
            (1, &["2001:db8:0:0::1"], "2001:db8::1"),
            (1, &["::ffff:192.0.2.1"], "192.0.2.1"),
            (1, &["unknown"], "unknown"),
        ] {
            let source = source(TRUSTED_PROXIES, &proxies.to_string()).unwrap().unwrap();
            let headers: Vec<_> =
                headers.iter().map(|value| (FORWARDED_FOR, value.as_bytes())).collect();
            assert_eq!(key(&source, &headers), Ok(expected.to_owned()), "{proxies}: {headers:?}");
        }
        let one = source(TRUSTED_PROXIES, "1").unwrap().unwrap();
        for headers in [&[][..], &[(FORWARDED_FOR, &b" ,"[..])]] {
            let error = key(&one, headers).expect_err("no address");
            assert!(error.contains("X-Forwarded-For"), "{error}");
        }
    }

    #[test]
    fn a_header_is_a_key_byte_by_byte_and_occurs_once() {
        let source = source(KEY_HEADER, "X-Api-Key").unwrap().unwrap();
        assert_eq!(key(&source, &[("x-api-key", b"a&b=c")]), Ok("a&b=c".into()));
        assert_eq!(key(&source, &[("x-api-key", b"\xff")]), Ok("\u{fffd}".into()));
        assert_eq!(key(&source, &[("x-other", b"a")]), Ok(String::new()));
        let twice = key(&source, &[("x-api-key", b"a"), ("x-api-key", b"b")]);
        assert_eq!(twice, Err("`x-api-key` is given more than once".into()));
        let long = vec![b'x'; 4097];
        assert!(key(&source, &[("x-api-key", &long)]).is_err());
    }

    #[test]
    fn a_wrong_source_is_refused_with_what_to_send() {
        for (name, value, expected) in [
            (TRUSTED_PROXIES, "0", "`trusted_proxies` is \"0\": use the number of proxies"),
            (TRUSTED_PROXIES, "256", "1 to 255"),
            (TRUSTED_PROXIES, "", "1 to 255"),
            (KEY_HEADER, "", "use the name of a header"),
            (KEY_HEADER, "a b", "`key_header` is \"a b\""),
        ] {
            let error = source(name, value).expect_err(value).to_string();
            assert!(error.contains(expected), "{expected:?} is not in {error:?}");
        }
        assert_eq!(source("key", "a"), Ok(None));
    }
}
