//! All files of a location, checked against each other.

use std::path::Path;

use rcgen::KeyPair;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

use super::{
    ca::{Ca, LIFE},
    certificate::{self, Facts, Identity, check_issued, unix_time},
    dates::{day, minute},
    descriptor::Descriptor,
    expiry::{Expiry, RENEWAL, Renewal},
    files::{self, ClusterDir, FilesError},
    names::Sha256,
};

/// A certificate that expires in less than this is renewed, in seconds: from two thirds of its life on.
const RENEWED_BEFORE: u64 = LIFE / 3;

/// A member of a cluster, ready to accept links from its peers and to dial them.
#[derive(Debug)]
pub struct Location {
    /// The cluster, the location and its addresses.
    pub descriptor: Descriptor,
    /// The certificate of the cluster's CA.
    pub ca: CertificateDer<'static>,
    /// This location's certificate, followed by the CA's.
    pub chain: Vec<CertificateDer<'static>>,
    /// This location's private key.
    pub key: PrivateKeyDer<'static>,
    /// When its certificates expire.
    pub expiry: Expiry,
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
    /// The location's certificate is not valid yet.
    #[error(
        "the certificate of this location is not valid before {0}, and this machine's clock is behind that: set \
         the clock; or, if it is right and the clock of the CA holder was wrong: {RENEWAL}"
    )]
    NotYet(String),
    /// The CA's certificate has expired, and all others of the cluster with it.
    #[error(
        "the certificate of the cluster's CA expired on {0}: create a new cluster (`waypost cluster init` \
         with an empty data directory), and move the data to it; to export the data, remove the directory \
         `cluster`, and this location serves it without a cluster"
    )]
    CaExpired(String),
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

    /// Returns the hash by which a token of this cluster names its CA.
    #[must_use]
    pub fn ca_hash(&self) -> Sha256 {
        Sha256::of(&self.ca)
    }
}

/// Loads a location when a server starts; none if it is not in a cluster. The CA holder first renews
/// its own certificate if that is due.
///
/// # Errors
/// See [`LoadError`].
pub fn open(data: &Path, now: u64) -> Result<Option<Location>, LoadError> {
    let directory = ClusterDir::of(data);
    if directory.has(files::CA_KEY)
        && let Some(descriptor) = Descriptor::load(&directory)?
    {
        renew(&directory, &descriptor, now)?;
    }
    load(data, now)
}

/// Loads a location; none if it is not in a cluster. Its certificate may have expired: then other locations reject
/// it, and it serves what it has.
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
    let ca = read_certificate(&directory, files::CA)?;
    let own = read_certificate(&directory, files::CERTIFICATE)?;
    let key = read_key(&directory, files::KEY)?;
    let ca_facts = Facts::read(&ca).map_err(|error| directory.damaged(files::CA, error))?;
    if ca_facts.not_after <= now {
        return Err(LoadError::CaExpired(day(ca_facts.not_after)));
    }
    let facts = check(&directory, &descriptor, (&ca, &own), &key, now)?;
    if directory.has(files::CA_KEY) {
        load_ca(&directory)?;
    }
    let has_ca_key = directory.has(files::CA_KEY);
    let expiry = Expiry { location: facts.not_after, ca: ca_facts.not_after, has_ca_key };
    let warnings = expiry.alarms(now, &Renewal::default());
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let chain = vec![own, ca.clone()];
    Ok(Some(Location { descriptor, ca, chain, key, expiry, warnings }))
}

/// Checks that the certificates, the key and the descriptor belong together and are valid now.
fn check(
    directory: &ClusterDir,
    descriptor: &Descriptor,
    (ca, own): (&CertificateDer<'_>, &CertificateDer<'_>),
    key: &KeyPair,
    now: u64,
) -> Result<Facts, LoadError> {
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
    if facts.not_before > now {
        return Err(LoadError::NotYet(minute(facts.not_before)));
    }
    let valid_at = unix_time(now.min(facts.not_after));
    check_issued(own, ca, valid_at, &ring::default_provider())
        .map_err(|error| wrong(format!("the CA in ca.pem did not issue it: {error}")))?;
    Ok(facts)
}

/// Renews the certificate of the CA holder if that is due. The key stays.
fn renew(directory: &ClusterDir, descriptor: &Descriptor, now: u64) -> Result<(), LoadError> {
    let own = read_certificate(directory, files::CERTIFICATE)?;
    let facts = Facts::read(&own).map_err(|error| directory.damaged(files::CERTIFICATE, error))?;
    if !is_due(&facts, now) {
        return Ok(());
    }
    let (ca, key) = (load_ca(directory)?, read_key(directory, files::KEY)?);
    // Outside of the CA's validity nothing that it issues is valid, or the clock is wrong.
    if !ca.is_valid_at(now) {
        return Ok(());
    }
    if is_limited_by_ca(&facts, ca.not_after(), now) {
        return Ok(());
    }
    let identity = Identity { cluster: descriptor.cluster, member: descriptor.member };
    let renewed = ca.issue(identity, &key, now)?;
    let _lock = directory.lock()?;
    directory.write(files::CERTIFICATE, &certificate::to_pem(&renewed))?;
    Ok(())
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
    let certificate = read_certificate(directory, files::CA)?;
    let key = read_key(directory, files::CA_KEY)?;
    Ca::new(certificate, key).map_err(|error| directory.damaged(files::CA_KEY, error))
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
