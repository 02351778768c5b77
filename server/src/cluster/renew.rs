//! How a running server keeps its location's certificate valid: it renews the certificate from two thirds of its life
//! on, also after its end, and when the CA was rotated.
//!
//! The CA holder issues its own certificate. Any other member requests one from the CA holder, over the protocol by
//! which locations join. That works without a valid certificate, because the member proves the expired one.

use std::path::Path;

use rcgen::CertificateParams;
use rustls::crypto::ring;

use super::{
    enrol::{
        client::{RenewError, RenewalClient},
        message::{Der, Issued, RenewalRequest, Renewed},
    },
    join::{WelcomeError, check_certificate, vouchers},
    state::{
        authorities::Authorities,
        certificate::{Facts, check_chain, unix_time},
        files::{self, ClusterDir, FilesError},
        holder::CaHolder,
        location::{self, LoadError, Location, is_due, is_limited_by_ca, read_key, write_chain},
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
    /// No address is known.
    #[error("no address of the location that has the CA's key is known")]
    NoAddress,
    /// The response is wrong.
    #[error("the response of the location that has the CA's key is wrong: {0}")]
    Wrong(#[from] WelcomeError),
    /// No CA that this location knows vouches for the CA of the new certificate.
    #[error(
        "the location that has the CA's key uses a CA that this location does not know, and no known CA vouches for it \
         ({0}): check with `waypost cluster ca show` at both that they are in one cluster"
    )]
    UnknownCa(rustls::Error),
    /// The new certificate does not expire later than the old one.
    #[error(
        "the new certificate expires no later than the old one: check the clock of the location that has the CA's key"
    )]
    NotNewer,
}

impl RenewalError {
    /// Whether it does not explain why the CA holder issued nothing.
    fn is_vague(&self) -> bool {
        matches!(
            self,
            RenewalError::NoAddress | RenewalError::CaHolder(RenewError::Unreachable(..))
        )
    }
}

/// Whether a certificate is due for renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It is good, and cannot or need not be renewed.
    No,
    /// It is in the last third of its life, or has expired.
    Yes,
}

impl Location {
    /// Whether the certificate is due for renewal at a time, in Unix seconds.
    #[must_use]
    pub fn due(&self, now: u64) -> Due {
        let facts = Facts::read(&self.chain[0]);
        let is_due = facts.is_ok_and(|facts| {
            is_due(&facts, now)
                && !(self.has_newest_ca() && is_limited_by_ca(&facts, self.expiry.ca, now))
        });
        if is_due { Due::Yes } else { Due::No }
    }
}

/// Lets the CA holder issue another certificate to a member that does not have the CA's key, and uses it if the present
/// one is due or is of a former CA. Also records which location is the CA holder. `addresses` are those of the other
/// members, the best first.
///
/// # Errors
/// See [`RenewalError`]. A member that only claims to be the CA holder does not keep this one from trying the others.
pub async fn renew(
    data: &Path,
    current: &Location,
    addresses: &[Address],
    now: u64,
) -> Result<(), RenewalError> {
    let directory = ClusterDir::of(data);
    let key = read_key(&directory, files::KEY)?;
    let csr = CertificateParams::new(Vec::new())?.serialize_request(&key)?;
    let request = RenewalRequest {
        member: current.descriptor.member,
        csr: Der(csr.der().to_vec()),
        renews: Der::from(&current.chain[0]),
    };
    let known: Vec<_> = current.authorities.iter().cloned().collect();
    let client = RenewalClient::new(known, request)?;
    let mut failure = RenewalError::NoAddress;
    for address in addresses {
        let accepted = match client.request(address).await {
            Ok(renewed) => accept(&directory, current, &key, renewed, now),
            Err(error) => Err(error.into()),
        };
        match accepted {
            Ok(()) => return Ok(()),
            // The first address is the best: why it fails counts, unless another one says more.
            Err(error) if matches!(failure, RenewalError::NoAddress) || !error.is_vague() => {
                failure = error;
            }
            Err(_) => {}
        }
    }
    Err(failure)
}

/// Checks a response, and writes what is new in it. A CA that is new to this location must have the voucher of one that
/// it knows.
fn accept(
    directory: &ClusterDir,
    current: &Location,
    key: &rcgen::KeyPair,
    renewed: Renewed,
    now: u64,
) -> Result<(), RenewalError> {
    let Renewed { member, location, certificate: Issued { own, ca, vouchers: listed } } = renewed;
    let (own, ca, vouchers) = (own.certificate(), ca.certificate(), vouchers(&listed));
    let received = check_certificate(&own, &ca, current.identity(), key, now)?;
    let known: Vec<_> = current.authorities.iter().cloned().collect();
    check_chain(&own, &known, &vouchers, unix_time(now), &ring::default_provider())
        .map_err(RenewalError::UnknownCa)?;
    let before = Facts::read(&current.chain[0]).map_err(WelcomeError::Certificate)?;
    let is_same_ca = current.chain.last() == Some(&ca);
    // A member that claims to be the CA holder may send what it received in a handshake.
    let is_old = received.not_after < before.not_after && before.not_before <= now;
    if is_same_ca && (is_old || own == current.chain[0]) {
        return Err(RenewalError::NotNewer);
    }
    let _lock = directory.lock()?;
    let holder = CaHolder { member, location };
    if current.ca_holder.as_ref() != Some(&holder) {
        holder.save(directory)?;
    }
    if is_same_ca && current.due(now) == Due::No {
        return Ok(());
    }
    let authorities = Authorities::load(directory)?;
    if *authorities.newest() != ca {
        authorities.with_newest(ca).save(directory)?;
    }
    Ok(write_chain(directory, &own, &vouchers)?)
}

/// Loads a location again; none if it has left its cluster. The CA holder first renews its own certificate if that is
/// due.
///
/// # Errors
/// See [`LoadError`].
pub fn reload(data: &Path, now: u64) -> Result<Option<Location>, LoadError> {
    location::open(data, now)
}
