//! `waypost cluster init`: a new cluster of one location.

use std::{net::SocketAddr, path::PathBuf};

use kv_core::{MemberId, env::Environment};

use super::{
    about::{About, Which, check_addresses},
    ca::{self, Ca},
    certificate::{self, Identity},
    files::{self, ClusterDir, FilesError},
    invitations::Invitations,
    names::{Address, ClusterId, Name},
};

/// What a new cluster is made of.
#[derive(Clone, Debug)]
pub struct Founding {
    /// The data directory of its first location.
    pub data: PathBuf,
    /// What people call the cluster.
    pub cluster: Name,
    /// What people call the location.
    pub location: Name,
    /// Where others will reach it, the best first; 1 to 8.
    pub advertise: Vec<Address>,
    /// Where it listens, on UDP.
    pub listen: SocketAddr,
}

/// Why no cluster was made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The location is in a cluster, or was about to join one.
    #[error(
        "{0} has the files of a cluster already: nothing was changed. To make another cluster, name \
         an empty directory with --data"
    )]
    AlreadyThere(String),
    /// The addresses can't be.
    #[error("{0}: say --advertise HOST:PORT")]
    Addresses(String),
    /// The files can't be written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A key or certificate can't be made.
    #[error("can't make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The system gave no randomness.
    #[error("no randomness for the cluster's id: {0}")]
    Random(String),
}

/// Makes the CA of a new cluster and its first location's certificate. All files appear at once, or
/// none does.
///
/// # Errors
/// See [`InitError`].
pub fn init(founding: &Founding, environment: &dyn Environment) -> Result<About, InitError> {
    let data = &founding.data;
    let there = ClusterDir::of(data).path("");
    let taken = || InitError::AlreadyThere(there.display().to_string());
    if there.exists() {
        return Err(taken());
    }
    check_addresses(&founding.advertise).map_err(InitError::Addresses)?;
    let random = || environment.random_id().map_err(|error| InitError::Random(error.to_string()));
    let (cluster, member) = (ClusterId(random()?), MemberId(random()?));
    let now = environment.now_ms() / 1000;
    let ca = Ca::generate(cluster, &founding.cluster, now)?;
    let key = ca::new_key()?;
    let own = ca.issue(Identity { cluster, member }, &key, now)?;
    let which = Which { id: cluster, name: founding.cluster.clone() };
    let (location, advertise) = (founding.location.clone(), founding.advertise.clone());
    let about = About::new(which, member, location, advertise, founding.listen);

    let directory = ClusterDir::unfinished(data)?;
    directory.write(files::CA_KEY, &ca.key_pem())?;
    directory.write(files::CA, &certificate::to_pem(ca.certificate()))?;
    directory.write(files::KEY, &key.serialize_pem())?;
    directory.write(files::CERTIFICATE, &certificate::to_pem(&own))?;
    Invitations::default().save(&directory)?;
    about.save(&directory)?;
    match directory.finish(data) {
        Ok(_finished) => Ok(about),
        // Someone else was faster.
        Err(_) if there.exists() => Err(taken()),
        Err(error) => Err(error.into()),
    }
}
