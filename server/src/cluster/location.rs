//! All of a location's files, checked against each other.

use std::path::Path;

use rcgen::KeyPair;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

use super::{
    about::About,
    ca::{Ca, LIFE},
    certificate::{self, Facts, Identity, check_issued, unix_time},
    ends::{Ends, RENEWAL},
    files::{self, ClusterDir, FilesError},
    names::Sha256,
    when::{day, minute},
};

/// Where the key of the CA is, the location's certificate is made anew when less than this is left.
const RENEWED: u64 = LIFE * 2 / 3;

/// A member of a cluster, ready to serve its peers and to dial them.
#[derive(Debug)]
pub struct Location {
    /// Which cluster, which location, where.
    pub about: About,
    /// The certificate of the cluster's CA.
    pub ca: CertificateDer<'static>,
    /// This location's certificate, and that of the CA behind it.
    pub chain: Vec<CertificateDer<'static>>,
    /// This location's private key.
    pub key: PrivateKeyDer<'static>,
    /// Until when its certificates hold.
    pub ends: Ends,
    /// What somebody should look at, one sentence each.
    pub warnings: Vec<String>,
}

/// Why a location can't be a member as it is. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file is missing, damaged or does not fit the others.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The joining never came to its end.
    #[error(
        "joining the cluster was not finished: start with `waypost serve --join TOKEN` again, with \
         the same token or a new one, or remove the directory `cluster` from the data directory to \
         be in no cluster"
    )]
    Unfinished,
    /// The certificate holds no longer.
    #[error("the certificate of this location expired on {0}: {RENEWAL}")]
    Expired(String),
    /// The certificate does not hold yet.
    #[error(
        "the certificate of this location holds only from {0} on, by this machine's clock: set the clock; or, if \
         it is right and the one where the certificate was made was wrong then: {RENEWAL}"
    )]
    NotYet(String),
    /// The CA's certificate holds no longer, and no other of the cluster does.
    #[error(
        "the certificate of the cluster's CA expired on {0}: make a new cluster (`waypost cluster init` \
         with an empty data directory), and move the data to it; without the directory `cluster`, this \
         location serves its data alone"
    )]
    CaExpired(String),
    /// A certificate can't be made.
    #[error("can't make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

impl Location {
    /// Whose its certificate is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { cluster: self.about.cluster, member: self.about.member }
    }

    /// What a token of this cluster has of its CA.
    #[must_use]
    pub fn ca_hash(&self) -> Sha256 {
        Sha256::of(&self.ca)
    }
}

/// Loads a location as a server starts: none if it is in no cluster. Where the key of the CA is, the
/// location's certificate is made anew in time.
///
/// # Errors
/// See [`LoadError`].
pub fn open(data: &Path, now: u64) -> Result<Option<Location>, LoadError> {
    let directory = ClusterDir::of(data);
    if directory.has(files::CA_KEY)
        && let Some(about) = About::load(&directory)?
    {
        renew(&directory, &about, now)?;
    }
    load(data, now)
}

/// Loads a location; none if it is in no cluster.
///
/// # Errors
/// See [`LoadError`].
pub fn load(data: &Path, now: u64) -> Result<Option<Location>, LoadError> {
    let directory = ClusterDir::of(data);
    let Some(about) = About::load(&directory)? else {
        if directory.has(files::JOINING) {
            return Err(LoadError::Unfinished);
        }
        if directory.has(files::CERTIFICATE) || directory.has(files::CA_KEY) {
            return Err(FilesError::Missing(directory.path(files::ABOUT)).into());
        }
        return Ok(None);
    };
    let ca = read_certificate(&directory, files::CA)?;
    let own = read_certificate(&directory, files::CERTIFICATE)?;
    let key = read_key(&directory, files::KEY)?;
    let ca_facts = Facts::read(&ca).map_err(|error| directory.wrong(files::CA, error))?;
    if ca_facts.not_after <= now {
        return Err(LoadError::CaExpired(day(ca_facts.not_after)));
    }
    let facts = check(&directory, &about, (&ca, &own), &key, now)?;
    if directory.has(files::CA_KEY) {
        load_ca(&directory)?;
    }
    let has_ca_key = directory.has(files::CA_KEY);
    let ends = Ends { location: facts.not_after, ca: ca_facts.not_after, has_ca_key };
    let warnings = warnings(&directory, ends, now);
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let chain = vec![own, ca.clone()];
    Ok(Some(Location { about, ca, chain, key, ends, warnings }))
}

fn check(
    directory: &ClusterDir,
    about: &About,
    (ca, own): (&CertificateDer<'_>, &CertificateDer<'_>),
    key: &KeyPair,
    now: u64,
) -> Result<Facts, LoadError> {
    let wrong = |reason: String| directory.wrong(files::CERTIFICATE, reason);
    let facts = Facts::read(own).map_err(|error| wrong(error.to_string()))?;
    let identity = Identity { cluster: about.cluster, member: about.member };
    if facts.identity != Some(identity) {
        return Err(wrong("it is not of the location in cluster.toml".into()).into());
    }
    if !facts.is_of(key) {
        let reason = "it is not the key of the certificate in location.pem";
        return Err(directory.wrong(files::KEY, reason).into());
    }
    if facts.not_after <= now {
        return Err(LoadError::Expired(day(facts.not_after)));
    }
    if facts.not_before > now {
        return Err(LoadError::NotYet(minute(facts.not_before)));
    }
    check_issued(own, ca, unix_time(now), &ring::default_provider())
        .map_err(|error| wrong(format!("the CA in ca.pem did not make it: {error}")))?;
    Ok(facts)
}

fn warnings(directory: &ClusterDir, ends: Ends, now: u64) -> Vec<String> {
    let mut warnings = ends.alarms(now);
    for name in [files::KEY, files::CA_KEY] {
        if directory.is_exposed(name) {
            let path = directory.path(name);
            let path = path.display();
            warnings.push(format!("other users can read the private key {path}: chmod 600 {path}"));
        }
    }
    warnings
}

/// Makes the location's certificate anew if it ends before long. The key stays.
fn renew(directory: &ClusterDir, about: &About, now: u64) -> Result<(), LoadError> {
    let own = read_certificate(directory, files::CERTIFICATE)?;
    let wrong = |error: super::names::WrongText| directory.wrong(files::CERTIFICATE, error);
    if !is_due(&Facts::read(&own).map_err(wrong)?, now) {
        return Ok(());
    }
    let (ca, key) = (load_ca(directory)?, read_key(directory, files::KEY)?);
    // Outside of the CA's time nothing that it makes holds, or the clock is wrong.
    if !ca.holds_at(now) {
        return Ok(());
    }
    let identity = Identity { cluster: about.cluster, member: about.member };
    let renewed = ca.issue(identity, &key, now)?;
    let _lock = directory.lock()?;
    directory.write(files::CERTIFICATE, &certificate::to_pem(&renewed))?;
    Ok(())
}

/// Whether a certificate should be made anew: it ends before long, or was made by a clock that was ahead.
pub(crate) fn is_due(facts: &Facts, now: u64) -> bool {
    facts.not_after.saturating_sub(now) < RENEWED || facts.not_before > now
}

/// The CA, where its key is.
pub(crate) fn load_ca(directory: &ClusterDir) -> Result<Ca, FilesError> {
    let certificate = read_certificate(directory, files::CA)?;
    let key = read_key(directory, files::CA_KEY)?;
    Ca::new(certificate, key).map_err(|error| directory.wrong(files::CA_KEY, error))
}

pub(crate) fn read_certificate(
    directory: &ClusterDir,
    name: &str,
) -> Result<CertificateDer<'static>, FilesError> {
    let text = directory.read(name)?;
    certificate::from_pem(&text).map_err(|error| directory.wrong(name, error))
}

pub(crate) fn read_key(directory: &ClusterDir, name: &str) -> Result<KeyPair, FilesError> {
    let text = directory.read(name)?;
    // The library's own words might repeat what is in the file.
    KeyPair::from_pem(&text)
        .map_err(|_no_key| directory.wrong(name, "it has no private key in PEM"))
}
