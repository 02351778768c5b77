//! The certificate authority of a cluster. Its key stays at the CA holder, where `waypost cluster init`
//! ran.

use std::ops::Range;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

use super::{
    certificate::{CertificateError, Facts, Identity},
    names::{ClusterId, Name, Sha256},
};

/// Seconds in a day.
const DAY: u64 = 24 * 60 * 60;

/// How long the CA's certificate is valid, in seconds. A running cluster can't change its CA.
pub const CA_LIFE: u64 = 10 * 365 * DAY;

/// How long the certificate of a location is valid, in seconds: a location renews it by itself in time.
pub const LIFE: u64 = 90 * DAY;

/// A certificate is valid from so many seconds before its creation, for clocks that are behind.
const BEFORE: u64 = 60 * 60;

/// The CA of a cluster, with its key.
#[derive(Debug)]
pub struct Ca {
    /// The key and the name of the CA.
    issuer: Issuer<'static, KeyPair>,
    /// The certificate of the CA.
    certificate: CertificateDer<'static>,
    /// When its certificate is valid, in Unix seconds.
    validity: Range<u64>,
}

/// Generates a private key for ECDSA over P-256.
///
/// # Errors
/// If the system has no randomness.
pub fn new_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
}

impl Ca {
    /// Generates the CA of a new cluster.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn generate(cluster: ClusterId, name: &Name, now: u64) -> Result<Ca, rcgen::Error> {
        let key = new_key()?;
        let mut params = params_valid_for(now, CA_LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, format!("Waypost cluster {name}"));
        params.serial_number = Some(serial(&cluster.0, &key, now));
        let certificate = params.self_signed(&key)?.der().clone();
        let validity = now.saturating_sub(BEFORE)..now.saturating_add(CA_LIFE);
        Ok(Ca { issuer: Issuer::new(params, key), certificate, validity })
    }

    /// Restores a CA from its certificate and key.
    ///
    /// # Errors
    /// If the key does not belong to the certificate, or the certificate is not a CA's.
    pub fn new(certificate: CertificateDer<'static>, key: KeyPair) -> Result<Ca, CertificateError> {
        let facts = Facts::read(&certificate)?;
        if !facts.is_of(&key) {
            return Err(CertificateError::OtherKey);
        }
        let issuer =
            Issuer::from_ca_cert_der(&certificate, key).map_err(CertificateError::NotACa)?;
        Ok(Ca { issuer, certificate, validity: facts.not_before..facts.not_after })
    }

    /// Returns its certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Returns when it expires, in Unix seconds. No certificate that it issues is valid longer.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.validity.end
    }

    /// Whether it is valid at a time, in Unix seconds.
    #[must_use]
    pub fn is_valid_at(&self, now: u64) -> bool {
        self.validity.contains(&now)
    }

    /// Returns its private key in PEM.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Issues the certificate with which a location accepts and dials links.
    ///
    /// # Errors
    /// If it can't be signed.
    pub fn issue(
        &self,
        identity: Identity,
        public_key: &impl PublicKeyData,
        now: u64,
    ) -> Result<CertificateDer<'static>, rcgen::Error> {
        // Not longer than the CA itself: verifiers differ in whether they check the CA's own expiry.
        let life = LIFE.min(self.validity.end.saturating_sub(now));
        let mut params = params_valid_for(now, life)?;
        params.use_authority_key_identifier_extension = true;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
        let name = format!("Waypost location {}", identity.member);
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(serial(&identity.member.0, public_key, now));
        Ok(params.signed_by(public_key, &self.issuer)?.der().clone())
    }
}

/// The parameters of a certificate that is valid from a little before now for this many seconds.
fn params_valid_for(now: u64, life: u64) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let at = |seconds: u64| {
        let seconds = i64::try_from(seconds).map_err(|_far| rcgen::Error::Time)?;
        OffsetDateTime::from_unix_timestamp(seconds).map_err(|_far| rcgen::Error::Time)
    };
    params.not_before = at(now.saturating_sub(BEFORE))?;
    params.not_after = at(now.saturating_add(life))?;
    Ok(params)
}

/// Derives a serial number that no other certificate of the CA has: a hash of what differs between
/// them.
fn serial(id: &[u8], key: &impl PublicKeyData, now: u64) -> SerialNumber {
    let unique = [id, &key.subject_public_key_info(), &now.to_be_bytes()].concat();
    let mut number = Sha256::of(&unique).0[..16].to_vec();
    // Positive, and not zero.
    number[0] = number[0] & 0x7f | 0x40;
    SerialNumber::from(number)
}
