//! How the CA holder handles a request. No network; the time is an argument.

use std::path::Path;

use kv_core::MemberId;
use rcgen::{
    CertificateSigningRequestParams, PKCS_ECDSA_P256_SHA256, PublicKey, PublicKeyData as _,
};
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, CertificateSigningRequestDer},
};

use super::{
    message::{Der, Issued, RenewalRequest, Renewed, Request, Welcome},
    registry::{AdmissionError, Claim, JoiningMember, Registry},
};
use crate::cluster::state::{
    authorities::Authorities,
    ca::Ca,
    certificate::{CertificateError, Facts, Identity, check_issued, from_pem, to_pem, unix_time},
    dates::day,
    descriptor::{AddressCountError, Descriptor, Peer, check_addresses},
    files::{self, ClusterDir, FilesError},
    invitations::{Invitations, TokenRejection},
    location::load_ca,
    names::{ClusterId, Name, Sha256},
};

/// The CA holder: it has the CA's key, and admits joining members.
#[derive(Debug)]
pub struct Authority {
    /// The names and ids of the cluster and of the CA holder.
    descriptor: Descriptor,
    /// The directory of the cluster's files. The CA and the invitations are read from it for each request, because
    /// commands change them while the server runs.
    directory: ClusterDir,
}

/// Why a request gets no certificate. The text is sent to the joining member.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolRefusal {
    /// The token is not valid.
    #[error(transparent)]
    Token(#[from] TokenRejection),
    /// The request is not valid. The token is unchanged.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The location can't become a member as it is, or for now. The token is unchanged.
    #[error("this location can't become a member: {0}; the token was not used")]
    NotNow(AdmissionError),
    /// The location can't become a member. The token is reserved for it: it can retry with the same
    /// files.
    #[error("this location can't become a member: {0}; the token can be used again from it")]
    NotAdmitted(AdmissionError),
    /// The member gets no other certificate.
    #[error("this location gets no other certificate: {0}")]
    NotRenewed(AdmissionError),
    /// The files or the CA of the CA holder fail.
    #[error("the CA holder can't respond: {0}; repair that, and try again")]
    Authority(#[from] AuthorityError),
}

/// Why a request is not valid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The token is for a location of another name.
    #[error(
        "the token is for the location {invited}, not for {requested}: omit --location, or ask for a token for \
         {requested}"
    )]
    OtherName {
        /// The name in the invitation.
        invited: Name,
        /// The name in the request.
        requested: Name,
    },
    /// Neither the token nor the request has a name.
    #[error("the token has no name for the new location: set --location NAME")]
    NoName,
    /// The location has the id of the CA holder.
    #[error("this is the id of the CA holder: start with an empty data directory")]
    OwnId,
    /// The id of the location is zero.
    #[error("the id of the location is zero: join with an empty data directory")]
    Id,
    /// The location has no addresses, or too many.
    #[error(transparent)]
    Addresses(#[from] AddressCountError),
    /// The signing request is malformed, or its signature is wrong.
    #[error("the signing request is not valid: {0}")]
    SigningRequest(rcgen::Error),
    /// The key is of another kind.
    #[error("the signing request is not for an ECDSA key over P-256")]
    KeyKind,
    /// The certificate to be renewed is malformed.
    #[error("the certificate to be renewed is not this location's: {0}")]
    OldCertificate(CertificateError),
    /// No CA of the cluster issued the certificate to be renewed.
    #[error(
        "the certificate to be renewed is not this location's, or is of a CA that was retired ({0}): then remove the \
         location from the cluster, and let it join again with an empty data directory"
    )]
    OldIssuer(rustls::Error),
    /// The certificate to be renewed names another location.
    #[error("the certificate to be renewed is not this location's: it names another")]
    OldIdentity,
    /// The certificate to be renewed has another key.
    #[error("the certificate to be renewed is not this location's: it is for another key")]
    OldKey,
}

/// Why the CA holder can't respond.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A file can't be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The CA's certificate has expired.
    #[error("the certificate of the cluster's CA expired on {0}")]
    CaExpired(String),
    /// A certificate can't be issued.
    #[error("can't issue a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// The certificate that was kept for a retry is damaged.
    #[error("the certificate in invitations.toml is damaged: {0}")]
    Kept(#[from] CertificateError),
}

impl From<FilesError> for EnrolRefusal {
    fn from(error: FilesError) -> Self {
        AuthorityError::from(error).into()
    }
}

impl Authority {
    /// Opens that of a location; none if another location is the CA holder.
    ///
    /// # Errors
    /// If the files are damaged.
    pub fn open(data: &Path) -> Result<Option<Authority>, FilesError> {
        let directory = ClusterDir::of(data);
        let descriptor = Descriptor::load(&directory)?;
        let Some(descriptor) = descriptor.filter(|_| directory.has(files::CA_KEY)) else {
            return Ok(None);
        };
        load_ca(&directory)?;
        Invitations::load(&directory)?;
        if !directory.has(files::INVITATIONS) {
            tracing::warn!(
                "cluster/{} is missing: tokens that were printed before no longer work; print new ones with `waypost \
                 cluster invite`",
                files::INVITATIONS
            );
        }
        Ok(Some(Authority { descriptor, directory }))
    }

    /// Returns the proof of which certificates are of the cluster.
    pub(super) fn issuer(&self) -> Issuer {
        Issuer { cluster: self.descriptor.cluster, directory: self.directory.clone() }
    }

    /// Loads the CA, which must be valid.
    fn ca(&self, now: u64) -> Result<Ca, AuthorityError> {
        let ca = load_ca(&self.directory)?;
        if ca.not_after() <= now {
            return Err(AuthorityError::CaExpired(day(ca.not_after())));
        }
        Ok(ca)
    }
}

/// The cluster and its CAs, one of which has issued the certificate of each member.
#[derive(Clone, Debug)]
pub(super) struct Issuer {
    /// The cluster that certificates must name.
    cluster: ClusterId,
    /// The directory of the cluster's files.
    directory: ClusterDir,
}

impl Issuer {
    /// Returns the directory of the cluster's files.
    pub(super) fn directory(&self) -> &ClusterDir {
        &self.directory
    }
}

/// Checks that a member has sent its certificate, and returns its key.
///
/// # Errors
/// See [`EnrolRefusal`].
pub(super) fn check_renewal(
    request: &RenewalRequest,
    issuer: &Issuer,
) -> Result<PublicKey, EnrolRefusal> {
    let key = read_csr(&request.csr)?;
    check_old_certificate(&request.renews, request.member, &key, issuer)?;
    Ok(key)
}

/// Issues another certificate to a member that has proved the one that it has, expired or not, and its key. The
/// member needs no token, and its row is unchanged. It decides itself whether it uses the new one.
///
/// # Errors
/// See [`EnrolRefusal`].
pub fn renew(
    request: &RenewalRequest,
    authority: &Authority,
    registry: &mut dyn Registry,
    now: u64,
) -> Result<Renewed, EnrolRefusal> {
    let key = check_renewal(request, &authority.issuer())?;
    let descriptor = &authority.descriptor;
    let ca = authority.ca(now)?;
    registry.check_renewal(request.member).map_err(EnrolRefusal::NotRenewed)?;
    let identity = Identity { cluster: descriptor.cluster, member: request.member };
    let issued = ca.issue(identity, &key, now).map_err(AuthorityError::from)?;
    tracing::debug!(member = %request.member, "issued another certificate to a member");
    let (own, ca, vouchers) = (&issued, ca.certificate(), ders(ca.vouchers()));
    Ok(Renewed {
        member: descriptor.member,
        location: descriptor.location.clone(),
        certificate: Issued { own: own.into(), ca: ca.into(), vouchers },
    })
}

/// Converts certificates for a message.
fn ders(certificates: &[CertificateDer<'static>]) -> Vec<Der> {
    certificates.iter().map(Der::from).collect()
}

/// Checks that this location issued the token of a request. Changes nothing.
///
/// # Errors
/// [`EnrolRefusal::Token`] if it did not, [`EnrolRefusal::Authority`] if the file can't be read.
pub(super) fn check_token(request: &Request, directory: &ClusterDir) -> Result<(), EnrolRefusal> {
    Invitations::load(directory)?.find(request.token, &request.secret)?;
    Ok(())
}

/// Admits a joining member and issues its certificate.
///
/// # Errors
/// See [`EnrolRefusal`].
pub fn admit(
    request: &Request,
    authority: &Authority,
    registry: &mut dyn Registry,
    now: u64,
) -> Result<Welcome, EnrolRefusal> {
    let Authority { descriptor, directory } = authority;
    // First the checks, which change nothing, and the token's before all others: an unauthenticated peer
    // learns nothing else.
    let invitations = Invitations::load(directory)?;
    let invitation = invitations.find(request.token, &request.secret)?;
    let ca = authority.ca(now)?;
    let key = read_csr(&request.csr)?;
    let key_hash = Sha256::of(&key.subject_public_key_info());
    let claim = match &request.renews {
        Some(old) => {
            check_old_certificate(old, request.member, &key, &authority.issuer())?;
            Claim::Renewal
        }
        None if invitations.has_used_any(request.member, key_hash) => Claim::Retry,
        None => Claim::New,
    };
    let joining = check(request, invitation.location.as_ref(), descriptor, claim)?;
    invitation.check_free(joining.member, key_hash, now)?;
    registry.check(&joining).map_err(EnrolRefusal::NotNow)?;

    Invitations::change(directory, now, |invitations| {
        let used = invitations.mark_used(request.token, joining.member, key_hash, now);
        used.map(drop).map_err(EnrolRefusal::from)
    })?;
    // The state may have changed while the token was written to the disk.
    let others = registry.check(&joining).and_then(|()| registry.admit(&joining));
    let others = others.map_err(EnrolRefusal::NotAdmitted)?;
    let identity = Identity { cluster: descriptor.cluster, member: joining.member };
    let issued = ca.issue(identity, &key, now).map_err(AuthorityError::from)?;
    let certificate = Invitations::change(directory, now, |invitations| {
        let kept = invitations.certify(request.token, to_pem(&issued));
        kept.map_err(EnrolRefusal::from)
    })?;
    let kept = from_pem(&certificate).map_err(AuthorityError::from)?;
    // A kept one is useless once the CA was rotated.
    let certificate = if is_of(&ca, &kept) { kept } else { issued };
    let authorities = Authorities::load(directory)?;
    tracing::info!(member = %joining.member, "the location {} is now a member", joining.location);
    Ok(Welcome {
        cluster: descriptor.cluster,
        cluster_name: descriptor.cluster_name.clone(),
        members: members_to_dial(descriptor, joining.member, others),
        location: joining.location,
        ca: Der::from(ca.certificate()),
        certificate: Der::from(&certificate),
        vouchers: ders(ca.vouchers()),
        former_cas: ders(authorities.former()),
    })
}

/// Whether a CA issued a certificate, valid or not.
fn is_of(ca: &Ca, certificate: &CertificateDer<'_>) -> bool {
    Facts::read(certificate).is_ok_and(|facts| {
        let at = unix_time(facts.not_before);
        check_issued(certificate, ca.certificate(), at, &ring::default_provider()).is_ok()
    })
}

/// The CA holder first.
fn members_to_dial(descriptor: &Descriptor, joining: MemberId, others: Vec<Peer>) -> Vec<Peer> {
    let own = Peer { member: descriptor.member, addresses: descriptor.advertise.clone() };
    let is_other = |peer: &Peer| ![own.member, joining].contains(&peer.member);
    let others: Vec<Peer> = others.into_iter().filter(is_other).collect();
    std::iter::once(own).chain(others).take(MAX_DIAL).collect()
}

/// A joining member learns of all members once it has dialled one, so a few are enough.
const MAX_DIAL: usize = 16;

/// Checks that a member has sent its certificate: one that a CA of the cluster issued to it, expired or not, for the
/// key that signed the request.
fn check_old_certificate(
    old: &Der,
    member: MemberId,
    key: &PublicKey,
    issuer: &Issuer,
) -> Result<(), EnrolRefusal> {
    let Issuer { cluster, directory } = issuer;
    let old = old.certificate();
    let facts = Facts::read(&old).map_err(RequestError::OldCertificate)?;
    let authorities = Authorities::load(directory)?;
    authorities.issuer_of(&old, unix_time(facts.not_before)).map_err(RequestError::OldIssuer)?;
    if facts.identity != Some(Identity { cluster: *cluster, member }) {
        return Err(RequestError::OldIdentity.into());
    }
    if facts.public_key != key.subject_public_key_info() {
        return Err(RequestError::OldKey.into());
    }
    Ok(())
}

/// Checks the fields of a request that do not depend on the store.
fn check(
    request: &Request,
    invited: Option<&Name>,
    descriptor: &Descriptor,
    claim: Claim,
) -> Result<JoiningMember, RequestError> {
    let location = match (&request.location, invited) {
        (Some(requested), Some(invited)) if requested != invited => {
            let (invited, requested) = (invited.clone(), requested.clone());
            return Err(RequestError::OtherName { invited, requested });
        }
        (Some(name), _) | (None, Some(name)) => name.clone(),
        (None, None) => return Err(RequestError::NoName),
    };
    if request.member == descriptor.member {
        return Err(RequestError::OwnId);
    }
    if request.member.0 == [0; 16] {
        return Err(RequestError::Id);
    }
    check_addresses(&request.addresses)?;
    let (member, addresses) = (request.member, request.addresses.clone());
    let software = request.software.clone().map(|program| program.0);
    Ok(JoiningMember { member, location, addresses, claim, software })
}

/// Reads the public key of a signing request, whose signature proves possession of the private key. The
/// certificate gets nothing else that the request may contain.
///
/// # Errors
/// If the request is malformed, or its key is of another kind.
pub fn read_csr(csr: &Der) -> Result<PublicKey, RequestError> {
    let csr = CertificateSigningRequestDer::from(csr.0.as_slice());
    let params =
        CertificateSigningRequestParams::from_der(&csr).map_err(RequestError::SigningRequest)?;
    if *params.public_key.algorithm() != PKCS_ECDSA_P256_SHA256 {
        return Err(RequestError::KeyKind);
    }
    Ok(params.public_key)
}
