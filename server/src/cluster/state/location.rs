//! All files of a location, checked against each other.

use std::path::Path;

use rcgen::KeyPair;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

use super::{
    authorities::Authorities,
    ca::{Ca, LIFE, MAX_VOUCHERS},
    certificate::{self, Facts, Identity, check_issued, unix_time},
    descriptor::Descriptor,
    expiry::{Expiry, Renewal},
    files::{self, ClusterDir, FilesError},
    holder::CaHolder,
};

/// A certificate that expires in less than this is renewed, in seconds: from two thirds of its life on.
const RENEWED_BEFORE: u64 = LIFE / 3;

/// A member of a cluster, ready to accept links from its peers and to dial them.
#[derive(Debug)]
pub struct Location {
    /// The cluster, the location and its addresses.
    pub descriptor: Descriptor,
    /// The certificates of the CAs that its links trust, the newest first.
    pub trusted: Vec<CertificateDer<'static>>,
    /// All CAs that it knows.
    pub authorities: Authorities,
    /// This location's certificate, the vouchers for the CA that issued it, and that CA's certificate.
    pub chain: Vec<CertificateDer<'static>>,
    /// This location's private key.
    pub key: PrivateKeyDer<'static>,
    /// When its certificates expire.
    pub expiry: Expiry,
    /// The location that has the CA's key, if this one has learned of it and does not have the key itself.
    pub ca_holder: Option<CaHolder>,
    /// Warnings for the operator, one sentence each.
    pub warnings: Vec<String>,
}

/// Why a location can't take part in its cluster. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file is missing or damaged, or contradicts the others.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A join was interrupted.
    #[error(
        "joining the cluster was not finished: start with `waypost serve --join TOKEN` again, with \
         the same token or a new one; or, to run without a cluster, remove the directory `cluster` from \
         the data directory"
    )]
    Unfinished,
    /// A certificate can't be issued.
    #[error("can't issue a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

impl Location {
    /// Returns the identity that its certificate proves.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { cluster: self.descriptor.cluster, member: self.descriptor.member }
    }

    /// Whether the newest CA issued its certificate.
    #[must_use]
    pub fn has_newest_ca(&self) -> bool {
        self.chain.last() == Some(self.authorities.newest())
    }
}

/// Loads a location; none if it is not in a cluster. The CA holder first ends a rotation of the CA that was interrupted,
/// and renews its own certificate if that is due.
///
/// # Errors
/// See [`LoadError`].
pub fn open(data: &Path, now: u64) -> Result<Option<Location>, LoadError> {
    let directory = ClusterDir::of(data);
    if directory.has(files::CA_KEY)
        && let Some(descriptor) = Descriptor::load(&directory)?
    {
        let _lock = directory.lock()?;
        let ca = load_ca(&directory)?;
        trust(&directory, &ca)?;
        renew(&directory, &descriptor, &ca, now)?;
    }
    load(data, now)
}

/// Loads a location; none if it is not in a cluster. Its certificate may have expired, or not be valid yet: then other
/// locations reject it, and it serves what it has.
///
/// # Errors
/// See [`LoadError`].
pub fn load(data: &Path, now: u64) -> Result<Option<Location>, LoadError> {
    let directory = ClusterDir::of(data);
    let Some(descriptor) = Descriptor::load(&directory)? else {
        if directory.has(files::JOINING) {
            return Err(LoadError::Unfinished);
        }
        if directory.has(files::CERTIFICATE) || directory.has(files::CA_KEY) {
            return Err(FilesError::Missing(directory.path(files::DESCRIPTOR)).into());
        }
        return Ok(None);
    };
    let authorities = Authorities::load(&directory)?;
    let mut chain = read_chain(&directory)?;
    let key = read_key(&directory, files::KEY)?;
    let damaged_ca = |error| directory.damaged(files::CA, error);
    let ca_end = Facts::read(authorities.newest()).map_err(damaged_ca)?.not_after;
    let trusted = authorities.trusted_at(now).map_err(damaged_ca)?;
    let own = chain.first().cloned().unwrap_or_else(|| CertificateDer::from(Vec::new()));
    let (facts, issuer) = check(&directory, &descriptor, (&authorities, &own), &key, now)?;
    chain.push(issuer);
    let has_ca_key = directory.has(files::CA_KEY);
    if has_ca_key {
        check_ca(&directory, &load_ca(&directory)?, &authorities)?;
    }
    let ca_holder = if has_ca_key { None } else { CaHolder::load(&directory)? };
    let (not_before, location) = (facts.not_before, facts.not_after);
    let expiry = Expiry { not_before, location, ca: ca_end, has_ca_key };
    let renewal = Renewal { ca_holder: name_of(ca_holder.as_ref()), last_error: None };
    let warnings = expiry.alarm(now, &renewal).into_iter().map(|(_, text)| text).collect();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    Ok(Some(Location { descriptor, trusted, authorities, chain, key, expiry, ca_holder, warnings }))
}

/// The name of the location that has the CA's key, as a text.
fn name_of(holder: Option<&CaHolder>) -> Option<String> {
    holder.map(|holder| holder.location.to_string())
}

/// Checks that the certificates, the key and the descriptor belong together. Returns the facts in the location's
/// certificate and the CA that issued it.
fn check(
    directory: &ClusterDir,
    descriptor: &Descriptor,
    (authorities, own): (&Authorities, &CertificateDer<'_>),
    key: &KeyPair,
    now: u64,
) -> Result<(Facts, CertificateDer<'static>), LoadError> {
    let wrong = |reason: String| directory.damaged(files::CERTIFICATE, reason);
    let facts = Facts::read(own).map_err(|error| wrong(error.to_string()))?;
    let identity = Identity { cluster: descriptor.cluster, member: descriptor.member };
    if facts.identity != Some(identity) {
        return Err(wrong("it names another location than cluster.toml".into()).into());
    }
    if !facts.is_of(key) {
        let reason = "it is not the key of the certificate in location.pem";
        return Err(directory.damaged(files::KEY, reason).into());
    }
    // Outside of its validity, the location does not replicate; an alarm says so.
    let valid_at = unix_time(now.max(facts.not_before).min(facts.not_after));
    let issuer = authorities
        .issuer_of(own, valid_at)
        .map_err(|error| wrong(format!("no CA in ca.pem issued it: {error}")))?;
    Ok((facts, issuer.clone()))
}

/// Checks that the CA whose key is here is one that this location trusts, or the successor of one.
fn check_ca(directory: &ClusterDir, ca: &Ca, authorities: &Authorities) -> Result<(), FilesError> {
    if authorities.vouch_for(ca) {
        return Ok(());
    }
    Err(directory.damaged(files::CA_KEY, "it is not the key of a CA in ca.pem"))
}

/// Trusts the CA whose key is here. It is missing in `ca.pem` if a rotation was interrupted.
fn trust(directory: &ClusterDir, ca: &Ca) -> Result<(), FilesError> {
    let authorities = Authorities::load(directory)?;
    check_ca(directory, ca, &authorities)?;
    if authorities.newest() == ca.certificate() {
        return Ok(());
    }
    authorities.with_newest(ca.certificate().clone()).save(directory)
}

/// Renews the certificate of the CA holder if that is due, or if another CA issued it. The key stays.
fn renew(
    directory: &ClusterDir,
    descriptor: &Descriptor,
    ca: &Ca,
    now: u64,
) -> Result<(), LoadError> {
    let own = read_certificate(directory, files::CERTIFICATE)?;
    let facts = Facts::read(&own).map_err(|error| directory.damaged(files::CERTIFICATE, error))?;
    let at = unix_time(facts.not_before);
    let is_of_ca = check_issued(&own, ca.certificate(), at, &ring::default_provider()).is_ok();
    if is_of_ca && (!is_due(&facts, now) || is_limited_by_ca(&facts, ca.not_after(), now)) {
        return Ok(());
    }
    // Outside of the CA's validity nothing that it issues is valid, or the clock is wrong.
    if !ca.is_valid_at(now) {
        return Ok(());
    }
    let key = read_key(directory, files::KEY)?;
    let identity = Identity { cluster: descriptor.cluster, member: descriptor.member };
    let renewed = ca.issue(identity, &key, now)?;
    Ok(write_chain(directory, &renewed, ca.vouchers())?)
}

/// Writes a location's certificate and the vouchers for the CA that issued it.
pub(crate) fn write_chain(
    directory: &ClusterDir,
    own: &CertificateDer<'static>,
    vouchers: &[CertificateDer<'static>],
) -> Result<(), FilesError> {
    let vouchers = vouchers.iter().take(MAX_VOUCHERS);
    let chain = certificate::all_to_pem(std::iter::once(own).chain(vouchers));
    directory.write(files::CERTIFICATE, &chain)
}

/// Reads a location's certificate and the vouchers for the CA that issued it.
fn read_chain(directory: &ClusterDir) -> Result<Vec<CertificateDer<'static>>, FilesError> {
    let text = directory.read(files::CERTIFICATE)?;
    let chain = certificate::all_from_pem(&text);
    let mut chain = chain.map_err(|error| directory.damaged(files::CERTIFICATE, error))?;
    chain.truncate(1 + MAX_VOUCHERS);
    Ok(chain)
}

/// Whether a certificate should be renewed: it expires soon, or was issued by a clock that was ahead.
pub(crate) fn is_due(facts: &Facts, now: u64) -> bool {
    facts.not_after.saturating_sub(now) < RENEWED_BEFORE || facts.not_before > now
}

/// Whether a new certificate would expire no later than this one, because the CA expires as early.
pub(crate) fn is_limited_by_ca(facts: &Facts, ca_end: u64, now: u64) -> bool {
    facts.not_after >= ca_end && facts.not_before <= now
}

/// Loads the CA, at the CA holder.
pub(crate) fn load_ca(directory: &ClusterDir) -> Result<Ca, FilesError> {
    let text = directory.read_secret(files::CA_KEY)?;
    Ca::from_pem(&text).map_err(|error| directory.damaged(files::CA_KEY, error))
}

/// Reads a certificate in PEM.
pub(crate) fn read_certificate(
    directory: &ClusterDir,
    name: &str,
) -> Result<CertificateDer<'static>, FilesError> {
    let text = directory.read(name)?;
    certificate::from_pem(&text).map_err(|error| directory.damaged(name, error))
}

/// Reads a private key in PEM.
pub(crate) fn read_key(directory: &ClusterDir, name: &str) -> Result<KeyPair, FilesError> {
    let text = directory.read_secret(name)?;
    // The library's error might repeat a part of the file, which is secret.
    KeyPair::from_pem(&text)
        .map_err(|_no_key| directory.damaged(name, "it has no private key in PEM"))
}
