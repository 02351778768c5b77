//! `waypost cluster invite`: issues a one-time token for a joining member.
//!
//! The command changes files and does not talk to the server. So it works whether the server runs or
//! not and needs no API, and permission to invite is permission to read the CA's key. The server reads
//! the invitations again for each joining member; both hold the directory's lock while they write.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use kv_core::env::Environment;

use super::state::{
    dates::{ClockError, check_clock},
    descriptor::Descriptor,
    files::{self, ClusterDir, FilesError},
    invitations::{Invitation, Invitations},
    location::load_ca,
    names::{Name, Sha256, TokenId},
    token::{Secret, Token},
};

/// Why no token was issued. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// The directory has no cluster.
    #[error(
        "{} has no cluster: create one with `waypost cluster init --name NAME`, or name its data \
         directory with --data", .0.display()
    )]
    NoCluster(PathBuf),
    /// The clock was never set.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// Another location is the CA holder.
    #[error(
        "the key of the cluster's CA is not at this location ({}): invite at the location that has it (`waypost \
         cluster ca show` prints which)", .0.display()
    )]
    NoKey(PathBuf),
    /// The files can't be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The system gave no randomness.
    #[error("can't generate a token: {0}")]
    Random(kv_core::RandomError),
}

/// Issues a token that one location can use, once, until it expires; only a location of a certain
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
    check_clock(environment.now_ms() / 1000)?;
    let directory = ClusterDir::of(data);
    let descriptor =
        Descriptor::load(&directory)?.ok_or_else(|| InviteError::NoCluster(data.to_owned()))?;
    if !directory.has(files::CA_KEY) {
        return Err(InviteError::NoKey(directory.path(files::CA_KEY)));
    }
    let ca = Sha256::of(load_ca(&directory)?.certificate());
    let random = || environment.random_id().map_err(InviteError::Random);
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
    Ok(Token { ca, id, secret, addresses: descriptor.advertise })
}
