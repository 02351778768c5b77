//! A cluster's authority, and certificates of all kinds.

use kv_core::MemberId;
use kv_replicate::quic::{Identity, member_uri};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

/// The cluster of all tests.
pub(crate) const CLUSTER: [u8; 16] = [0xc1; 16];

/// A cluster's authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The identity that a member should have.
    pub(crate) fn identity(&self, member: MemberId) -> Identity {
        self.issue(&[&member_uri(CLUSTER, member)], |_| {})
    }

    /// An identity whose certificate has expired.
    pub(crate) fn expired(&self, member: MemberId) -> Identity {
        self.issue(&[&member_uri(CLUSTER, member)], |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        })
    }

    /// A certificate with these URIs.
    pub(crate) fn issue(
        &self,
        uris: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        let uri = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
        params.subject_alt_names = uris.iter().map(uri).collect();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity {
            authorities: vec![self.0.der().to_vec()],
            chain: vec![certificate.der().to_vec()],
            key: key.serialize_der(),
        }
    }
}
