//! What the location that invites does with a request. No network; the time is told.

use std::{path::Path, time::Duration};

use kv_core::{Member, MemberId, Operation, OriginId, Store};
use rcgen::{
    CertificateSigningRequestParams, PKCS_ECDSA_P256_SHA256, PublicKey, PublicKeyData as _,
};
use rustls::pki_types::CertificateSigningRequestDer;

use super::message::{Der, Request, Response, Welcome};
use crate::cluster::{
    about::{About, Peer, check_addresses},
    ca::Ca,
    certificate::{Identity, from_pem, to_pem},
    files::{self, ClusterDir, FilesError},
    invitations::{Invitations, Refusal},
    location::load_ca,
    names::{Address, Name, Sha256},
};

/// How many tokens that nobody gave out are looked at in a minute. A secret has 128 bits, so this only
/// keeps who guesses from costing much.
const WRONG_TOKENS_A_MINUTE: u32 = 60;

/// The location that holds the key of the CA, and lets newcomers in.
#[derive(Debug)]
pub struct Authority {
    about: About,
    ca: Ca,
    directory: ClusterDir,
    wrong: WrongTokens,
}

/// Who is about to become a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newcomer {
    /// Which location.
    pub member: MemberId,
    /// The origins that its store writes under.
    pub origins: [OriginId; 2],
    /// What people call it.
    pub location: Name,
    /// Where it is reached, the best first; 1 to 8.
    pub addresses: Vec<Address>,
}

/// Why a request gets no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The token does not do.
    #[error(transparent)]
    Token(#[from] Refusal),
    /// Somebody guesses.
    #[error("too many wrong tokens came in the last minute: try again in a minute")]
    TooManyWrong,
    /// What is asked can't be. The token is as before.
    #[error("{0}")]
    Request(String),
    /// It can't be made a member. The token is kept for it: it can try again with the same files.
    #[error("this location can't be made a member: {0}; the token can be used again from it")]
    NotAdmitted(String),
    /// The files or the CA of the location that invites fail.
    #[error("the location that invites can't answer: {0}; try again when that is mended")]
    Broken(String),
}

impl From<FilesError> for ServeError {
    fn from(error: FilesError) -> Self {
        ServeError::Broken(error.to_string())
    }
}

impl Authority {
    /// That of a location; none where the key of the CA is not.
    ///
    /// # Errors
    /// If the files are damaged.
    pub fn open(data: &Path) -> Result<Option<Authority>, FilesError> {
        let directory = ClusterDir::of(data);
        let Some(about) = About::load(&directory)?.filter(|_| directory.has(files::CA_KEY)) else {
            return Ok(None);
        };
        let ca = load_ca(&directory)?;
        Invitations::load(&directory)?;
        Ok(Some(Authority { about, ca, directory, wrong: WrongTokens::default() }))
    }
}

/// Answers a newcomer. `admit` makes it a member, durably, and names those whom it can dial; it is
/// called only for a good token, and again if a newcomer asks again.
pub fn serve(
    request: &Request,
    authority: &mut Authority,
    admit: &mut dyn FnMut(&Newcomer) -> Result<Vec<Peer>, String>,
    now: u64,
) -> Response {
    match let_in(request, authority, admit, now) {
        Ok(welcome) => Response::Welcome(Box::new(welcome)),
        Err(error) => {
            tracing::warn!(token = %request.token, "a newcomer was refused: {error}");
            Response::Refused(error.to_string())
        }
    }
}

fn let_in(
    request: &Request,
    authority: &mut Authority,
    admit: &mut dyn FnMut(&Newcomer) -> Result<Vec<Peer>, String>,
    now: u64,
) -> Result<Welcome, ServeError> {
    authority.wrong.check(now)?;
    let Authority { about, ca, directory, wrong } = authority;
    // All that changes nothing is checked first, the token before it: strangers learn nothing else.
    let invitations = Invitations::load(directory)?;
    let invitation = invitations.find(request.token, &request.secret).inspect_err(|_| {
        wrong.count(now);
    })?;
    let newcomer = check(request, invitation.location.as_ref(), about)?;
    let key = read_csr(&request.csr)?;
    let key_hash = Sha256::of(&key.subject_public_key_info());

    Invitations::change(directory, now, |invitations| {
        let used = invitations.use_up(request.token, newcomer.member, key_hash, now);
        used.map(drop).map_err(ServeError::from)
    })?;
    let others = admit(&newcomer).map_err(ServeError::NotAdmitted)?;
    let identity = Identity { cluster: about.cluster, member: newcomer.member };
    let made = ca.issue(identity, &key, now).map_err(|e| ServeError::Broken(e.to_string()))?;
    let certificate = Invitations::change(directory, now, |invitations| {
        let kept = invitations.certify(request.token, to_pem(&made));
        kept.map_err(ServeError::from)
    })?;
    let certificate = from_pem(&certificate).map_err(|e| ServeError::Broken(e.to_string()))?;
    let own = Peer { member: about.member, addresses: about.advertise.clone() };
    let is_other = |peer: &Peer| ![own.member, newcomer.member].contains(&peer.member);
    let others: Vec<Peer> = others.into_iter().filter(is_other).collect();
    tracing::info!(member = %newcomer.member, "the location {} is a member", newcomer.location);
    Ok(Welcome {
        cluster: about.cluster,
        cluster_name: about.cluster_name.clone(),
        location: newcomer.location,
        ca: Der::from(ca.certificate()),
        certificate: Der::from(&certificate),
        members: std::iter::once(own).chain(others).take(MAX_TOLD).collect(),
    })
}

/// A newcomer hears of all members once it has dialled one; a few will do for that.
const MAX_TOLD: usize = 16;

fn check(request: &Request, invited: Option<&Name>, about: &About) -> Result<Newcomer, ServeError> {
    let wrong = |sentence: &str| Err(ServeError::Request(sentence.into()));
    let location = match (&request.location, invited) {
        (Some(said), Some(invited)) if said != invited => {
            let sentence = format!("the token is for the location {invited}, not for {said}");
            return Err(ServeError::Request(sentence));
        }
        (Some(said), _) => said.clone(),
        (None, Some(invited)) => invited.clone(),
        (None, None) => {
            return wrong(
                "the token does not say how the new location is called: add --location NAME",
            );
        }
    };
    if request.member == about.member {
        return wrong("this is the id of the location that invites: start with an empty directory");
    }
    check_addresses(&request.addresses).map_err(ServeError::Request)?;
    let (member, addresses) = (request.member, request.addresses.clone());
    Ok(Newcomer { member, origins: request.origins.0, location, addresses })
}

/// The public key of a signing request, whose signature shows that the newcomer has the private one.
/// Whatever else the request asks for, the certificate does not get.
///
/// # Errors
/// If it is none, or by a key of another kind.
pub fn read_csr(csr: &Der) -> Result<PublicKey, ServeError> {
    let csr = CertificateSigningRequestDer::from(csr.0.as_slice());
    let params = CertificateSigningRequestParams::from_der(&csr)
        .map_err(|error| ServeError::Request(format!("the signing request can't be: {error}")))?;
    if *params.public_key.algorithm() != PKCS_ECDSA_P256_SHA256 {
        let sentence = "the signing request must be by an ECDSA key over P-256";
        return Err(ServeError::Request(sentence.into()));
    }
    Ok(params.public_key)
}

/// Counts wrong tokens, minute by minute.
#[derive(Debug, Default)]
struct WrongTokens {
    minute: u64,
    count: u32,
}

impl WrongTokens {
    fn check(&self, now: u64) -> Result<(), ServeError> {
        if self.minute == now / 60 && self.count >= WRONG_TOKENS_A_MINUTE {
            return Err(ServeError::TooManyWrong);
        }
        Ok(())
    }

    fn count(&mut self, now: u64) {
        if self.minute != now / 60 {
            *self = WrongTokens { minute: now / 60, count: 0 };
        }
        self.count += 1;
    }
}

/// Makes a newcomer a member in this store, durably, and names all members: the `admit` of a server.
/// Blocks.
///
/// # Errors
/// A sentence says why it can't be one.
pub fn admit_to(store: &Store, newcomer: &Newcomer) -> Result<Vec<Peer>, String> {
    let operation = Operation::PutMember {
        id: newcomer.member,
        origins: newcomer.origins,
        name: newcomer.location.to_string(),
        addresses: newcomer.addresses.iter().map(Address::to_string).collect(),
    };
    let ticket = store.submit(operation).map_err(|error| error.to_string())?;
    ticket.wait().map_err(|error| error.to_string())?;
    await_durable(store, newcomer.member)?;
    Ok(store.view().members().current().map(|member: &Member| Peer::of(member)).collect())
}

/// A relaxed store answers before the row survives a crash; a certificate must not come before that.
fn await_durable(store: &Store, member: MemberId) -> Result<(), String> {
    for _ in 0..LOOKS {
        if store.durable_view().members().is_current(member) {
            return Ok(());
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    Err("its row is not on the disk after 5 s".into())
}

const LOOKS: u32 = 1000;
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
