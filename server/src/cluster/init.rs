//! `waypost cluster init`: creates a cluster of one location, the CA holder.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use kv_core::{
    Hlc, MemberId, OpenError, Operation, Store, Ticket, VersionVector, commit::Remote,
    env::Environment,
};

use super::state::{
    authorities::Authorities,
    ca::{self, Ca},
    certificate::{self, Identity},
    dates::{ClockError, check_clock},
    descriptor::{AddressCountError, ClusterRef, Descriptor, check_addresses},
    files::{self, ClusterDir, FilesError},
    invitations::Invitations,
    names::{Address, ClusterId, FamilyError, Name, check_families},
};

/// The parameters of a new cluster.
#[derive(Clone, Debug)]
pub struct NewCluster {
    /// The data directory of its first location.
    pub data: PathBuf,
    /// The name of the cluster.
    pub cluster: Name,
    /// The name of the location.
    pub location: Name,
    /// Addresses at which other locations will reach it, the best first; 1 to 8.
    pub advertise: Vec<Address>,
    /// The UDP address that it listens on.
    pub listen: SocketAddr,
}

/// Why no cluster was created. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The location is in a cluster, or is joining one.
    #[error(
        "{} already has the files of a cluster: nothing was changed; to create another cluster, name \
         an empty directory with --data", .0.display()
    )]
    AlreadyThere(PathBuf),
    /// The clock was never set.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// There are no addresses, or too many.
    #[error("{0}: set --advertise HOST:PORT")]
    Addresses(#[from] AddressCountError),
    /// The location does not listen on the family of an address.
    #[error(transparent)]
    Family(#[from] FamilyError),
    /// The files can't be written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The location's store can't be opened. It has the id that the location gets.
    #[error(
        "can't open the store in {}, whose id becomes that of the location: {source}; if a server runs on it, stop \
         it first", data.display()
    )]
    Store {
        /// The data directory.
        data: PathBuf,
        /// Why not.
        source: Box<OpenError>,
    },
    /// The store can't be written to.
    #[error("can't write to the store: {0}")]
    Write(kv_core::WriteError),
    /// A key or certificate can't be generated.
    #[error("can't issue a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The system gave no randomness.
    #[error("can't generate an id: {0}")]
    Random(kv_core::RandomError),
}

/// Generates the CA of a new cluster and the certificate of its first location, which has the id of its store.
/// Creates the store if it does not exist. All files appear at once, or none does.
///
/// # Errors
/// See [`InitError`].
pub fn init(new: &NewCluster, environment: &dyn Environment) -> Result<Descriptor, InitError> {
    let existing = ClusterDir::of(&new.data).path("");
    if existing.exists() {
        return Err(InitError::AlreadyThere(existing));
    }
    check_clock(environment.now_ms() / 1000)?;
    check_addresses(&new.advertise)?;
    check_families(&new.advertise, new.listen)?;
    let cluster = ClusterId(environment.random_id().map_err(InitError::Random)?);
    let member = store_member(&new.data)?;
    let now = environment.now_ms() / 1000;
    let ca = Ca::generate(cluster, &new.cluster, now)?;
    let key = ca::new_key()?;
    let own = ca.issue(Identity { cluster, member }, &key, now)?;
    let cluster = ClusterRef { id: cluster, name: new.cluster.clone() };
    let (location, advertise) = (new.location.clone(), new.advertise.clone());
    let descriptor = Descriptor::new(cluster, member, location, advertise, new.listen);

    let directory = ClusterDir::unfinished(&new.data)?;
    directory.write(files::CA_KEY, &ca.pem())?;
    Authorities::of(ca.certificate().clone()).save(&directory)?;
    directory.write(files::KEY, &key.serialize_pem())?;
    directory.write(files::CERTIFICATE, &certificate::to_pem(&own))?;
    Invitations::default().save(&directory)?;
    descriptor.save(&directory)?;
    finish(directory, &new.data, existing)?;
    Ok(descriptor)
}

/// Returns the location that the store in a data directory belongs to. What the store holds is what the cluster begins
/// with, also if it was created for a join that was given up.
fn store_member(data: &Path) -> Result<MemberId, InitError> {
    let store = Store::open(data)
        .map_err(|source| InitError::Store { data: data.to_owned(), source: Box::new(source) })?;
    if store.view().is_rebuilding() {
        let (vector, collected) = (VersionVector::default(), VersionVector::default());
        let (floor, damaged) = (Hlc::ZERO, Vec::new());
        let rebuilt = Operation::Remote(Remote::Rebuilt { vector, collected, floor, damaged });
        store.submit(rebuilt).and_then(Ticket::wait).map_err(InitError::Write)?;
    }
    Ok(store.member())
}

/// Moves the finished directory into place, which creates the cluster.
fn finish(directory: ClusterDir, data: &Path, existing: PathBuf) -> Result<(), InitError> {
    match directory.finish(data) {
        Ok(_finished) => Ok(()),
        // Another process was faster.
        Err(_) if existing.exists() => Err(InitError::AlreadyThere(existing)),
        Err(error) => Err(error.into()),
    }
}
