//! What the location that invites does with a request. No network; the time is told.

use std::path::Path;

use kv_core::MemberId;
use rcgen::{
    CertificateSigningRequestParams, PKCS_ECDSA_P256_SHA256, PublicKey, PublicKeyData as _,
};
use rustls::{crypto::ring, pki_types::CertificateSigningRequestDer};

use super::{
    message::{Der, Request, Welcome},
    registry::{Claim, Newcomer, Registry},
};
use crate::cluster::{
    about::{About, Peer, check_addresses},
    ca::Ca,
    certificate::{Facts, Identity, check_issued, from_pem, to_pem, unix_time},
    files::{self, ClusterDir, FilesError},
    invitations::{Invitations, Refusal},
    location::load_ca,
    names::{Name, Sha256},
    when::day,
};

/// The location that holds the key of the CA, and lets newcomers in.
#[derive(Debug)]
pub struct Authority {
    about: About,
    ca: Ca,
    directory: ClusterDir,
}

/// Why a request gets no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The token does not do.
    #[error(transparent)]
    Token(#[from] Refusal),
    /// What is asked can't be. The token is as before.
    #[error("{0}")]
    Request(String),
    /// It can't be made a member as it is, or for now. The token is as before.
    #[error("this location can't be made a member: {0}; the token was not used")]
    NotNow(String),
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
        Ok(Some(Authority { about, ca, directory }))
    }

    /// Where its files are.
    pub(super) fn directory(&self) -> &ClusterDir {
        &self.directory
    }
}

/// Whether this location gave out the token of a request. Changes nothing.
///
/// # Errors
/// [`ServeError::Token`] if it did not, [`ServeError::Broken`] if its file can't be read.
pub(super) fn find(request: &Request, directory: &ClusterDir) -> Result<(), ServeError> {
    Invitations::load(directory)?.find(request.token, &request.secret)?;
    Ok(())
}

/// Lets a newcomer in, or says why not.
///
/// # Errors
/// See [`ServeError`].
pub fn serve(
    request: &Request,
    authority: &Authority,
    registry: &mut dyn Registry,
    now: u64,
) -> Result<Welcome, ServeError> {
    let Authority { about, ca, directory } = authority;
    // All that changes nothing is checked first, the token before it: strangers learn nothing else.
    let invitations = Invitations::load(directory)?;
    let invitation = invitations.find(request.token, &request.secret)?;
    if ca.not_after() <= now {
        let why = format!("the certificate of the cluster's CA expired on {}", day(ca.not_after()));
        return Err(ServeError::Broken(why));
    }
    let key = read_csr(&request.csr)?;
    let key_hash = Sha256::of(&key.subject_public_key_info());
    let claim = match &request.renews {
        Some(old) => shown(old, request.member, &key, authority)?,
        None if invitations.has_come(request.member, key_hash) => Claim::Again,
        None => Claim::New,
    };
    let newcomer = check(request, invitation.location.as_ref(), about, claim)?;
    invitation.check_free(newcomer.member, key_hash, now)?;
    registry.check(&newcomer).map_err(ServeError::NotNow)?;

    Invitations::change(directory, now, |invitations| {
        let used = invitations.use_up(request.token, newcomer.member, key_hash, now);
        used.map(drop).map_err(ServeError::from)
    })?;
    // What was so before the token went to the disk may have changed by now.
    let others = registry.check(&newcomer).and_then(|()| registry.admit(&newcomer));
    let others = others.map_err(ServeError::NotAdmitted)?;
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

/// Whether a member has shown its certificate: one that this CA made for it, whether it still holds or not, of
/// the key that the request is signed with.
fn shown(
    old: &Der,
    member: MemberId,
    key: &PublicKey,
    authority: &Authority,
) -> Result<Claim, ServeError> {
    let Authority { about, ca, .. } = authority;
    let wrong = |why: String| {
        ServeError::Request(format!(
            "the certificate to be made anew is not this location's: {why}"
        ))
    };
    let old = old.certificate();
    let facts = Facts::read(&old).map_err(|error| wrong(error.to_string()))?;
    check_issued(&old, ca.certificate(), unix_time(facts.not_before), &ring::default_provider())
        .map_err(|error| wrong(error.to_string()))?;
    if facts.identity != Some(Identity { cluster: about.cluster, member }) {
        return Err(wrong("it names another".into()));
    }
    if facts.public_key != key.subject_public_key_info() {
        return Err(wrong("it is of another key".into()));
    }
    Ok(Claim::Renewal)
}

fn check(
    request: &Request,
    invited: Option<&Name>,
    about: &About,
    claim: Claim,
) -> Result<Newcomer, ServeError> {
    let wrong = |sentence: &str| Err(ServeError::Request(sentence.into()));
    let location = match (&request.location, invited) {
        (Some(said), Some(invited)) if said != invited => {
            let sentence = format!(
                "the token is for the location {invited}, not for {said}: leave --location out, or ask for a \
                 token for {said}"
            );
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
    Ok(Newcomer { member, origins: request.origins.0, location, addresses, claim })
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
