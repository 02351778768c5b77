//! TLS of a joining member, which knows the hash of the CA's certificate and has no certificate yet, and of a member that
//! renews its certificate, which may have expired.
//! (The other side is a replica's port: see [`kv_replicate::quic::Guests`].)

use std::sync::Arc;

use kv_replicate::quic::ServerVerifier;
use rustls::{CertificateError, Error, crypto::ring, pki_types::CertificateDer, version::TLS13};

use super::protocol::ALPN;
use crate::cluster::state::{
    certificate::{check_chain, check_issued},
    names::Sha256,
};

/// The server name in the handshake; certificates of locations name no hosts.
pub const SERVER_NAME: &str = "waypost";

/// How the dialling side knows the cluster's CA.
#[derive(Clone, Debug)]
pub enum Trust {
    /// A joining member knows the hash of its certificate, from the token.
    Hash(Sha256),
    /// A member has the certificates of these CAs.
    Cas(Vec<CertificateDer<'static>>),
}

/// Returns the configuration of the dialling side: it accepts only locations of the cluster with this CA. The
/// certificate of the CA that issued the server's own follows that one in the chain; a joining member considers only
/// the one with the right hash.
///
/// # Errors
/// If rustls rejects the configuration, which is a bug.
pub fn client_config(trust: Trust) -> Result<rustls::ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let check_server = {
        let provider = Arc::clone(&provider);
        move |own: &CertificateDer<'_>, chain: &[CertificateDer<'_>], now| {
            let hash = match &trust {
                Trust::Cas(cas) => return check_chain(own, cas, chain, now, &provider),
                Trust::Hash(hash) => *hash,
            };
            let ca = chain.iter().find(|certificate| Sha256::of(certificate) == hash);
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
