//! The address that a server listens on.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

/// The address that a server listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port.
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
    #[error("{0:?} is not an address: use IP:PORT, as in 127.0.0.1:8420, or unix:PATH")]
    NotAnAddress(String),
}

impl Listen {
    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Listen::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Listen::Unix(_) => true,
        }
    }
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
    fn an_address_is_read_and_shown_and_is_local_if_only_this_machine_reaches_it() {
        for (text, shown, is_local) in [
            ("127.0.0.1:8420", "http://127.0.0.1:8420", true),
            ("127.1.2.3:1", "http://127.1.2.3:1", true),
            ("localhost:0", "http://127.0.0.1:0", true),
            ("[::1]:9000", "http://[::1]:9000", true),
            ("[::ffff:127.0.0.1]:9000", "http://[::ffff:127.0.0.1]:9000", true),
            ("unix:/run/waypost.sock", "unix:/run/waypost.sock", true),
            ("0.0.0.0:8420", "http://0.0.0.0:8420", false),
            ("192.168.1.1:8420", "http://192.168.1.1:8420", false),
            ("[::]:8420", "http://[::]:8420", false),
            ("[::ffff:192.0.2.1]:1", "http://[::ffff:192.0.2.1]:1", false),
        ] {
            let listen = text.parse::<Listen>().expect(text);
            assert_eq!((listen.to_string(), listen.is_local()), (shown.into(), is_local));
        }
        for text in ["", "8420", "unix:", "example.com:80", "http://127.0.0.1:1"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }
}
