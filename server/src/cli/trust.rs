//! How the command line knows a server with TLS, and how the server knows it.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use hyper::header::HeaderValue;
use rustls::ClientConfig;
use waypost_client::tls as client_tls;

use crate::tls::{self, TlsError};

/// The name of stdin in place of a file.
const STDIN: &str = "-";
/// The longest file of a token, in bytes.
const MAX_TOKEN_FILE_BYTES: u64 = 4096;

/// Why a command can't tell a server who it is, or check who the server is. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrustError {
    #[error("--ca-file: {0}")]
    Ca(TlsError),
    #[error("--ca-file: a certificate in {0} can't be used as a CA: {1}")]
    NotACa(PathBuf, rustls::Error),
    #[error("the system has no certificates of CAs: set --ca-file to the CA of the server")]
    NoRoots,
    #[error(transparent)]
    Tls(client_tls::TlsError),
    #[error("--token-file: can't read {0}: {1}")]
    Token(PathBuf, io::Error),
    #[error("--token-file: {0} does not hold a token, which is one line that begins with wpt_")]
    NotAToken(PathBuf),
}

/// Returns how certificates of servers are checked: with these CAs, or those of the system.
pub(super) fn config(ca_file: Option<&Path>) -> Result<ClientConfig, TrustError> {
    let cas = ca_file.map(|path| tls::certificates(path).map_err(TrustError::Ca)).transpose()?;
    client_tls::config(cas).map_err(|error| match (error, ca_file) {
        (client_tls::TlsError::NoRoots, _) => TrustError::NoRoots,
        (client_tls::TlsError::NotACa(error), Some(path)) => {
            TrustError::NotACa(path.to_owned(), error)
        }
        (error, _) => TrustError::Tls(error),
    })
}

/// Reads a token from a file, or stdin if it is `-`.
pub(super) fn token(file: &Path) -> Result<String, TrustError> {
    static FROM_STDIN: OnceLock<String> = OnceLock::new();
    let unreadable = |error| TrustError::Token(file.to_owned(), error);
    let text = if file.as_os_str() != STDIN {
        let file = File::open(file).map_err(unreadable)?;
        read(file).map_err(unreadable)?
    } else if let Some(text) = FROM_STDIN.get() {
        text.clone()
    } else {
        // A command may need it more than once.
        let text = read(io::stdin().lock()).map_err(unreadable)?;
        FROM_STDIN.get_or_init(|| text).clone()
    };
    let token = text.trim();
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_token {
        return Err(TrustError::NotAToken(file.to_owned()));
    }
    Ok(token.to_owned())
}

/// The header that carries a token.
pub(super) fn authorization(token: &str) -> HeaderValue {
    let value = HeaderValue::try_from(format!("Bearer {token}"));
    let mut value = value.expect("a token is visible ASCII characters");
    value.set_sensitive(true);
    value
}

/// Reads a short text.
fn read(from: impl io::Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(MAX_TOKEN_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}
