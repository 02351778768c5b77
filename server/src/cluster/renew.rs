//! How a running server keeps its location's certificate valid: it renews the certificate from two thirds of its life
//! on, and also after its end.
//!
//! The CA holder issues its own certificate. Any other member requests one from the CA holder, over the protocol by
//! which locations join. That works without a valid certificate, because the member proves the expired one.

use std::path::Path;

use rcgen::CertificateParams;

use super::{
    enrol::{
        client::{self, RenewError},
        message::{Der, RenewalRequest},
    },
    join::{WelcomeError, check_certificate},
    state::{
        certificate::{self, Facts},
        files::{self, ClusterDir, FilesError},
        location::{self, LoadError, Location, is_due, is_limited_by_ca, read_key},
        names::Address,
    },
};

/// Why a certificate that should be renewed was not. It is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenewalError {
    /// The location's files can't be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The file can't be written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The signing request can't be made.
    #[error("can't make a signing request: {0}")]
    Request(#[from] rcgen::Error),
    /// The CA holder was not reached, or refused.
    #[error(transparent)]
    CaHolder(#[from] RenewError),
    /// The response is wrong.
    #[error("the response of the location that has the CA's key is wrong: {0}")]
    Wrong(#[from] WelcomeError),
    /// The new certificate does not expire later than the old one.
    #[error(
        "the new certificate expires no later than the old one: check the clock of the location that has the CA's key"
    )]
    NotNewer,
}

/// Renews the certificate of a member if that is due, and returns the location with the new one. `addresses` are
/// those of the other members, the CA holder's first.
///
/// # Errors
/// See [`RenewalError`].
pub async fn renew_if_due(
    data: &Path,
    addresses: &[Address],
    now: u64,
) -> Result<Option<Location>, RenewalError> {
    let directory = ClusterDir::of(data);
    let Some(current) = location::load(data, now)? else { return Ok(None) };
    let facts = facts_of(&current)?;
    if !is_due(&facts, now) || is_limited_by_ca(&facts, current.expiry.ca, now) {
        return Ok(None);
    }
    if current.expiry.has_ca_key {
        return Ok(location::open(data, now)?);
    }
    let key = read_key(&directory, files::KEY)?;
    let csr = CertificateParams::new(Vec::new())?.serialize_request(&key)?;
    let request = RenewalRequest {
        member: current.descriptor.member,
        csr: Der(csr.der().to_vec()),
        renews: Der::from(&current.chain[0]),
    };
    let renewed = client::renew(current.ca_hash(), addresses, request).await?;
    let received = check_certificate(&renewed, &current.ca, current.identity(), &key, now)?;
    if received.not_after <= facts.not_after {
        return Err(RenewalError::NotNewer);
    }
    {
        let _lock = directory.lock()?;
        directory.write(files::CERTIFICATE, &certificate::to_pem(&renewed))?;
    }
    Ok(location::load(data, now)?)
}

/// The facts in the certificate of a location that was loaded.
fn facts_of(location: &Location) -> Result<Facts, WelcomeError> {
    Facts::read(&location.chain[0]).map_err(WelcomeError::Certificate)
}
