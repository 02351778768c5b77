//! How the command line knows a server with TLS, and how the server knows it.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use hyper::header::{HeaderValue, InvalidHeaderValue};
use rustls::{ClientConfig, RootCertStore, client::VerifierBuilderError, crypto::ring};
use tokio_rustls::TlsConnector;

use super::pinned::Pinned;
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
    #[error("TLS can't be used: {0}")]
    Tls(rustls::Error),
    #[error("--ca-file can't be used: {0}")]
    Roots(VerifierBuilderError),
    #[error("--token-file: can't read {0}: {1}")]
    Token(PathBuf, io::Error),
    #[error("--token-file: {0} does not hold a token, which is one line that begins with wpt_")]
    NotAToken(PathBuf),
}

/// Returns what checks the certificates of servers: with these CAs, or those of the system.
pub(super) fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, TrustError> {
    let (mut roots, mut given) = (RootCertStore::empty(), Vec::new());
    match ca_file {
        Some(path) => {
            for ca in tls::certificates(path).map_err(TrustError::Ca)? {
                given.push(ca.clone());
                roots.add(ca).map_err(|error| TrustError::NotACa(path.to_owned(), error))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            let (added, _not_understood) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                return Err(TrustError::NoRoots);
            }
        }
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = Pinned::new(roots, given, Arc::clone(&provider)).map_err(TrustError::Roots)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TrustError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Reads a token from a file, or stdin if it is `-`, and returns the header that carries it.
pub(super) fn authorization(file: &Path) -> Result<HeaderValue, TrustError> {
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
    let not_a_token = || TrustError::NotAToken(file.to_owned());
    if !is_token {
        return Err(not_a_token());
    }
    let value = HeaderValue::try_from(format!("Bearer {token}"));
    let mut value = value.map_err(|_never: InvalidHeaderValue| not_a_token())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads a short text.
fn read(from: impl io::Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(MAX_TOKEN_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}
