//! TLS for who wants to be let in: the newcomer knows the hash of the CA's certificate and nothing else, and has
//! no certificate yet. (The other side is a replica's port: see [`kv_replicate::quic::Guests`].)

use std::sync::Arc;

use kv_replicate::quic::ServerVerifier;
use rustls::{CertificateError, Error, crypto::ring, pki_types::CertificateDer, version::TLS13};

use super::ALPN;
use crate::cluster::{certificate::check_issued, names::Sha256};

/// What the newcomer calls the server in the handshake; certificates name no hosts.
pub const SERVER_NAME: &str = "waypost";

/// The configuration of a newcomer, which talks to locations of the cluster with this CA alone. The CA's
/// certificate comes behind the server's own; only the one with the right hash is looked at.
///
/// # Errors
/// If the library does not take it, which does not happen.
pub fn client_config(ca: Sha256) -> Result<rustls::ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let of_the_ca = {
        let provider = Arc::clone(&provider);
        move |own: &CertificateDer<'_>, chain: &[CertificateDer<'_>], now| {
            let ca = chain.iter().find(|certificate| Sha256::of(certificate) == ca);
            let ca = ca.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
            check_issued(own, ca, now, &provider)
        }
    };
    let verifier = Arc::new(ServerVerifier::new(Arc::clone(&provider), of_the_ca));
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}
