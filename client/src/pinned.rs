//! Trust in a certificate that was given itself.
//!
//! A server's self-signed certificate, as `openssl req -x509` makes it, is marked as one of a CA, and webpki accepts no such
//! certificate from a server, whatever the roots are. Whoever gives the certificate itself trusts it by its bytes: what is
//! left to check is its name and its time. curl does the same.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        VerifierBuilderError, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use x509_parser::{parse_x509_certificate, time::ASN1Time};

/// Checks the certificate of a server: by roots, or because it is one of those that were given.
#[derive(Debug)]
pub(crate) struct Pinned {
    /// Checks by roots.
    by_roots: Arc<WebPkiServerVerifier>,
    /// The certificates that are trusted themselves.
    given: Vec<CertificateDer<'static>>,
}

impl Pinned {
    /// Trusts these certificates, and what those of them sign that are CAs.
    ///
    /// # Errors
    /// If there are no roots.
    pub(crate) fn new(
        roots: RootCertStore,
        given: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Pinned, VerifierBuilderError> {
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        Ok(Pinned { by_roots: builder.build()?, given })
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.given.iter().any(|given| given == end_entity) {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            is_current(end_entity, now)?;
            return Ok(ServerCertVerified::assertion());
        }
        let by_roots = &self.by_roots;
        by_roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_roots.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_roots.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_roots.supported_verify_schemes()
    }
}

/// Checks that a certificate is valid now.
fn is_current(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let now = i64::try_from(now.as_secs()).ok().and_then(|now| ASN1Time::from_timestamp(now).ok());
    let parsed = parse_x509_certificate(certificate);
    let (Some(now), Ok((_rest, parsed))) = (now, parsed) else {
        return Err(CertificateError::BadEncoding.into());
    };
    let validity = parsed.validity();
    match () {
        () if now < validity.not_before => Err(CertificateError::NotValidYet.into()),
        () if now > validity.not_after => Err(CertificateError::Expired.into()),
        () => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
    use rustls::crypto::ring::default_provider;

    use super::*;

    /// A self-signed certificate for `localhost`, of the years 2026 to 2029, that is one of a CA.
    fn certificate() -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) =
            (date_time_ymd(2026, 1, 1), date_time_ymd(2029, 1, 1));
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().clone()
    }

    #[test]
    fn a_self_signed_certificate_that_was_given_is_trusted_for_its_names_and_its_time_only() {
        let (given, other) = (certificate(), certificate());
        let mut roots = RootCertStore::empty();
        roots.add(given.clone()).expect("a root");
        let pinned = Pinned::new(roots, vec![given.clone()], Arc::new(default_provider()));
        let pinned = pinned.expect("there is a root");
        let verify = |certificate: &CertificateDer<'_>, name: &'static str, year: u64| {
            let now = Duration::from_secs((year - 1970) * 31_556_952 + 86_400 * 30);
            let name = ServerName::try_from(name).expect("a name");
            let now = UnixTime::since_unix_epoch(now);
            pinned.verify_server_cert(certificate, &[], &name, &[], now)
        };
        assert!(verify(&given, "localhost", 2027).is_ok());
        let expired = verify(&given, "localhost", 2030).expect_err("expired");
        assert_eq!(expired, CertificateError::Expired.into());
        let early = verify(&given, "localhost", 2020).expect_err("early");
        assert_eq!(early, CertificateError::NotValidYet.into());
        assert!(verify(&given, "example.com", 2027).is_err());
        assert!(verify(&other, "localhost", 2027).is_err());
    }
}
