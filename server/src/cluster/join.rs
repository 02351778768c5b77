//! `waypost serve --join TOKEN`: an empty location becomes a member.
//!
//! The id and the key are on the disk before the request is sent, so that an interrupted location
//! retries as the same one. `cluster.toml` is written last: with it, the location is complete.

use std::{io, net::SocketAddr, path::PathBuf};

use kv_core::{MemberId, OpenError, Options, WriteError, env::Environment};
use kv_replicate::quic::check_listen;
use rcgen::{CertificateParams, KeyPair};
use rustls::{crypto::ring, pki_types::CertificateDer};
use serde::{Deserialize, Serialize};

use super::{
    enrol::{
        client::{EnrolError, enrol},
        message::{Der, Request, Welcome},
        program::Program,
    },
    state::{
        authorities::Authorities,
        ca::{self, MAX_VOUCHERS},
        certificate::{CertificateError, Facts, Identity, check_issued, unix_time},
        dates::day,
        descriptor::{AddressCountError, ClusterRef, Descriptor, check_addresses},
        files::{self, ClusterDir, FilesError},
        location::{is_due, read_certificate, read_key, write_chain},
        names::{Address, FamilyError, Name, Sha256, check_families, text},
        token::Token,
    },
};

mod again;

/// The parameters of a join.
#[derive(Clone, Debug)]
pub struct JoinOptions {
    /// The token that admits it.
    pub token: Token,
    /// The location's data directory.
    pub data: PathBuf,
    /// Its name; none if the token has it.
    pub location: Option<Name>,
    /// Addresses at which other locations will reach it, the best first; 1 to 8.
    pub advertise: Vec<Address>,
    /// The UDP address that it listens on.
    pub listen: SocketAddr,
}

/// The outcome of a join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinOutcome {
    /// The location has become a member; its files are complete.
    New(Descriptor),
    /// The location was a member, and has renewed its certificate.
    Renewed(Descriptor),
    /// The location is already a member of this cluster, and keeps its certificate.
    Already(Descriptor),
}

impl JoinOutcome {
    /// Returns the location's descriptor.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        let (JoinOutcome::New(descriptor)
        | JoinOutcome::Renewed(descriptor)
        | JoinOutcome::Already(descriptor)) = self;
        descriptor
    }
}

/// Why a location did not become a member.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// It is a member of another cluster.
    #[error(
        "this location is in the cluster {0}, and the token is for another one: start without --join, or \
         name an empty directory with --data"
    )]
    OtherCluster(Name),
    /// Its store is not empty.
    #[error(
        "the store in {} holds entries, and only an empty one can join a cluster: export them, \
         start with an empty data directory and --join, and import them there", .0.display()
    )]
    NotEmpty(PathBuf),
    /// Its store can't be opened.
    #[error("can't open the store in {}: {source}", data.display())]
    Store {
        /// The data directory.
        data: PathBuf,
        /// Why not.
        source: OpenError,
    },
    /// The store knows none of the current members, and can't be marked to be completed by them.
    #[error(
        "the other locations can't complete the store: {0}. Nothing was changed: start again with the same --join"
    )]
    Rebuild(#[from] WriteError),
    /// There are no addresses, or too many.
    #[error("{0}: set --advertise HOST:PORT")]
    Addresses(#[from] AddressCountError),
    /// It does not listen on the family of an address.
    #[error("{0}. The token was not used")]
    Family(#[from] FamilyError),
    /// It can't listen for other locations.
    #[error(
        "can't listen for other locations at {listen} (UDP): {source}. The token was not used: free that port, or set \
         another address with --cluster-listen"
    )]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The cluster did not admit it.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The certificate was not renewed: the token had been used, and the certificate kept for it is not
    /// newer.
    #[error(
        "the certificate of this location, which {} on {}, was not renewed, because the token has already been \
         used: print a new token with `waypost cluster invite`",
        if *has_expired { "expired" } else { "expires" }, day(*end)
    )]
    NotRenewed {
        /// When the current certificate expires, in Unix seconds.
        end: u64,
        /// Whether it has.
        has_expired: bool,
    },
    /// The response is wrong. Nothing of it was kept.
    #[error("the response of the cluster is wrong, and nothing of it was kept: {0}")]
    Wrong(#[from] WelcomeError),
    /// The files can't be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A key or signing request can't be generated.
    #[error("can't generate a key: {0}")]
    Key(#[from] rcgen::Error),
    /// The system gave no randomness.
    #[error("can't generate an id: {0}")]
    Random(kv_core::RandomError),
    /// A task panicked.
    #[error("{0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Why a response is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WelcomeError {
    /// The CA is not the one of the token.
    #[error("its CA is not the token's")]
    OtherCa,
    /// The certificate is not valid now, or the CA did not issue it.
    #[error(
        "the certificate is not valid at this machine's time ({0}): set the clocks of both machines, and join with a \
         new token"
    )]
    NotValid(rustls::Error),
    /// The certificate is malformed.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The certificate names another location.
    #[error("the certificate names another location")]
    OtherIdentity,
    /// The certificate has another key.
    #[error("the certificate is for another key")]
    OtherKey,
}

/// The state that a joining member keeps from before its first request.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PendingJoin {
    /// The id that the location requests membership under, the same in each attempt.
    #[serde(with = "text")]
    member: MemberId,
}

/// Makes a location a member of its token's cluster, before its server starts. A location that is
/// already a member stays unchanged, unless less than a third of its certificate's life is left, or the token
/// is another one than the last: then it renews the certificate, if the token has not been used, and learns
/// of the present members.
///
/// Dropped or interrupted at any time, the same call continues from there.
///
/// # Errors
/// See [`JoinError`].
pub async fn join(
    joining: &JoinOptions,
    environment: &dyn Environment,
) -> Result<JoinOutcome, JoinError> {
    let directory = ClusterDir::of(&joining.data);
    let now = environment.now_ms() / 1000;
    match Descriptor::load(&directory)? {
        Some(descriptor) => again::rejoin(joining, descriptor, &directory, now).await,
        None => join_first(joining, &directory, environment, now).await,
    }
}

/// Joins a location that has no certificate yet.
async fn join_first(
    joining: &JoinOptions,
    directory: &ClusterDir,
    environment: &dyn Environment,
    now: u64,
) -> Result<JoinOutcome, JoinError> {
    check_addresses(&joining.advertise)?;
    let listen = joining.listen;
    let bound = check_listen(listen).map_err(|source| JoinError::Listen { listen, source })?;
    check_families(&joining.advertise, bound)?;
    // Nothing else is created beside a store that can't join.
    open_unwritten(joining, Options::new()).await?;
    let (pending, key) = prepare(directory, environment)?;
    open_unwritten(joining, Options::new().member(pending.member).joining()).await?;
    let identity = |cluster| Identity { cluster, member: pending.member };
    let request = new_request(joining, pending.member, &key)?;
    let welcome = enrol(&joining.token, &request).await?;
    check(&welcome, &joining.token, identity(welcome.cluster), &key, now)?;

    keep_certificates(directory, &welcome)?;
    let Welcome { cluster: id, cluster_name: name, location, members, .. } = welcome;
    let (advertise, which) = (joining.advertise.clone(), ClusterRef { id, name });
    let mut descriptor =
        Descriptor::new(which, pending.member, location, advertise, joining.listen);
    descriptor.dial = members;
    descriptor.token = Some(joining.token.id);
    descriptor.save(directory)?;
    directory.remove(files::JOINING)?;
    Ok(JoinOutcome::New(descriptor))
}

/// Writes the CAs and the certificate of a new member.
fn keep_certificates(directory: &ClusterDir, welcome: &Welcome) -> Result<(), FilesError> {
    let former = welcome.former_cas.iter().map(Der::certificate);
    let all = std::iter::once(welcome.ca.certificate()).chain(former);
    if let Some(authorities) = Authorities::new(all) {
        authorities.save(directory)?;
    }
    write_chain(directory, &welcome.certificate.certificate(), &vouchers(&welcome.vouchers))
}

/// The vouchers in a message. Peers judge them; here they only must be certificates.
pub(super) fn vouchers(ders: &[Der]) -> Vec<CertificateDer<'static>> {
    let all = ders.iter().map(Der::certificate);
    all.filter(|voucher| Facts::read(voucher).is_ok()).take(MAX_VOUCHERS).collect()
}

/// Returns the id and key of the joining member: those of an interrupted attempt, or new ones.
fn prepare(
    directory: &ClusterDir,
    environment: &dyn Environment,
) -> Result<(PendingJoin, KeyPair), JoinError> {
    directory.create()?;
    let _lock = directory.lock()?;
    if directory.has(files::JOINING) {
        let content = directory.read(files::JOINING)?;
        let pending =
            toml::from_str(&content).map_err(|error| directory.damaged(files::JOINING, error))?;
        return Ok((pending, read_key(directory, files::KEY)?));
    }
    // The files of a member must not be overwritten.
    if directory.has(files::CERTIFICATE) || directory.has(files::CA_KEY) {
        return Err(FilesError::Missing(directory.path(files::DESCRIPTOR)).into());
    }
    let key = ca::new_key()?;
    let member = MemberId(environment.random_id().map_err(JoinError::Random)?);
    let pending = PendingJoin { member };
    directory.write(files::KEY, &key.serialize_pem())?;
    let content =
        toml::to_string(&pending).map_err(|error| directory.damaged(files::JOINING, error))?;
    directory.write(files::JOINING, &content)?;
    Ok((pending, key))
}

/// Builds the request of a joining member, with the name and addresses of its options.
fn new_request(
    joining: &JoinOptions,
    member: MemberId,
    key: &KeyPair,
) -> Result<Request, JoinError> {
    let csr = CertificateParams::new(Vec::new())?.serialize_request(key)?;
    Ok(Request {
        token: joining.token.id,
        secret: joining.token.secret.clone(),
        member,
        location: joining.location.clone(),
        addresses: joining.advertise.clone(),
        csr: Der(csr.der().to_vec()),
        renews: None,
        software: Some(Program::of_this_version()),
    })
}

/// Opens or creates the store of the location that joins, which must be one that nothing was ever written to: even
/// deletions would replicate to the other locations.
async fn open_unwritten(joining: &JoinOptions, options: Options) -> Result<(), JoinError> {
    let data = joining.data.clone();
    let open = move || match options.open(&data) {
        Ok(store) if store.view().vector().iter().next().is_none() => Ok(()),
        Ok(_) | Err(OpenError::Member { .. }) => Err(JoinError::NotEmpty(data)),
        Err(source) => Err(JoinError::Store { data, source }),
    };
    tokio::task::spawn_blocking(open).await?
}

/// Checks that the response makes this location a member of the token's cluster.
fn check(
    welcome: &Welcome,
    token: &Token,
    identity: Identity,
    key: &KeyPair,
    now: u64,
) -> Result<(), WelcomeError> {
    let (ca, own) = (welcome.ca.certificate(), welcome.certificate.certificate());
    if Sha256::of(&ca) != token.ca {
        return Err(WelcomeError::OtherCa);
    }
    if welcome.cluster != identity.cluster {
        return Err(WelcomeError::OtherIdentity);
    }
    check_certificate(&own, &ca, identity, key, now).map(drop)
}

/// Checks that a CA issued a certificate to this location, for its key, and that it is valid. Returns its facts.
pub(super) fn check_certificate(
    own: &CertificateDer<'_>,
    ca: &CertificateDer<'_>,
    identity: Identity,
    key: &KeyPair,
    now: u64,
) -> Result<Facts, WelcomeError> {
    check_issued(own, ca, unix_time(now), &ring::default_provider())
        .map_err(WelcomeError::NotValid)?;
    let facts = Facts::read(own).map_err(WelcomeError::Certificate)?;
    if facts.identity != Some(identity) {
        return Err(WelcomeError::OtherIdentity);
    }
    if !facts.is_of(key) {
        return Err(WelcomeError::OtherKey);
    }
    Ok(facts)
}
