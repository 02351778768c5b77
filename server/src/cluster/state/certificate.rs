//! The facts in a certificate, and whether a CA issued it.

use std::{fmt, str::FromStr, time::Duration};

use kv_core::MemberId;
use rcgen::{KeyPair, PublicKeyData as _};
use rustls::{
    RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, UnixTime,
        pem::{self, PemObject as _},
    },
    server::ParsedCertificate,
};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _, time::ASN1Time,
};

use super::names::{ClusterId, TextError};

/// The identity that a certificate proves: the name in it, `waypost:CLUSTER/MEMBER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The location.
    pub member: MemberId,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waypost:{}/{}", self.cluster, self.member)
    }
}

impl FromStr for Identity {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Identity, TextError> {
        let wrong = || TextError(format!("{text:?} is not the identity of a location"));
        let (cluster, member) = text
            .strip_prefix("waypost:")
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(wrong)?;
        let cluster = cluster.parse().map_err(|_not_one| wrong())?;
        let member = member.parse().map_err(|_not_one| wrong())?;
        Ok(Identity { cluster, member })
    }
}

/// A certificate is not one that Waypost can use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The bytes are not an X.509 certificate.
    #[error("it is not a certificate: {0}")]
    Malformed(String),
    /// More bytes follow the certificate.
    #[error("it is not a certificate: more bytes follow its end")]
    Trailing,
    /// It names more than one location.
    #[error("it names two locations")]
    TwoIdentities,
    /// The name of a location in it is malformed.
    #[error(transparent)]
    Identity(#[from] TextError),
    /// The text has no certificate in PEM.
    #[error("it has no certificate in PEM: {0}")]
    NotPem(pem::Error),
    /// The text has no private key in PEM.
    #[error("it has no private key in PEM")]
    NoKey,
    /// The key is another certificate's.
    #[error("its key is not the key of its certificate")]
    OtherKey,
    /// The certificate is not a CA's.
    #[error("it has a certificate that is not a CA's: {0}")]
    NotACa(rcgen::Error),
}

/// The facts in a certificate. [`check_issued`] checks whether they are proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The identity in it; none in that of a CA.
    pub identity: Option<Identity>,
    /// When it becomes valid, in Unix seconds.
    pub not_before: u64,
    /// When it expires, in Unix seconds.
    pub not_after: u64,
    /// Its public key: a SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
}

impl Facts {
    /// Reads a certificate.
    ///
    /// # Errors
    /// If it is malformed, or names two locations.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Facts, CertificateError> {
        let (rest, parsed) = X509Certificate::from_der(certificate)
            .map_err(|error| CertificateError::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(CertificateError::Trailing);
        }
        let names = parsed
            .subject_alternative_name()
            .map_err(|error| CertificateError::Malformed(error.to_string()))?;
        let mut identities = names.iter().flat_map(|names| &names.value.general_names).filter_map(
            |name| match name {
                GeneralName::URI(uri) if uri.starts_with("waypost:") => Some(uri.parse()),
                _ => None,
            },
        );
        let identity = identities.next().transpose()?;
        if identities.next().is_some() {
            return Err(CertificateError::TwoIdentities);
        }
        Ok(Facts {
            identity,
            not_before: seconds(parsed.validity().not_before),
            not_after: seconds(parsed.validity().not_after),
            public_key: parsed.public_key().raw.to_vec(),
        })
    }

    /// Whether a key is the private half of the certificate's.
    #[must_use]
    pub fn is_of(&self, key: &KeyPair) -> bool {
        key.subject_public_key_info() == self.public_key
    }
}

/// Converts a time of a certificate to Unix seconds; times before 1970 become 0.
fn seconds(time: ASN1Time) -> u64 {
    u64::try_from(time.timestamp()).unwrap_or(0)
}

/// Checks that a CA issued a certificate to a location, and that both are valid at a time.
///
/// # Errors
/// If it did not, or they are not.
pub fn check_issued(
    certificate: &CertificateDer<'_>,
    ca: &CertificateDer<'_>,
    now: UnixTime,
    provider: &CryptoProvider,
) -> Result<(), rustls::Error> {
    check_chain(certificate, std::slice::from_ref(ca), &[], now, provider)
}

/// Checks that one of some CAs issued a certificate to a location, or vouches with the other certificates for the CA
/// that issued it, and that all of them are valid at a time.
///
/// # Errors
/// If none did, or they are not.
pub fn check_chain(
    certificate: &CertificateDer<'_>,
    cas: &[CertificateDer<'_>],
    others: &[CertificateDer<'_>],
    now: UnixTime,
    provider: &CryptoProvider,
) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    for ca in cas {
        roots.add(ca.clone().into_owned())?;
    }
    let parsed = ParsedCertificate::try_from(certificate)?;
    let algorithms = provider.signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, &roots, others, now, algorithms)
}

/// Converts Unix seconds.
#[must_use]
pub fn unix_time(now: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(now))
}

/// Reads the first certificate of a PEM text.
///
/// # Errors
/// If it has none.
pub fn from_pem(text: &str) -> Result<CertificateDer<'static>, CertificateError> {
    CertificateDer::from_pem_slice(text.as_bytes()).map_err(CertificateError::NotPem)
}

/// Reads all certificates of a PEM text, in their order.
///
/// # Errors
/// If it has none, or a malformed one.
pub fn all_from_pem(text: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let all = all.map_err(CertificateError::NotPem)?;
    if all.is_empty() {
        return Err(CertificateError::NotPem(pem::Error::NoItemsFound));
    }
    Ok(all)
}

/// Formats certificates as PEM, one after the other.
#[must_use]
pub fn all_to_pem<'a>(all: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> String {
    all.into_iter().map(to_pem).collect()
}

/// Formats a certificate as PEM.
#[must_use]
pub fn to_pem(certificate: &CertificateDer<'_>) -> String {
    let text = data_encoding::BASE64.encode(certificate);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|l| str::from_utf8(l).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
