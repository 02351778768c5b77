//! `waypost cluster invite`: a one-time token for a newcomer.
//!
//! It talks to the files and not to the server: so it works whether the server runs or not, needs no
//! door that others could knock at, and who may invite is who may read the key of the CA. The server
//! reads the invitations anew for each newcomer; both hold the directory's lock while they write.

use std::{path::Path, time::Duration};

use kv_core::env::Environment;

use super::{
    about::About,
    files::{self, ClusterDir, FilesError},
    invitations::{Invitation, Invitations},
    location::{load_ca, read_certificate},
    names::{Name, Sha256, TokenId},
    token::{Secret, Token},
};

/// Why there is no token. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// The directory has no cluster.
    #[error(
        "{0} has no cluster: make one with `waypost cluster init --name NAME`, or name its data \
         directory with --data"
    )]
    NoCluster(String),
    /// The key of the CA is elsewhere.
    #[error(
        "the key of the cluster's CA is not here ({0}): invite where `waypost cluster init` ran"
    )]
    NoKey(String),
    /// The files can't be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The system gave no randomness.
    #[error("no randomness for a token: {0}")]
    Random(String),
}

/// Makes a token that one newcomer can use, once, until it expires; for a location of a certain
/// name, if one is given. Durable when this returns.
///
/// # Errors
/// See [`InviteError`].
pub fn invite(
    data: &Path,
    location: Option<Name>,
    expires_in: Duration,
    environment: &dyn Environment,
) -> Result<Token, InviteError> {
    let directory = ClusterDir::of(data);
    let about = About::load(&directory)?
        .ok_or_else(|| InviteError::NoCluster(data.display().to_string()))?;
    if !directory.has(files::CA_KEY) {
        return Err(InviteError::NoKey(directory.path(files::CA_KEY).display().to_string()));
    }
    load_ca(&directory)?;
    let ca = Sha256::of(&read_certificate(&directory, files::CA)?);
    let random = || environment.random_id().map_err(|error| InviteError::Random(error.to_string()));
    let [id @ .., _, _, _, _, _, _, _, _] = random()?;
    let (id, secret) = (TokenId(id), Secret(random()?));
    let now = environment.now_ms() / 1000;
    let expires = now.saturating_add(expires_in.as_secs());
    let secret_hash = secret.hash();
    let invitation = Invitation { id, secret_hash, expires, location, used: None };
    Invitations::change(&directory, now, |invitations| {
        invitations.add(invitation);
        Ok::<(), FilesError>(())
    })?;
    Ok(Token { ca, id, secret, addresses: about.advertise })
}
