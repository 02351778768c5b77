//! TLS of a joining member, which knows the hash of the CA's certificate and has no certificate yet.
//! (The other side is a replica's port: see [`kv_replicate::quic::Guests`].)

use std::sync::Arc;

use kv_replicate::quic::ServerVerifier;
use rustls::{CertificateError, Error, crypto::ring, pki_types::CertificateDer, version::TLS13};

use super::protocol::ALPN;
use crate::cluster::state::{certificate::check_issued, names::Sha256};

/// The server name in the handshake; certificates of locations name no hosts.
pub const SERVER_NAME: &str = "waypost";

/// Returns the configuration of a joining member: it accepts only locations of the cluster with this
/// CA. The CA's certificate follows the server's own in the chain; only the one with the right hash is
/// considered.
///
/// # Errors
/// If rustls rejects the configuration, which is a bug.
pub fn client_config(ca: Sha256) -> Result<rustls::ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let check_server = {
        let provider = Arc::clone(&provider);
        move |own: &CertificateDer<'_>, chain: &[CertificateDer<'_>], now| {
            let ca = chain.iter().find(|certificate| Sha256::of(certificate) == ca);
            let ca = ca.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
            check_issued(own, ca, now, &provider)
        }
    };
    let verifier = Arc::new(ServerVerifier::new(Arc::clone(&provider), check_server));
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}
