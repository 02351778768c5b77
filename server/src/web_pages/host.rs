//! The host and port that a request names, and the names of the setting `allowed-hosts`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// The longest name of a host, in bytes, as in DNS.
const MAX_NAME_BYTES: usize = 253;

/// Other names of loopback addresses in the `/etc/hosts` of common systems. No program needs them, and browsers do not mark
/// requests to them with `Sec-Fetch-Site`, as they do for `localhost`.
const ALIASES: [&str; 4] = ["ip6-localhost", "ip6-loopback", "localhost4", "localhost6"];

/// A host, and its port if one is written: the value of `Host`, or the authority of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Host<'a> {
    /// The name or address.
    pub(super) name: Name<'a>,
    /// The port.
    pub(super) port: Option<u16>,
}

/// What a host is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name<'a> {
    /// An IP address, without the zone that an IPv6 address may have.
    Address(IpAddr),
    /// A name as it is written; empty in `Host:`.
    Text(&'a str),
}

impl<'a> Host<'a> {
    /// Reads a host by the grammar of RFC 3986, without user information; none if it does not follow it.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Host<'a>> {
        let text = str::from_utf8(bytes).ok()?;
        if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']')?;
            let address = address.split_once('%').map_or(address, |(address, _zone)| address);
            let name = Name::Address(address.parse::<Ipv6Addr>().ok()?.into());
            return Some(Host { name, port: port(rest)? });
        }
        let end = text.find(':').unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let name = match name.parse::<Ipv4Addr>() {
            Ok(address) => Name::Address(address.into()),
            Err(_) if name.bytes().all(is_of_name) => Name::Text(name),
            Err(_) => return None,
        };
        Some(Host { name, port: port(rest)? })
    }

    /// Whether both are the same host and port. `default_port` stands for a port that is not written.
    pub(super) fn is_same(&self, other: &Host<'_>, default_port: u16) -> bool {
        let is_same_name = match (self.name, other.name) {
            (Name::Address(one), Name::Address(two)) => one == two,
            (Name::Text(one), Name::Text(two)) => !one.is_empty() && one.eq_ignore_ascii_case(two),
            _ => false,
        };
        is_same_name && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }
}

/// The port after a name: none if there is none, and an error if it is not a port.
fn port(rest: &str) -> Option<Option<u16>> {
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Some(None),
        Some("") => Some(None),
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            digits.parse().ok().map(Some)
        }
        _ => None,
    }
}

/// Whether a byte may be part of a name (`reg-name` of RFC 3986). Programs that connect to a unix socket write its path
/// there, with escapes.
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}

impl Name<'_> {
    /// Whether a web page could use this name, or address, for this machine without a lookup of a name that is known to
    /// be this machine's own.
    ///
    /// That is any name that a public name server could answer for: one with a dot, even only at its end. `localhost` and
    /// the names below it are not looked up (RFC 6761). A name without a dot is one of a private network, such as that of a
    /// service of Docker Compose, or one that a program made up, such as workerd's `fake-host`.
    ///
    /// Of the addresses, the unspecified ones and the IPv4 addresses in IPv6 form reach a server on loopback too, and
    /// browsers do not mark requests to them with `Sec-Fetch-Site`, as they do for loopback addresses.
    pub(super) fn is_open_to_pages(&self) -> bool {
        match self {
            Name::Address(IpAddr::V4(address)) => address.is_unspecified(),
            Name::Address(IpAddr::V6(address)) => {
                address.is_unspecified() || address.to_ipv4_mapped().is_some()
            }
            Name::Text(name) => {
                let has_escaped_dot = || name.to_ascii_lowercase().contains("%2e");
                let is_alias = || ALIASES.iter().any(|alias| alias.eq_ignore_ascii_case(name));
                (name.contains('.') && !is_localhost(name)) || has_escaped_dot() || is_alias()
            }
        }
    }
}

/// Whether a name is `localhost` or below it.
fn is_localhost(name: &str) -> bool {
    let last = without_root(name).rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

/// The name without the dot that may stand at its end for the root of all names.
fn without_root(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// A name that clients may use for this server, as `allowed-hosts` has it: in lower case, without a dot at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost(String);

impl AllowedHost {
    /// Whether a host has this name.
    pub(super) fn is(&self, name: Name<'_>) -> bool {
        matches!(name, Name::Text(name) if without_root(name).eq_ignore_ascii_case(&self.0))
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a name for `allowed-hosts`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllowedHostError {
    /// An IP address.
    #[error("{0} is an IP address, and these are allowed anyway: write names only")]
    Address(IpAddr),
    /// Not the name of a host.
    #[error(
        "{0:?} is not the name of a host: write one such as kv.example.com, without http://, without a port and \
         without *"
    )]
    NotAName(String),
}

impl FromStr for AllowedHost {
    type Err = AllowedHostError;

    fn from_str(text: &str) -> Result<AllowedHost, AllowedHostError> {
        let not_a_name = || AllowedHostError::NotAName(text.into());
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse() {
            return Err(AllowedHostError::Address(address));
        }
        let name = without_root(text);
        let is_label = |label: &str| {
            let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            (1..=63).contains(&label.len()) && label.bytes().all(is_valid)
        };
        if name.len() > MAX_NAME_BYTES || !name.split('.').all(is_label) {
            return Err(not_a_name());
        }
        Ok(AllowedHost(name.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        let text = |name, port| Some(Host { name: Name::Text(name), port });
        let address = |address: &str, port| {
            Some(Host { name: Name::Address(address.parse().expect("an address")), port })
        };
        for (written, expected) in [
            ("", text("", None)),
            ("localhost", text("localhost", None)),
            ("LOCALHOST.:8420", text("LOCALHOST.", Some(8420))),
            ("my_service:1", text("my_service", Some(1))),
            ("%2Frun%2Fwaypost.sock", text("%2Frun%2Fwaypost.sock", None)),
            ("localhost:", text("localhost", None)),
            ("127.0.0.1:80", address("127.0.0.1", Some(80))),
            ("127.1", text("127.1", None)),
            ("[::1]", address("::1", None)),
            ("[::1]:8420", address("::1", Some(8420))),
            ("[fe80::1%25eth0]:1", address("fe80::1", Some(1))),
        ] {
            assert_eq!(Host::parse(written.as_bytes()), expected, "{written}");
        }
        for wrong in [
            "::1",
            "::1:8420",
            "[::1",
            "[::1]8420",
            "[localhost]",
            "[127.0.0.1]",
            "a:b",
            "a:65536",
            "a:+1",
            "a:1:2",
            "user@localhost",
            "a b",
            "a,b/c",
            "http://localhost",
            "b\u{fc}cher",
        ] {
            assert_eq!(Host::parse(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(Host::parse(b"\xff"), None);
    }

    #[test]
    fn names_with_a_dot_are_open_to_pages_and_those_of_this_machine_are_not() {
        for (written, expected) in [
            ("", false),
            ("fake-host", false),
            ("waypost:8420", false),
            ("localhost", false),
            ("LocalHost:8420", false),
            ("localhost.", false),
            ("foo.localhost", false),
            ("a.b.LOCALHOST.:80", false),
            ("127.0.0.1", false),
            ("192.0.2.7:80", false),
            ("[::1]:8420", false),
            ("[2001:db8::1]", false),
            ("0.0.0.0:8420", true),
            ("[::]:8420", true),
            ("[::ffff:127.0.0.1]", true),
            ("ip6-loopback:8420", true),
            ("IP6-localhost", true),
            ("localhost6", true),
            ("evil.example", true),
            ("EVIL.EXAMPLE:8420", true),
            ("evil.example.", true),
            ("evil.", true),
            (".", true),
            ("evil%2Eexample", true),
            ("evil%2eexample", true),
            ("localhost.evil.example", true),
            ("127.0.0.1.nip.io", true),
            ("evil-localhost.example", true),
            ("notlocalhost.", true),
            ("x.notlocalhost", true),
            ("127.1", true),
            ("127.0.0.1.", true),
            ("localhost..", true),
        ] {
            let host = Host::parse(written.as_bytes()).expect(written);
            assert_eq!(host.name.is_open_to_pages(), expected, "{written}");
        }
    }

    #[test]
    fn an_allowed_host_is_one_name_in_any_case_with_or_without_the_root() {
        for text in ["kv.example.com", "KV.Example.COM", "kv.example.com."] {
            let allowed: AllowedHost = text.parse().expect(text);
            assert_eq!(allowed.to_string(), "kv.example.com");
            for same in ["kv.example.com", "KV.EXAMPLE.com."] {
                assert!(allowed.is(Name::Text(same)), "{same}");
            }
            for other in ["example.com", "a.kv.example.com", "kv.example.com.evil.example", ""] {
                assert!(!allowed.is(Name::Text(other)), "{other}");
            }
        }
    }

    #[test]
    fn what_is_not_a_name_cannot_be_allowed() {
        let long = ["x"; 128].join(".");
        for wrong in [
            "",
            ".",
            "a..b",
            "*",
            "*.example.com",
            "http://a",
            "a:80",
            "a/b",
            "a b",
            "\u{fc}.example",
            &long,
        ] {
            let error = wrong.parse::<AllowedHost>().expect_err(wrong).to_string();
            assert!(error.contains("kv.example.com"), "{error}");
        }
        for address in ["127.0.0.1", "::1", "[::1]"] {
            let error = address.parse::<AllowedHost>().expect_err(address).to_string();
            assert!(error.contains("IP address"), "{error}");
        }
    }
}
