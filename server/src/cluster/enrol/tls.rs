//! TLS for enrolment: the server shows its certificate and that of the CA; the newcomer knows the
//! CA's hash and nothing else, and has no certificate yet.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, PeerIncompatible, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::TLS13,
};

use super::ALPN;
use crate::cluster::{certificate::check_issued, location::Location, names::Sha256};

/// What the newcomer calls the server in the handshake; certificates name no hosts.
pub const SERVER_NAME: &str = "waypost";

/// The configuration of a newcomer, which talks to locations of the cluster with this CA alone.
///
/// # Errors
/// If the library does not take it, which does not happen.
pub fn client_config(ca: Sha256) -> Result<rustls::ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(KnownCa { ca, provider: Arc::clone(&provider) });
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// The configuration of a location that lets newcomers in on an endpoint of its own.
///
/// # Errors
/// If the library does not take the key, which [`crate::cluster::load`] has checked.
pub fn server_config(location: &Location) -> Result<rustls::ServerConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(location.chain.clone(), location.key.clone_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// Takes a server whose certificate was made by the CA with this hash. The CA's certificate comes
/// behind the server's own; only the one with the right hash is looked at.
#[derive(Debug)]
struct KnownCa {
    ca: Sha256,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for KnownCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let ca = intermediates.iter().find(|certificate| Sha256::of(certificate) == self.ca);
        let ca = ca.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        check_issued(end_entity, ca, now, &self.provider)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
