//! The address of a server.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

use http::{Uri, uri::Authority};

/// The path of the API at a server whose URL has no path.
const BASE: &str = "/client/v4";

/// The address of a server: `http://HOST:PORT`, `https://HOST:PORT` or `unix:PATH`.
///
/// The first two may have a path, which is then that of the API: `https://api.cloudflare.com/client/v4`. Without one it is
/// `/client/v4`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// How it is reached.
    pub(crate) way: Way,
    /// The path of the API, without a `/` at its end.
    base: String,
}

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Over TCP.
    Tcp(Authority),
    /// Over TLS.
    Tls(Authority),
    /// Over a unix socket.
    Unix(PathBuf),
}

/// A text is not the address of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write http://HOST:PORT, https://HOST:PORT or unix:PATH")]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let is_path = !path.is_empty();
            let way = is_path.then(|| Way::Unix(path.into())).ok_or(AddressError)?;
            return Ok(Address { way, base: BASE.to_owned() });
        }
        let uri: Uri = text.parse().map_err(|_not_one| AddressError)?;
        let authority =
            uri.authority().filter(|it| !it.as_str().contains('@') && uri.query().is_none());
        let way = match (uri.scheme_str(), authority) {
            (Some("http"), Some(authority)) => Way::Tcp(authority.clone()),
            (Some("https"), Some(authority)) => Way::Tls(authority.clone()),
            _ => return Err(AddressError),
        };
        let base = match uri.path().trim_end_matches('/') {
            "" => BASE,
            base => base,
        };
        Ok(Address { way, base: base.to_owned() })
    }
}

impl Address {
    /// Whether the network can read what is sent there: `http://` to another machine.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        let Way::Tcp(authority) = &self.way else { return false };
        let host = bare_host(authority);
        let is_loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        !is_loopback && !host.eq_ignore_ascii_case("localhost")
    }

    /// The URI of a path below the API's.
    pub(crate) fn uri(&self, path: &str) -> String {
        let (scheme, authority) = match &self.way {
            Way::Tcp(authority) => ("http", authority.as_str()),
            Way::Tls(authority) => ("https", authority.as_str()),
            Way::Unix(_) => ("http", "localhost"),
        };
        format!("{scheme}://{authority}{}{path}", self.base)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Tcp(authority) => write!(f, "http://{authority}"),
            Way::Tls(authority) => write!(f, "https://{authority}"),
            Way::Unix(path) => write!(f, "unix:{}", path.display()),
        }?;
        if self.base == BASE { Ok(()) } else { f.write_str(&self.base) }
    }
}

/// The host without the brackets that an IPv6 address has in a URL.
pub(crate) fn bare_host(authority: &Authority) -> &str {
    let host = authority.host();
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_url_or_the_path_of_a_socket() {
        for (text, shown, uri) in [
            ("http://[::1]:8420", "http://[::1]:8420", "http://[::1]:8420/client/v4/x"),
            ("http://localhost:1/", "http://localhost:1", "http://localhost:1/client/v4/x"),
            ("https://a.example/client/v4/", "https://a.example", "https://a.example/client/v4/x"),
            ("https://a.example/kv", "https://a.example/kv", "https://a.example/kv/x"),
            ("unix:/run/a.sock", "unix:/run/a.sock", "http://localhost/client/v4/x"),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!((address.to_string().as_str(), address.uri("/x").as_str()), (shown, uri));
        }
        for text in
            ["", "unix:", "localhost:8420", "https://", "ftp://a", "http://a/?x", "http://u:p@a/"]
        {
            assert_eq!(text.parse::<Address>(), Err(AddressError), "{text}");
        }
    }

    #[test]
    fn only_loopback_and_sockets_are_not_readable_without_tls() {
        for (text, is_readable) in [
            ("http://127.8.9.1", false),
            ("http://LOCALHOST:1/", false),
            ("http://[::ffff:127.0.0.1]:8420", false),
            ("https://kv.example.com", false),
            ("unix:/run/waypost.sock", false),
            ("http://localhost.example.com", true),
            ("http://[2001:db8::1]:8420", true),
            ("http://10.0.0.5", true),
        ] {
            assert_eq!(text.parse::<Address>().expect(text).is_readable(), is_readable, "{text}");
        }
    }
}
