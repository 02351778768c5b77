//! The certificate authority (CA) of a cluster. Its key is at one location, the CA holder.
//!
//! A rotation makes another CA. The former one vouches for it: it signs a certificate for the key of its successor, a
//! *voucher*. A location sends the vouchers with its own certificate, so that locations that only know the former CA
//! accept it.

use std::ops::Range;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

use super::{
    certificate::{CertificateError, Facts, Identity, all_from_pem, all_to_pem},
    names::{ClusterId, Name, Sha256},
};

/// Seconds in a day.
const DAY: u64 = 24 * 60 * 60;

/// How long the CA's certificate is valid, in seconds.
pub const CA_LIFE: u64 = 10 * 365 * DAY;

/// How long the certificate of a location is valid, in seconds: a location renews it by itself in time.
pub const LIFE: u64 = 90 * DAY;

/// How long before its creation a certificate becomes valid, in seconds, for clocks that are behind.
pub const BEFORE: u64 = 60 * 60;

/// The most vouchers that are kept: a location that missed more rotations than that must join again.
pub const MAX_VOUCHERS: usize = 3;

/// The CA of a cluster, with its key.
#[derive(Debug)]
pub struct Ca {
    /// The key and the name of the CA.
    issuer: Issuer<'static, KeyPair>,
    /// The certificate of the CA.
    certificate: CertificateDer<'static>,
    /// When its certificate is valid, in Unix seconds.
    validity: Range<u64>,
    /// Certificates by which former CAs vouch for it, the latest first.
    vouchers: Vec<CertificateDer<'static>>,
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
        let params = ca_params(cluster, name, &key, now)?;
        let certificate = params.self_signed(&key)?.der().clone();
        let validity = now.saturating_sub(BEFORE)..now.saturating_add(CA_LIFE);
        Ok(Ca { issuer: Issuer::new(params, key), certificate, validity, vouchers: Vec::new() })
    }

    /// Generates the successor of this CA, which this CA vouches for.
    ///
    /// # Errors
    /// If the system has no randomness, or a certificate can't be signed.
    pub fn succeed(&self, cluster: ClusterId, name: &Name, now: u64) -> Result<Ca, rcgen::Error> {
        let mut next = Ca::generate(cluster, name, now)?;
        let mut params = ca_params(cluster, name, next.issuer.key(), now)?;
        params.serial_number = Some(serial(&self.certificate, next.issuer.key(), now));
        params.use_authority_key_identifier_extension = true;
        let voucher = params.signed_by(next.issuer.key(), &self.issuer)?.der().clone();
        let before = self.vouchers.iter().cloned();
        next.vouchers = std::iter::once(voucher).chain(before).take(MAX_VOUCHERS).collect();
        Ok(next)
    }

    /// Restores a CA from what [`Ca::pem`] returned.
    ///
    /// # Errors
    /// If the text has no key or no certificate, or they do not belong together.
    pub fn from_pem(text: &str) -> Result<Ca, CertificateError> {
        // The library's error might repeat a part of the text, which is secret.
        let key = KeyPair::from_pem(text).map_err(|_no_key| CertificateError::NoKey)?;
        let mut all = all_from_pem(text)?.into_iter();
        let certificate = all.next().ok_or(CertificateError::OtherKey)?;
        Ok(Ca { vouchers: all.take(MAX_VOUCHERS).collect(), ..Ca::new(certificate, key)? })
    }

    /// Restores a CA that has no predecessor from its certificate and key.
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
        let validity = facts.not_before..facts.not_after;
        Ok(Ca { issuer, certificate, validity, vouchers: Vec::new() })
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

    /// Returns when it was generated, in Unix seconds.
    #[must_use]
    pub fn created(&self) -> u64 {
        self.validity.start.saturating_add(BEFORE)
    }

    /// Whether it is valid at a time, in Unix seconds.
    #[must_use]
    pub fn is_valid_at(&self, now: u64) -> bool {
        self.validity.contains(&now)
    }

    /// Returns the certificates by which former CAs vouch for it, the latest first.
    #[must_use]
    pub fn vouchers(&self) -> &[CertificateDer<'static>] {
        &self.vouchers
    }

    /// Returns its private key, its certificate and its vouchers in PEM: the content of `ca.key`.
    #[must_use]
    pub fn pem(&self) -> String {
        let certificates = std::iter::once(&self.certificate).chain(&self.vouchers);
        self.issuer.key().serialize_pem() + &all_to_pem(certificates)
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

/// The parameters of a CA's certificate. No two CAs of a cluster have the same name.
fn ca_params(
    cluster: ClusterId,
    name: &Name,
    key: &KeyPair,
    now: u64,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = params_valid_for(now, CA_LIFE)?;
    // Without a bound on the length of chains: a CA signs certificates of locations, and vouchers.
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let hash = Sha256::of(&key.subject_public_key_info()).to_string();
    let common_name = format!("Waypost cluster {name}, CA {}", &hash[..8]);
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(serial(&cluster.0, key, now));
    Ok(params)
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
