//! What a certificate says, and whether a CA made it.

use std::{fmt, str::FromStr, time::Duration};

use kv_core::MemberId;
use rcgen::{KeyPair, PublicKeyData as _};
use rustls::{
    RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _, time::ASN1Time,
};

use super::names::{ClusterId, WrongText};

/// Whose certificate: the name in it, `waypost:CLUSTER/MEMBER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Of which cluster.
    pub cluster: ClusterId,
    /// Which location.
    pub member: MemberId,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waypost:{}/{}", self.cluster, self.member)
    }
}

impl FromStr for Identity {
    type Err = WrongText;

    fn from_str(text: &str) -> Result<Identity, WrongText> {
        let wrong = || WrongText(format!("{text:?} is not the name of a location"));
        let (cluster, member) = text
            .strip_prefix("waypost:")
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(wrong)?;
        let cluster = cluster.parse().map_err(|_not_one| wrong())?;
        let member = member.parse().map_err(|_not_one| wrong())?;
        Ok(Identity { cluster, member })
    }
}

/// What a certificate says. Whether it may be believed, [`check_issued`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whose it is; none for that of a CA.
    pub identity: Option<Identity>,
    /// From when it holds, in Unix seconds.
    pub not_before: u64,
    /// Until when it holds, in Unix seconds.
    pub not_after: u64,
    /// Its public key (a SubjectPublicKeyInfo in DER).
    pub public_key: Vec<u8>,
}

impl Facts {
    /// Reads a certificate.
    ///
    /// # Errors
    /// If it is none, or names two locations.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Facts, WrongText> {
        let wrong = |error: String| WrongText(format!("it is no certificate: {error}"));
        let (rest, parsed) =
            X509Certificate::from_der(certificate).map_err(|error| wrong(error.to_string()))?;
        if !rest.is_empty() {
            return Err(wrong("something follows it".into()));
        }
        let names = parsed.subject_alternative_name().map_err(|error| wrong(error.to_string()))?;
        let mut identities = names.iter().flat_map(|names| &names.value.general_names).filter_map(
            |name| match name {
                GeneralName::URI(uri) if uri.starts_with("waypost:") => Some(uri.parse()),
                _ => None,
            },
        );
        let identity = identities.next().transpose()?;
        if identities.next().is_some() {
            return Err(wrong("it names two locations".into()));
        }
        Ok(Facts {
            identity,
            not_before: seconds(parsed.validity().not_before),
            not_after: seconds(parsed.validity().not_after),
            public_key: parsed.public_key().raw.to_vec(),
        })
    }

    /// Whether this key is the private half of the certificate's.
    #[must_use]
    pub fn is_of(&self, key: &KeyPair) -> bool {
        key.subject_public_key_info() == self.public_key
    }
}

fn seconds(time: ASN1Time) -> u64 {
    u64::try_from(time.timestamp()).unwrap_or(0)
}

/// Whether a certificate was made by this CA for a location, and holds now.
///
/// # Errors
/// Says why not.
pub fn check_issued(
    certificate: &CertificateDer<'_>,
    ca: &CertificateDer<'_>,
    now: UnixTime,
    provider: &CryptoProvider,
) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone().into_owned())?;
    let parsed = ParsedCertificate::try_from(certificate)?;
    let algorithms = provider.signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms)
}

/// A time of certificates.
#[must_use]
pub fn unix_time(now: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(now))
}

/// The one certificate of a PEM text.
///
/// # Errors
/// If there is none.
pub fn from_pem(text: &str) -> Result<CertificateDer<'static>, WrongText> {
    CertificateDer::from_pem_slice(text.as_bytes())
        .map_err(|error| WrongText(format!("it has no certificate in PEM: {error}")))
}

/// A certificate as a PEM text.
#[must_use]
pub fn to_pem(certificate: &CertificateDer<'_>) -> String {
    let text = data_encoding::BASE64.encode(certificate);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|l| str::from_utf8(l).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
