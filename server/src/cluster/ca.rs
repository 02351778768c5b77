//! `waypost cluster ca`: shows, rotates and moves the cluster's CA.
//!
//! These commands change the location's files and do not talk to the server, which reads the files again every ten
//! seconds. So they work whether the server runs or not, and permission to use them is permission to read the CA's key.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;

use super::state::{
    authorities::{Authorities, MAX_AUTHORITIES},
    ca::Ca,
    certificate::{CertificateError, Facts},
    descriptor::Descriptor,
    files::{self, ClusterDir, FilesError},
    holder::CaHolder,
    invitations::Invitations,
    location::{self, LoadError, load_ca},
    names::Sha256,
};
use crate::private_files::{self, PrivateFileError};

/// Why a command failed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    /// The directory has no cluster.
    #[error(
        "{} has no cluster: name the data directory of a location that is in one with --data", .0.display()
    )]
    NoCluster(PathBuf),
    /// Another location is the CA holder.
    #[error(
        "the key of the cluster's CA is not at this location ({}): run this at the location that has it (`waypost \
         cluster ca show` prints which)", .0.display()
    )]
    NoKey(PathBuf),
    /// This location is the CA holder already.
    #[error("this location already has the key of the cluster's CA: there is nothing to import")]
    HasKey,
    /// The file to write exists.
    #[error("{} exists, and it is not overwritten: name another file", .0.display())]
    Exists(PathBuf),
    /// The file to read does not hold the CA's key.
    #[error(
        "{} is not the key of a CA: {reason}; use the file that `waypost cluster ca move` wrote, or a copy of \
         cluster/ca.key", path.display()
    )]
    NotACa {
        /// The file.
        path: PathBuf,
        /// The mistake in it.
        reason: CertificateError,
    },
    /// The CA in the file was replaced by a rotation.
    #[error(
        "{} has the key of a former CA, which was replaced by a rotation: use the newest copy of cluster/ca.key",
        .0.display()
    )]
    Former(PathBuf),
    /// The CA in the file is not known here.
    #[error(
        "this location does not know the CA in {}: if it is of this cluster, a rotation has made it, and this location \
         learns of it within an hour after it reaches the location with the key; else it is another cluster's",
        .0.display()
    )]
    Unknown(PathBuf),
    /// There are no former CAs.
    #[error("this location trusts one CA only: there is nothing to retire")]
    NoFormer,
    /// A former CA issued the location's own certificate.
    #[error(
        "a former CA issued the certificate of this location, which others will reject: let the location reach the \
         location with the CA's key first, and wait for `waypost cluster ca show` to print the newest CA as its issuer"
    )]
    NotRenewed,
    /// There are too many CAs.
    #[error(
        "this cluster has had {MAX_AUTHORITIES} CAs, as many as locations keep: run `waypost cluster ca retire` at each \
         location once it has a certificate of the newest one"
    )]
    TooMany,
    /// The location's files can't be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A file of the cluster can't be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The named file can't be read or written.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// A certificate can't be issued.
    #[error("can't issue a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// The location with the CA's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This location has it.
    Here,
    /// Another location had it when this one last reached it.
    At(CaHolder),
    /// This location has not reached it since it joined.
    Unknown,
}

/// A CA that a location knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownCa {
    /// The SHA-256 of its certificate, which tokens name.
    pub fingerprint: Sha256,
    /// When its certificate expires, in Unix seconds.
    pub not_after: u64,
    /// When links stop trusting it, in Unix seconds; none for the newest CA.
    pub trusted_until: Option<u64>,
}

/// The CAs that a location knows, and its own certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The cluster and the location.
    pub descriptor: Descriptor,
    /// The location with the CA's key.
    pub holder: Holder,
    /// The CAs, the newest first.
    pub cas: Vec<KnownCa>,
    /// The SHA-256 of the certificate of the CA that issued the location's own one.
    pub issuer: Sha256,
    /// When the location's own certificate expires, in Unix seconds.
    pub not_after: u64,
}

/// Returns the CAs that a location knows at a time, in Unix seconds.
///
/// # Errors
/// See [`CaError`].
pub fn show(data: &Path, now: u64) -> Result<Shown, CaError> {
    let location = location::load(data, now)?;
    let location = location.ok_or_else(|| CaError::NoCluster(data.to_owned()))?;
    let directory = ClusterDir::of(data);
    let damaged = |error| directory.damaged(files::CA, error);
    let until = location.authorities.trusts_former_until().map_err(damaged)?;
    let known = |(index, ca): (usize, &CertificateDer<'static>)| {
        let not_after = Facts::read(ca).map_err(damaged)?.not_after;
        let trusted_until = (index > 0).then_some(until);
        Ok(KnownCa { fingerprint: Sha256::of(ca), not_after, trusted_until })
    };
    let cas: Result<Vec<_>, FilesError> =
        location.authorities.iter().enumerate().map(known).collect();
    let holder = match location.ca_holder {
        _ if location.expiry.has_ca_key => Holder::Here,
        Some(holder) => Holder::At(holder),
        None => Holder::Unknown,
    };
    Ok(Shown {
        descriptor: location.descriptor,
        holder,
        cas: cas?,
        issuer: Sha256::of(location.chain.last().unwrap_or(&location.chain[0])),
        not_after: location.expiry.location,
    })
}

/// Generates the successor of the cluster's CA, and issues the CA holder's certificate with it. The former CA vouches for
/// it, and locations trust both until no certificate of the former one is valid. Returns the new CA's fingerprint.
///
/// # Errors
/// See [`CaError`].
pub fn rotate(data: &Path, now: u64) -> Result<Sha256, CaError> {
    let (directory, descriptor) = holder(data)?;
    let next = {
        let _lock = directory.lock()?;
        let ca = load_ca(&directory)?;
        let authorities = Authorities::load(&directory)?.with_newest(ca.certificate().clone());
        if authorities.iter().count() >= MAX_AUTHORITIES {
            return Err(CaError::TooMany);
        }
        let next = ca.succeed(descriptor.cluster, &descriptor.cluster_name, now)?;
        // With this, the rotation has happened: the next start, or the next check of the server, ends it.
        directory.write(files::CA_KEY, &next.pem())?;
        next
    };
    location::open(data, now)?;
    Ok(Sha256::of(next.certificate()))
}

/// Stops trusting all CAs but the newest at this location, at once. Returns how many that were.
///
/// # Errors
/// See [`CaError`].
pub fn retire(data: &Path, now: u64) -> Result<usize, CaError> {
    let location = location::load(data, now)?;
    let location = location.ok_or_else(|| CaError::NoCluster(data.to_owned()))?;
    if location.authorities.former().is_empty() {
        return Err(CaError::NoFormer);
    }
    if !location.has_newest_ca() {
        return Err(CaError::NotRenewed);
    }
    let directory = ClusterDir::of(data);
    let _lock = directory.lock()?;
    let authorities = Authorities::load(&directory)?;
    authorities.without_former().save(&directory)?;
    Ok(authorities.former().len())
}

/// Moves the CA's key from this location to a file, from which another location imports it.
///
/// # Errors
/// See [`CaError`].
pub fn move_to(data: &Path, file: &Path) -> Result<(), CaError> {
    let (directory, _) = holder(data)?;
    let _lock = directory.lock()?;
    let ca = load_ca(&directory)?;
    if file.exists() {
        return Err(CaError::Exists(file.to_owned()));
    }
    private_files::write(file, &ca.pem())?;
    directory.remove(files::CA_KEY)?;
    // The other location does not know the tokens that were issued here.
    Ok(directory.remove(files::INVITATIONS)?)
}

/// Copies the CA's key from this location to a file, which is as one of [`move_to`]. This location keeps the key.
///
/// # Errors
/// See [`CaError`].
pub fn copy_to(data: &Path, file: &Path) -> Result<(), CaError> {
    let (directory, _) = holder(data)?;
    let _lock = directory.lock()?;
    let ca = load_ca(&directory)?;
    if file.exists() {
        return Err(CaError::Exists(file.to_owned()));
    }
    Ok(private_files::write(file, &ca.pem())?)
}

/// Makes this location the CA holder, with a file that [`move_to`] wrote or a copy of `ca.key`.
///
/// # Errors
/// See [`CaError`].
pub fn import(data: &Path, file: &Path) -> Result<(), CaError> {
    let directory = ClusterDir::of(data);
    if Descriptor::load(&directory)?.is_none() {
        return Err(CaError::NoCluster(data.to_owned()));
    }
    let _lock = directory.lock()?;
    if directory.has(files::CA_KEY) {
        return Err(CaError::HasKey);
    }
    let path = file.to_owned();
    let ca = Ca::from_pem(&private_files::read_secret(file)?);
    let ca = ca.map_err(|reason| CaError::NotACa { path: path.clone(), reason })?;
    let authorities = Authorities::load(&directory)?;
    if authorities.newest() != ca.certificate() {
        let is_former = authorities.has(Sha256::of(ca.certificate()));
        return Err(if is_former { CaError::Former(path) } else { CaError::Unknown(path) });
    }
    if !directory.has(files::INVITATIONS) {
        Invitations::default().save(&directory)?;
    }
    directory.write(files::CA_KEY, &ca.pem())?;
    Ok(directory.remove(files::CA_HOLDER)?)
}

/// The files of the CA holder.
fn holder(data: &Path) -> Result<(ClusterDir, Descriptor), CaError> {
    let directory = ClusterDir::of(data);
    let descriptor = Descriptor::load(&directory)?;
    let descriptor = descriptor.ok_or_else(|| CaError::NoCluster(data.to_owned()))?;
    if !directory.has(files::CA_KEY) {
        return Err(CaError::NoKey(directory.path(files::CA_KEY)));
    }
    Ok((directory, descriptor))
}
