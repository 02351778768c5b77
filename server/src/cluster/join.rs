//! `waypost serve --join TOKEN`: an empty location becomes a member.
//!
//! The id and the key are on the disk before anything is asked, so that whoever is cut asks again as
//! the same. `cluster.toml` comes last: with it, the location is complete.

use std::{net::SocketAddr, path::PathBuf};

use kv_core::{MemberId, OpenError, OriginId, Store, env::Environment};
use rcgen::{CertificateParams, KeyPair};
use rustls::{crypto::ring, pki_types::CertificateDer};
use serde::{Deserialize, Serialize};

use super::{
    about::{About, Which, check_addresses},
    ca,
    certificate::{self, Facts, Identity, check_issued, unix_time},
    enrol::{
        EnrolError, Request, Welcome, enrol,
        message::{Der, Origins},
    },
    files::{self, ClusterDir, FilesError},
    location::{is_due, read_certificate, read_key},
    names::{Address, Name, Sha256, text},
    token::Token,
    when::day,
};

/// What a location wants to become a member with.
#[derive(Clone, Debug)]
pub struct Joining {
    /// What lets it in.
    pub token: Token,
    /// Its data directory.
    pub data: PathBuf,
    /// What people call it; none if the token says it.
    pub location: Option<Name>,
    /// Where others will reach it, the best first; 1 to 8.
    pub advertise: Vec<Address>,
    /// Where it listens, on UDP.
    pub listen: SocketAddr,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It is a member now; its files are there.
    New(About),
    /// It was one, and its certificate was made anew.
    Renewed(About),
    /// It is one of this cluster already; nothing was changed.
    Already(About),
}

impl Joined {
    /// Which location it is now.
    #[must_use]
    pub fn about(&self) -> &About {
        let (Joined::New(about) | Joined::Renewed(about) | Joined::Already(about)) = self;
        about
    }
}

/// Why a location did not become a member.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// It is a member of another cluster.
    #[error(
        "this location is in another cluster, {0}, than the token: start it without --join, or name \
         an empty directory with --data"
    )]
    OtherCluster(Name),
    /// Its store has entries.
    #[error(
        "the store in {0} holds entries, and only an empty one can join a cluster: export them, \
         start with an empty data directory and --join, and import them there"
    )]
    NotEmpty(String),
    /// Its store does not open.
    #[error("can't open the store in {0}: {1}")]
    Store(String, OpenError),
    /// The addresses can't be.
    #[error("{0}: say --advertise HOST:PORT")]
    Addresses(String),
    /// The cluster did not let it in.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The certificate stays as it is: the token was used before, and what it got then is no newer.
    #[error(
        "the token was used already, and the certificate of this location stays, which {} on {}: print a \
         new token with `waypost cluster invite`", if *is_over { "expired" } else { "expires" }, day(*end)
    )]
    NotRenewed {
        /// Until when the certificate that it has holds, in Unix seconds.
        end: u64,
        /// Whether that is over.
        is_over: bool,
    },
    /// The answer is not what it must be. Nothing was kept of it.
    #[error("the cluster's answer can't be right: {0}; nothing was kept of it")]
    Wrong(String),
    /// The files can't be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A key or signing request can't be made.
    #[error("can't make a key: {0}")]
    Key(#[from] rcgen::Error),
    /// The system gave no randomness.
    #[error("no randomness for the location's id: {0}")]
    Random(String),
    /// The work was cut.
    #[error("{0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Who asks: on the disk before it does.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Applicant {
    #[serde(with = "text")]
    member: MemberId,
}

/// Makes a location a member of its token's cluster, before its server starts. If it is one, it stays
/// as it is, but for a certificate that is in the last two thirds of its life: then the token, if it
/// was not used, gets it a new one.
///
/// Dropped or cut at any time, the same call again goes on from there.
///
/// # Errors
/// See [`JoinError`].
pub async fn join(joining: &Joining, environment: &dyn Environment) -> Result<Joined, JoinError> {
    let directory = ClusterDir::of(&joining.data);
    let now = environment.now_ms() / 1000;
    match About::load(&directory)? {
        Some(about) => again(joining, about, &directory, now).await,
        None => first(joining, &directory, environment, now).await,
    }
}

async fn first(
    joining: &Joining,
    directory: &ClusterDir,
    environment: &dyn Environment,
    now: u64,
) -> Result<Joined, JoinError> {
    check_addresses(&joining.advertise).map_err(JoinError::Addresses)?;
    let origins = origins(joining, Needs::Empty).await?;
    let (applicant, key) = apply(directory, environment)?;
    let identity = |cluster| Identity { cluster, member: applicant.member };
    let location = joining.location.clone();
    let request = request(joining, applicant.member, location, &joining.advertise, origins, &key)?;
    let welcome = enrol(&joining.token, &request).await?;
    check(&welcome, &joining.token, identity(welcome.cluster), &key, now)?;

    let Welcome { cluster: id, cluster_name: name, location, ca, certificate, members } = welcome;
    directory.write(files::CA, &certificate::to_pem(&ca.certificate()))?;
    directory.write(files::CERTIFICATE, &certificate::to_pem(&certificate.certificate()))?;
    let (advertise, which) = (joining.advertise.clone(), Which { id, name });
    let mut about = About::new(which, applicant.member, location, advertise, joining.listen);
    about.dial = members;
    about.save(directory)?;
    directory.remove(files::JOINING)?;
    Ok(Joined::New(about))
}

/// A location that is a member already.
async fn again(
    joining: &Joining,
    about: About,
    directory: &ClusterDir,
    now: u64,
) -> Result<Joined, JoinError> {
    let ca = read_certificate(directory, files::CA)?;
    if Sha256::of(&ca) != joining.token.ca {
        return Err(JoinError::OtherCluster(about.cluster_name));
    }
    let ca = Facts::read(&ca).map_err(|error| directory.wrong(files::CA, error))?;
    directory.remove(files::JOINING)?;
    let own = read_certificate(directory, files::CERTIFICATE)?;
    let facts = Facts::read(&own).map_err(|error| directory.wrong(files::CERTIFICATE, error))?;
    if !is_due(&facts, now) || directory.has(files::CA_KEY) {
        return Ok(Joined::Already(about));
    }
    // The start says what is to be done after the CA's end.
    if ca.not_after <= now {
        return Ok(Joined::Already(about));
    }
    if facts.not_after >= ca.not_after && facts.not_before <= now {
        let end = day(ca.not_after);
        tracing::info!(
            "the certificate holds until the end of the CA's, {end}, and can't hold longer"
        );
        return Ok(Joined::Already(about));
    }
    match renew(joining, &about, directory, (&own, &facts), now).await {
        Ok(()) => Ok(Joined::Renewed(about)),
        // A unit file says --join at each start, and its token was used long ago.
        Err(error @ (JoinError::Enrol(_) | JoinError::NotRenewed { .. }))
            if facts.not_after > now =>
        {
            tracing::info!("the certificate was not made anew with this token: {error}");
            Ok(Joined::Already(about))
        }
        Err(error) => Err(error),
    }
}

async fn renew(
    joining: &Joining,
    about: &About,
    directory: &ClusterDir,
    (own, facts): (&CertificateDer<'_>, &Facts),
    now: u64,
) -> Result<(), JoinError> {
    let key = read_key(directory, files::KEY)?;
    let origins = origins(joining, Needs::Any).await?;
    let location = Some(about.location.clone());
    let mut request = request(joining, about.member, location, &about.advertise, origins, &key)?;
    request.renews = Some(Der::from(own));
    let welcome = enrol(&joining.token, &request).await?;
    let got = Facts::read(&welcome.certificate.certificate())
        .map_err(|error| JoinError::Wrong(error.to_string()))?;
    // One that was made by a clock that was ahead ends later, and does not hold yet.
    if got.not_after <= facts.not_after && facts.not_before <= now {
        let end = facts.not_after;
        return Err(JoinError::NotRenewed { end, is_over: end <= now });
    }
    let identity = Identity { cluster: about.cluster, member: about.member };
    check(&welcome, &joining.token, identity, &key, now)?;
    let _lock = directory.lock()?;
    let renewed = certificate::to_pem(&welcome.certificate.certificate());
    Ok(directory.write(files::CERTIFICATE, &renewed)?)
}

/// The id and key of who asks: those of an attempt that was cut, or new ones.
fn apply(
    directory: &ClusterDir,
    environment: &dyn Environment,
) -> Result<(Applicant, KeyPair), JoinError> {
    directory.make()?;
    let _lock = directory.lock()?;
    if directory.has(files::JOINING) {
        let said = directory.read(files::JOINING)?;
        let applicant =
            toml::from_str(&said).map_err(|error| directory.wrong(files::JOINING, error))?;
        return Ok((applicant, read_key(directory, files::KEY)?));
    }
    // What a member had is not written over.
    if directory.has(files::CERTIFICATE) || directory.has(files::CA_KEY) {
        return Err(FilesError::Missing(directory.path(files::ABOUT)).into());
    }
    let key = ca::new_key()?;
    let member =
        MemberId(environment.random_id().map_err(|error| JoinError::Random(error.to_string()))?);
    let applicant = Applicant { member };
    directory.write(files::KEY, &key.serialize_pem())?;
    let said =
        toml::to_string(&applicant).map_err(|error| directory.wrong(files::JOINING, error))?;
    directory.write(files::JOINING, &said)?;
    Ok((applicant, key))
}

fn request(
    joining: &Joining,
    member: MemberId,
    location: Option<Name>,
    addresses: &[Address],
    origins: [OriginId; 2],
    key: &KeyPair,
) -> Result<Request, JoinError> {
    let csr = CertificateParams::new(Vec::new())?.serialize_request(key)?;
    Ok(Request {
        token: joining.token.id,
        secret: joining.token.secret.clone(),
        member,
        location,
        addresses: addresses.to_vec(),
        origins: Origins(origins),
        csr: Der(csr.der().to_vec()),
        renews: None,
    })
}

/// What the store of a location must be like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Nothing was ever written to it: also what was deleted would go to the others.
    Empty,
    Any,
}

/// The origins that the store writes under; makes it if it is not there.
async fn origins(joining: &Joining, needs: Needs) -> Result<[OriginId; 2], JoinError> {
    let data = joining.data.clone();
    let look = move || {
        let shown = data.display().to_string();
        let store = Store::open(&data).map_err(|error| JoinError::Store(shown.clone(), error))?;
        if needs == Needs::Empty && store.view().vector().iter().next().is_some() {
            return Err(JoinError::NotEmpty(shown));
        }
        Ok(store.origins())
    };
    tokio::task::spawn_blocking(look).await?
}

/// Whether the answer makes this location a member of the token's cluster.
fn check(
    welcome: &Welcome,
    token: &Token,
    identity: Identity,
    key: &KeyPair,
    now: u64,
) -> Result<(), JoinError> {
    let wrong = |why: &str| Err(JoinError::Wrong(why.into()));
    let (ca, own) = (welcome.ca.certificate(), welcome.certificate.certificate());
    if Sha256::of(&ca) != token.ca {
        return wrong("its CA is not the token's");
    }
    check_issued(&own, &ca, unix_time(now), &ring::default_provider()).map_err(|error| {
        JoinError::Wrong(format!(
            "the certificate that it made does not hold at this machine's time ({error}): set the clocks of \
             both machines, and join with a new token"
        ))
    })?;
    let facts = Facts::read(&own).map_err(|error| JoinError::Wrong(error.to_string()))?;
    if facts.identity != Some(identity) || welcome.cluster != identity.cluster {
        return wrong("the certificate is another location's");
    }
    if !facts.is_of(key) {
        return wrong("the certificate is of another key");
    }
    Ok(())
}
