//! A location that is a member and joins again, with another token.

use kv_core::{Operation, Options, commit::Remote};
use rustls::pki_types::CertificateDer;

use super::{
    Authorities, ClusterDir, Der, Descriptor, Facts, Identity, JoinError, JoinOptions, JoinOutcome,
    Request, WelcomeError, check, enrol, files, is_due, new_request, read_certificate, read_key,
    vouchers, write_chain,
};
use crate::cluster::state::{dates::day, location::is_limited_by_ca};

/// Handles a location that is already a member.
pub(super) async fn rejoin(
    joining: &JoinOptions,
    mut descriptor: Descriptor,
    directory: &ClusterDir,
    now: u64,
) -> Result<JoinOutcome, JoinError> {
    let authorities = Authorities::load(directory)?;
    if !authorities.has(joining.token.ca) {
        return Err(JoinError::OtherCluster(descriptor.cluster_name));
    }
    let ca = Facts::read(authorities.newest());
    let ca = ca.map_err(|error| directory.damaged(files::CA, error))?;
    directory.remove(files::JOINING)?;
    let own = read_certificate(directory, files::CERTIFICATE)?;
    let facts = Facts::read(&own).map_err(|error| directory.damaged(files::CERTIFICATE, error))?;
    // A store that was restored from an old copy may know only members that have been removed since.
    let is_needed = is_due(&facts, now) || descriptor.token != Some(joining.token.id);
    if !is_needed {
        return Ok(JoinOutcome::Already(descriptor));
    }
    if directory.has(files::CA_KEY) {
        tracing::warn!(
            "the token was not used, because this location has the CA's key, and no other one can issue a certificate to it: if its \
             data directory is an old copy and it reaches nobody, move the key to another location first (`waypost cluster ca \
             move FILE`, and `waypost cluster ca import FILE` there)"
        );
        return Ok(JoinOutcome::Already(descriptor));
    }
    // An alarm reports what to do once the CA has expired.
    if ca.not_after <= now {
        return Ok(JoinOutcome::Already(descriptor));
    }
    if is_limited_by_ca(&facts, ca.not_after, now) {
        let end = day(ca.not_after);
        tracing::info!(
            "the certificate is not renewed, because it already expires with the CA, on {end}"
        );
        return Ok(JoinOutcome::Already(descriptor));
    }
    match renew(joining, &mut descriptor, directory, (&own, &facts), now).await {
        Ok(()) => Ok(JoinOutcome::Renewed(descriptor)),
        // A unit file may pass --join at each start, with a token that was used long ago. The server renews the
        // certificate without a token, also an expired one.
        Err(error @ (JoinError::Enrol(_) | JoinError::NotRenewed { .. })) => {
            tracing::info!("the certificate was not renewed with this token: {error}");
            Ok(JoinOutcome::Already(descriptor))
        }
        Err(error) => Err(error),
    }
}

/// Renews the certificate of a member, under its id and with its key, and takes note of the members to dial.
async fn renew(
    joining: &JoinOptions,
    descriptor: &mut Descriptor,
    directory: &ClusterDir,
    (own, facts): (&CertificateDer<'_>, &Facts),
    now: u64,
) -> Result<(), JoinError> {
    let key = read_key(directory, files::KEY)?;
    let request = Request {
        location: Some(descriptor.location.clone()),
        addresses: descriptor.advertise.clone(),
        renews: Some(Der::from(own)),
        ..new_request(joining, descriptor.member, &key)?
    };
    let mut welcome = enrol(&joining.token, &request).await?;
    let _lock = directory.lock()?;
    descriptor.dial = std::mem::take(&mut welcome.members);
    descriptor.token = Some(joining.token.id);
    // Before the token counts as used: a start that is interrupted here does both again.
    rebuild_if_strange(joining, descriptor).await?;
    descriptor.save(directory)?;
    let received =
        Facts::read(&welcome.certificate.certificate()).map_err(WelcomeError::Certificate)?;
    // One that was issued by a clock that was ahead expires later, and is not valid yet.
    if received.not_after <= facts.not_after && facts.not_before <= now {
        let end = facts.not_after;
        return Err(JoinError::NotRenewed { end, has_expired: end <= now });
    }
    let identity = Identity { cluster: descriptor.cluster, member: descriptor.member };
    check(&welcome, &joining.token, identity, &key, now)?;
    Ok(write_chain(directory, &welcome.certificate.certificate(), &vouchers(&welcome.vouchers))?)
}

/// A store that knows none of the members of today was restored from an old copy. It takes rows of a member that it does
/// not know only while it is rebuilt, as one that joins does.
async fn rebuild_if_strange(
    joining: &JoinOptions,
    descriptor: &Descriptor,
) -> Result<(), JoinError> {
    let data = joining.data.clone();
    let today: Vec<_> = descriptor.dial.iter().map(|peer| peer.member).collect();
    let rebuild = move || {
        let store = Options::new().replicated(true).open(&data);
        let store = store.map_err(|source| JoinError::Store { data, source })?;
        if !today.iter().any(|member| store.view().members().is_current(*member)) {
            store.submit(Operation::Remote(Remote::Rebuild))?.wait()?;
        }
        Ok(store.close()?)
    };
    tokio::task::spawn_blocking(rebuild).await?
}
