//! The identity of peers: mutual TLS 1.3, with the member's id in the certificate.

use std::{fmt, sync::Arc};

use kv_core::MemberId;
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, ring, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{config::Config, error::StartError};

/// The protocol that links speak.
const ALPN: &[u8] = b"waypost/1";

/// The scheme of a member's URI.
const SCHEME: &str = "waypost:";

/// Returns the URI that a member's certificate has among its subject's alternative names.
#[must_use]
pub fn member_uri(cluster: [u8; 16], member: MemberId) -> String {
    // A cluster's id is written as a member's is.
    format!("{SCHEME}{}/{member}", MemberId(cluster))
}

/// The member of a cluster that a certificate names, whatever its issuer; none if it names no member or
/// several.
fn member_of(certificate: &CertificateDer<'_>, cluster: [u8; 16]) -> Option<MemberId> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate.valid_uri_names().filter_map(|uri| uri.strip_prefix(SCHEME));
    let (name, other) = (names.next()?, names.next());
    let (its_cluster, member) = name.split_once('/').filter(|_| other.is_none())?;
    let is_ours = its_cluster.parse().is_ok_and(|id: MemberId| id.0 == cluster);
    member.parse().ok().filter(|_| is_ours)
}

/// The member that a connection's peer has proven to be.
pub(super) fn proven(connection: &quinn::Connection, cluster: [u8; 16]) -> Option<MemberId> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    member_of(identity.first()?, cluster)
}

/// The protocol that a connection speaks.
pub(super) fn protocol(connection: &quinn::Connection) -> Option<Vec<u8>> {
    let data = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
    data.protocol
}

/// Everything that TLS needs to make links.
pub(super) struct Tls {
    /// The cluster that certificates must name.
    cluster: [u8; 16],
    /// The cryptography: rustls over ring.
    provider: Arc<CryptoProvider>,
    /// The cluster's authority, the only root.
    roots: Arc<RootCertStore>,
    /// This location's certificate, and those between it and the authority.
    chain: Vec<CertificateDer<'static>>,
    /// The key of this location's certificate.
    key: PrivateKeyDer<'static>,
    /// The configuration for peers that dial, built once.
    server: Arc<QuicServerConfig>,
}

impl Tls {
    /// Checks the identity in a configuration.
    pub(super) fn new(config: &Config) -> Result<Tls, StartError> {
        let failed = |error: &dyn std::fmt::Display| StartError::Identity(error.to_string());
        let identity = &config.identity;
        let chain: Vec<_> = identity.chain.iter().cloned().map(CertificateDer::from).collect();
        let key = PrivateKeyDer::try_from(identity.key.clone()).map_err(|error| failed(&error))?;
        let own = chain.first().and_then(|own| member_of(own, config.cluster));
        if own != Some(config.member) {
            let wanted = member_uri(config.cluster, config.member);
            return Err(failed(&format!("it does not name this location, {wanted}")));
        }
        let mut roots = RootCertStore::empty();
        for authority in &identity.authorities {
            let authority = CertificateDer::from(authority.clone());
            roots.add(authority).map_err(|error| failed(&error))?;
        }
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(roots);
        let inner =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        // A guest has no certificate. `accept` closes a link without one.
        let inner = match &config.guests {
            Some(_) => inner.allow_unauthenticated(),
            None => inner,
        };
        let inner = inner.build().map_err(|error| failed(&error))?;
        let verifier = Arc::new(DiallerVerifier { inner, cluster: config.cluster });
        let mut server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .and_then(|builder| {
                builder
                    .with_client_cert_verifier(verifier)
                    .with_single_cert(chain.clone(), key.clone_key())
            })
            .map_err(|error| failed(&error))?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.alpn_protocols.extend(config.guests.iter().map(|guests| guests.alpn.clone()));
        // Links live long, and a peer that reconnects proves its identity again.
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;
        let server = QuicServerConfig::try_from(server).map_err(|error| failed(&error))?;
        let cluster = config.cluster;
        let tls = Tls { cluster, provider, roots, chain, key, server: Arc::new(server) };
        tls.client(config.member).map_err(|error| failed(&error))?;
        Ok(tls)
    }

    /// The configuration for peers that dial.
    pub(super) fn server(&self) -> Arc<QuicServerConfig> {
        Arc::clone(&self.server)
    }

    /// The configuration to dial one member, and no other.
    pub(super) fn client(&self, member: MemberId) -> Result<Arc<QuicClientConfig>, Error> {
        let (roots, cluster) = (Arc::clone(&self.roots), self.cluster);
        let algorithms = self.provider.signature_verification_algorithms.all;
        let is_member = move |own: &CertificateDer<'_>, chain: &[CertificateDer<'_>], now| {
            let certificate = ParsedCertificate::try_from(own)?;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                &roots,
                chain,
                now,
                algorithms,
            )?;
            if member_of(own, cluster) != Some(member) {
                return Err(rejected());
            }
            Ok(())
        };
        let verifier = ServerVerifier::new(Arc::clone(&self.provider), is_member);
        let mut client = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        let client = QuicClientConfig::try_from(client);
        client.map(Arc::new).map_err(|error| Error::General(error.to_string()))
    }
}

/// The error for a valid certificate of the wrong member.
fn rejected() -> Error {
    Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
}

/// Accepts a certificate of the cluster's authority that names a member.
#[derive(Debug)]
struct DiallerVerifier {
    /// The check of the chain against the cluster's authority.
    inner: Arc<dyn ClientCertVerifier>,
    /// The cluster that the certificate must name.
    cluster: [u8; 16],
}

impl ClientCertVerifier for DiallerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        member_of(end_entity, self.cluster).ok_or_else(rejected)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Checks the certificate of a server independently of the name that was dialled, because members are
/// reached at any address. rustls checks separately that the server has the certificate's key.
pub struct ServerVerifier<J> {
    /// The algorithms that signatures are checked with.
    provider: Arc<CryptoProvider>,
    /// Accepts or rejects a server's certificate.
    judge: J,
}

impl<J> ServerVerifier<J>
where
    J: Fn(&CertificateDer<'_>, &[CertificateDer<'_>], UnixTime) -> Result<(), Error>,
{
    /// Creates a verifier. `judge` gets the server's certificate, those that followed it, and the time, and
    /// returns an error to reject the server.
    #[must_use]
    pub fn new(provider: Arc<CryptoProvider>, judge: J) -> ServerVerifier<J> {
        ServerVerifier { provider, judge }
    }
}

impl<J> fmt::Debug for ServerVerifier<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerVerifier").finish_non_exhaustive()
    }
}

impl<J> ServerCertVerifier for ServerVerifier<J>
where
    J: Fn(&CertificateDer<'_>, &[CertificateDer<'_>], UnixTime) -> Result<(), Error> + Send + Sync,
{
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        (self.judge)(end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
