//! The address of a server, as people write it.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

use hyper::{Uri, http::uri::Authority};

/// The address of a server.
#[derive(Clone, Debug)]
pub(super) enum ServerUrl {
    Tcp(Authority),
    Tls(Authority),
    Unix(PathBuf),
}

/// A text is not the address of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ServerUrlError {
    #[error("write http://HOST:PORT, https://HOST:PORT or unix:PATH")]
    Form,
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(text: &str) -> Result<ServerUrl, ServerUrlError> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(ServerUrl::Unix(path.into()));
        }
        let uri: Uri = text.parse().map_err(|_not_one| ServerUrlError::Form)?;
        let is_root = matches!(uri.path(), "" | "/") && uri.query().is_none();
        match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) if is_root => Ok(ServerUrl::Tcp(authority.clone())),
            (Some("https"), Some(authority)) if is_root => Ok(ServerUrl::Tls(authority.clone())),
            _ => Err(ServerUrlError::Form),
        }
    }
}

impl ServerUrl {
    /// Whether other machines can read what is sent there.
    pub(super) fn is_readable(&self) -> bool {
        let ServerUrl::Tcp(authority) = self else { return false };
        let host = bare_host(authority);
        let is_loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        !is_loopback && !host.eq_ignore_ascii_case("localhost")
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerUrl::Tcp(authority) => write!(f, "http://{authority}"),
            ServerUrl::Tls(authority) => write!(f, "https://{authority}"),
            ServerUrl::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Returns the host without the brackets that an IPv6 address has in a URL.
pub(super) fn bare_host(authority: &Authority) -> &str {
    let host = authority.host();
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_a_url_or_a_socket_path() {
        for (text, shown) in [
            ("http://127.0.0.1:8420", "http://127.0.0.1:8420"),
            ("http://localhost:1/", "http://localhost:1"),
            ("http://[::1]:8420", "http://[::1]:8420"),
            ("https://kv.example.com", "https://kv.example.com"),
            ("unix:/run/waypost.sock", "unix:/run/waypost.sock"),
        ] {
            assert_eq!(text.parse::<ServerUrl>().expect(text).to_string(), shown);
        }
        for text in ["", "unix:", "127.0.0.1:8420", "https://", "http://a:1/x", "ftp://a"] {
            assert!(text.parse::<ServerUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_is_not_sent_where_the_network_can_read_it() {
        for (text, is_readable) in [
            ("http://127.0.0.1:8420", false),
            ("http://127.8.9.1", false),
            ("http://LOCALHOST:1/", false),
            ("http://[::1]:8420", false),
            ("http://[::ffff:127.0.0.1]:8420", false),
            ("https://kv.example.com", false),
            ("unix:/run/waypost.sock", false),
            ("http://kv.example.com", true),
            ("http://localhost.example.com", true),
            ("http://127.0.0.1.example.com", true),
            ("http://[2001:db8::1]:8420", true),
            ("http://10.0.0.5", true),
        ] {
            assert_eq!(text.parse::<ServerUrl>().expect(text).is_readable(), is_readable, "{text}");
        }
    }
}
