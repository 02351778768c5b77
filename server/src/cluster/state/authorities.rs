//! `ca.pem`: the CAs that a location trusts. One; after a rotation also the former ones.

use kv_core::MemberId;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, UnixTime},
};

use super::{
    ca::{BEFORE, Ca, LIFE, new_key},
    certificate::{self, CertificateError, Facts, Identity, check_chain, check_issued, unix_time},
    files::{self, ClusterDir, FilesError},
    names::{ClusterId, Sha256},
};

/// The most CAs in the file.
pub const MAX_AUTHORITIES: usize = 4;

/// The CAs that a location knows, the newest first; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities {
    /// The newest CA, whose certificates each location gets.
    newest: CertificateDer<'static>,
    /// Its predecessors.
    former: Vec<CertificateDer<'static>>,
}

impl Authorities {
    /// Returns that of a cluster whose CA was not rotated.
    #[must_use]
    pub fn of(newest: CertificateDer<'static>) -> Authorities {
        Authorities { newest, former: Vec::new() }
    }

    /// Returns these CAs, the newest first; none if there is none. Further ones than [`MAX_AUTHORITIES`] are left out.
    #[must_use]
    pub fn new(all: impl IntoIterator<Item = CertificateDer<'static>>) -> Option<Authorities> {
        let mut all = all.into_iter().take(MAX_AUTHORITIES);
        let newest = all.next()?;
        Some(Authorities { newest, former: all.collect() })
    }

    /// Reads the file.
    ///
    /// # Errors
    /// If it is missing, or has no certificate.
    pub fn load(directory: &ClusterDir) -> Result<Authorities, FilesError> {
        let text = directory.read(files::CA)?;
        let all = certificate::all_from_pem(&text)
            .map_err(|error| directory.damaged(files::CA, error))?;
        Authorities::new(all).ok_or_else(|| directory.damaged(files::CA, "it is empty"))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If the system refuses; the file is unchanged.
    pub fn save(&self, directory: &ClusterDir) -> Result<(), FilesError> {
        directory.write(files::CA, &certificate::all_to_pem(self.iter()))
    }

    /// Returns the CA that issues certificates.
    #[must_use]
    pub fn newest(&self) -> &CertificateDer<'static> {
        &self.newest
    }

    /// The former CAs, the latest first.
    #[must_use]
    pub fn former(&self) -> &[CertificateDer<'static>] {
        &self.former
    }

    /// All CAs, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        std::iter::once(&self.newest).chain(&self.former)
    }

    /// Whether a CA with this certificate is known.
    #[must_use]
    pub fn has(&self, hash: Sha256) -> bool {
        self.iter().any(|ca| Sha256::of(ca) == hash)
    }

    /// Returns these CAs and a newer one. The oldest are dropped beyond [`MAX_AUTHORITIES`].
    #[must_use]
    pub fn with_newest(&self, newest: CertificateDer<'static>) -> Authorities {
        let former = self.iter().filter(|known| **known != newest).cloned();
        let former = former.take(MAX_AUTHORITIES - 1).collect();
        Authorities { newest, former }
    }

    /// Returns the newest CA alone.
    #[must_use]
    pub fn without_former(&self) -> Authorities {
        Authorities::of(self.newest.clone())
    }

    /// Whether a CA is one of these, or they vouch for it.
    #[must_use]
    pub fn vouch_for(&self, ca: &Ca) -> bool {
        if self.iter().any(|known| known == ca.certificate()) {
            return true;
        }
        // Whether the vouchers lead to one of these shows with any certificate that it issues.
        let Ok(key) = new_key() else { return false };
        let created = ca.created();
        let nobody = Identity { cluster: ClusterId([0; 16]), member: MemberId([0; 16]) };
        let Ok(issued) = ca.issue(nobody, &key, created) else { return false };
        let known: Vec<_> = self.iter().cloned().collect();
        let (at, provider) = (unix_time(created), ring::default_provider());
        check_chain(&issued, &known, ca.vouchers(), at, &provider).is_ok()
    }

    /// The CA that issued a certificate, judged at a time.
    ///
    /// # Errors
    /// If none of these CAs issued it, or it is not valid at that time.
    pub fn issuer_of(
        &self,
        certificate: &CertificateDer<'_>,
        at: UnixTime,
    ) -> Result<&CertificateDer<'static>, rustls::Error> {
        let check = |ca| check_issued(certificate, ca, at, &ring::default_provider()).map(|()| ca);
        let mut first = check(&self.newest);
        for ca in &self.former {
            first = first.or_else(|error| check(ca).map_err(|_other| error));
        }
        first
    }

    /// Returns when links stop trusting the former CAs, in Unix seconds: no certificate that one of them issued before it
    /// was replaced is valid by then.
    ///
    /// # Errors
    /// If the newest certificate is malformed.
    pub fn trusts_former_until(&self) -> Result<u64, CertificateError> {
        Ok(Facts::read(&self.newest)?.not_before.saturating_add(BEFORE + LIFE))
    }

    /// Returns the CAs whose certificates links accept at a time, in Unix seconds.
    ///
    /// # Errors
    /// If the newest certificate is malformed.
    pub fn trusted_at(&self, now: u64) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
        let count = if now < self.trusts_former_until()? { MAX_AUTHORITIES } else { 1 };
        Ok(self.iter().take(count).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn three() -> Vec<CertificateDer<'static>> {
        let (cluster, name) = (ClusterId([1; 16]), "prod".parse().expect("a name"));
        let first = Ca::generate(cluster, &name, NOW).expect("a CA");
        let second = first.succeed(cluster, &name, NOW + 1000).expect("its successor");
        let third = second.succeed(cluster, &name, NOW + 2000).expect("its successor");
        [third, second, first].map(|ca| ca.certificate().clone()).into()
    }

    #[test]
    fn a_newer_authority_stands_before_the_others_and_once() {
        let all = three();
        let two = Authorities::of(all[2].clone()).with_newest(all[1].clone());
        let again = two.with_newest(all[1].clone());
        assert_eq!(again, two);
        let three = two.with_newest(all[0].clone());
        assert_eq!(three.iter().cloned().collect::<Vec<_>>(), all);
        assert_eq!(three.without_former().iter().count(), 1);
        assert_eq!(Authorities::new(Vec::new()), None);
    }

    #[test]
    fn an_authority_vouches_for_its_successors_only() {
        let (cluster, name) = (ClusterId([1; 16]), "prod".parse().expect("a name"));
        let ca = Ca::generate(cluster, &name, NOW).expect("a CA");
        let next = ca.succeed(cluster, &name, NOW + 1000).expect("its successor");
        let known = Authorities::of(ca.certificate().clone());
        let last = next.succeed(cluster, &name, NOW + 2000).expect("its successor");
        assert!([&ca, &next, &last].iter().all(|ca| known.vouch_for(ca)));
        let other = Ca::generate(cluster, &name, NOW).expect("a CA");
        assert!(!known.vouch_for(&other));
        assert!(!Authorities::of(last.certificate().clone()).vouch_for(&next));
    }

    #[test]
    fn links_trust_former_authorities_until_no_certificate_of_theirs_is_valid() {
        let all = Authorities::new(three()).expect("three");
        let end = NOW + 2000 + LIFE;
        assert_eq!(all.trusts_former_until().expect("a certificate"), end);
        assert_eq!(all.trusted_at(end - 1).expect("certificates").len(), 3);
        assert_eq!(all.trusted_at(end).expect("certificates"), [all.newest().clone()]);
    }
}
