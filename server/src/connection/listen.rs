//! The address that a server listens on.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

/// The address that a server listens on. Only this machine can reach it, because clients are not
/// authenticated yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A loopback address.
    Tcp(SocketAddr),
    /// The path of a unix socket. Its permissions (`socket-mode`) and those of its directory determine who can connect.
    Unix(PathBuf),
}

impl Default for Listen {
    fn default() -> Self {
        Listen::Tcp((Ipv4Addr::LOCALHOST, 8420).into())
    }
}

/// Why a text is not an address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// `unix:` without a path.
    #[error("unix: needs a path, as in unix:/run/waypost.sock")]
    NoPath,
    /// Not an address.
    #[error("{0:?} is not an address: use 127.0.0.1:8420 or unix:PATH")]
    NotAnAddress(String),
    /// An address that other machines can reach.
    #[error(
        "other machines can reach {0}, and this version has no tokens to authenticate clients: use \
         127.0.0.1:{port}, [::1]:{port} or unix:PATH", port = .0.port()
    )]
    NotLoopback(SocketAddr),
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Listen, ListenError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(ListenError::NoPath),
                path => Ok(Listen::Unix(path.into())),
            };
        }
        let address: SocketAddr = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}").parse(),
            None => text.parse(),
        }
        .map_err(|_invalid| ListenError::NotAnAddress(text.into()))?;
        if !address.ip().is_loopback() {
            return Err(ListenError::NotLoopback(address));
        }
        Ok(Listen::Tcp(address))
    }
}

/// The address as a client writes it.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "http://{address}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_this_machine_is_accepted() {
        for (text, shown) in [
            ("127.0.0.1:8420", "http://127.0.0.1:8420"),
            ("localhost:0", "http://127.0.0.1:0"),
            ("[::1]:9000", "http://[::1]:9000"),
            ("unix:/run/waypost.sock", "unix:/run/waypost.sock"),
        ] {
            assert_eq!(text.parse::<Listen>().expect(text).to_string(), shown);
        }
    }

    #[test]
    fn an_address_that_other_machines_reach_is_refused_with_an_alternative() {
        for text in ["0.0.0.0:8420", "192.168.1.1:8420", "[::]:8420"] {
            let error = text.parse::<Listen>().expect_err(text).to_string();
            assert!(error.contains("no tokens") && error.contains("127.0.0.1:8420"), "{error}");
        }
        for text in ["", "8420", "unix:", "example.com:80", "http://127.0.0.1:1"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }
}
