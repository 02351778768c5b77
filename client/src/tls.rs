//! The certificates of servers.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    client::VerifierBuilderError,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::pinned::Pinned;

/// Why the certificates of servers can't be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The text has no certificate in PEM.
    #[error("the text of the CA has no certificate in PEM")]
    NotPem,
    /// A certificate can't be used as that of a CA.
    #[error("a certificate can't be used as a CA: {0}")]
    NotACa(rustls::Error),
    /// The system has no certificates of CAs.
    #[error("the system has no certificates of CAs: give the CA of the server")]
    NoRoots,
    /// The certificates can't be used.
    #[error("the certificates of the CAs can't be used: {0}")]
    Roots(VerifierBuilderError),
    /// TLS can't be used.
    #[error("TLS can't be used: {0}")]
    Tls(rustls::Error),
}

/// Reads certificates from PEM.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or(TlsError::NotPem)
}

/// Configures TLS for servers whose certificates were issued by one of these CAs, or are among these themselves; without any,
/// by a CA of the system. A self-signed certificate that was given is accepted for its names and its time.
///
/// # Errors
/// See [`TlsError`].
pub fn config(cas: Option<Vec<CertificateDer<'static>>>) -> Result<ClientConfig, TlsError> {
    let (mut roots, mut given) = (RootCertStore::empty(), Vec::new());
    match cas {
        Some(cas) => {
            for ca in cas {
                given.push(ca.clone());
                roots.add(ca).map_err(TlsError::NotACa)?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            let (added, _not_understood) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                return Err(TlsError::NoRoots);
            }
        }
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = Pinned::new(roots, given, Arc::clone(&provider)).map_err(TlsError::Roots)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
