//! Keeps the location's certificate valid while the server runs, and follows the cluster's CA.

use std::{path::PathBuf, sync::Arc, time::Duration};

use kv_core::{
    Store,
    env::{Environment as _, SystemEnvironment},
};
use rustls::pki_types::CertificateDer;
use tokio::time::sleep;

use super::replication::identity;
use crate::{
    cluster::{
        Address, Due, Location, Peer, renew as renew_at_ca_holder,
        renew::{RenewalError, reload},
        state::{dates::day, holder::CaHolder},
    },
    membership::Membership,
};

/// How often the server reads the location's files, and checks whether a renewal is due.
const CHECK: Duration = Duration::from_secs(10);

/// How often the CA holder is queried whether the CA was rotated.
const CONTACT: Duration = Duration::from_secs(60 * 60);

/// The pause after a first failure; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after a failure. A location whose certificate has expired replicates again this soon after the
/// CA holder is reachable.
const MOST_PAUSE: Duration = Duration::from_secs(30);

/// The addresses that are tried while no renewal is due. Locations without the CA's key reject at once.
const FEW: usize = 16;

/// The certificates that the links use.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proof {
    /// The location's own, and those between it and a CA.
    chain: Vec<CertificateDer<'static>>,
    /// The CAs that the links trust.
    trusted: Vec<CertificateDer<'static>>,
}

impl Proof {
    /// Returns that of a location.
    pub(super) fn of(location: &Location) -> Proof {
        Proof { chain: location.chain.clone(), trusted: location.trusted.clone() }
    }
}

/// Renews the certificate of a member whenever that is due or the CA was rotated, and uses for all links what the files
/// hold, also after `waypost cluster ca` has changed them. Runs until it is dropped.
pub(super) async fn keep_valid(
    membership: Arc<Membership>,
    store: Store,
    data: PathBuf,
    used: Proof,
) {
    let environment = SystemEnvironment::new();
    let mut keeper = Keeper { membership, store, data, used, next_contact: Duration::ZERO };
    let mut pause = FIRST_PAUSE;
    loop {
        let (now, mono) = (environment.now_ms() / 1000, environment.monotonic());
        let failure = keeper.step(now, mono).await.err().map(|error| error.to_string());
        if let Some(reason) = &failure
            && pause == FIRST_PAUSE
        {
            tracing::warn!("the certificate was not renewed, and this location retries: {reason}");
        }
        let is_ok = failure.is_none();
        keeper.membership.set_renewal_failure(failure);
        if is_ok {
            pause = FIRST_PAUSE;
            sleep(CHECK).await;
            continue;
        }
        // Locations that failed at once do not retry at once.
        let random = environment.random_id().map_or(0, |bytes| bytes[0]);
        sleep(pause.mul_f64(0.5 + f64::from(random) / 512.0)).await;
        pause = (2 * pause).min(MOST_PAUSE);
    }
}

/// Why the certificate is not as it should be.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Renewal(#[from] RenewalError),
    #[error(transparent)]
    Load(#[from] crate::cluster::state::location::LoadError),
    #[error(transparent)]
    Identity(#[from] kv_replicate::quic::IdentityError),
    #[error(transparent)]
    Replica(#[from] kv_replicate::quic::QueryError),
}

/// The state of the task.
struct Keeper {
    /// Where certificates are used, and failures are reported.
    membership: Arc<Membership>,
    /// The members, for their addresses.
    store: Store,
    /// The data directory.
    data: PathBuf,
    /// The certificates that the links use.
    used: Proof,
    /// When the CA holder is queried next while no renewal is due, on the monotonic clock.
    next_contact: Duration,
}

impl Keeper {
    /// Renews the certificate if that is due, and uses what the files hold then.
    async fn step(&mut self, now: u64, mono: Duration) -> Result<(), KeepError> {
        let Some(location) = reload(&self.data, now)? else { return Ok(()) };
        let renewed = self.renew(&location, now, mono).await;
        // The files are followed also while the CA holder is not reached.
        let location = match renewed {
            Ok(true) => reload(&self.data, now)?.unwrap_or(location),
            Ok(false) | Err(_) => location,
        };
        self.use_files(&location).await?;
        if location.expiry.location <= now {
            self.membership.unlink("the certificate of this location has expired").await?;
        }
        Ok(renewed.map(drop)?)
    }

    /// Asks the CA holder for another certificate if that is due, and every hour. Returns whether the files may have
    /// changed.
    async fn renew(
        &mut self,
        location: &Location,
        now: u64,
        mono: Duration,
    ) -> Result<bool, RenewalError> {
        let is_due = location.due(now) == Due::Yes;
        if location.expiry.has_ca_key || !(is_due || mono >= self.next_contact) {
            return Ok(false);
        }
        let mut addresses = self.addresses(location.ca_holder.as_ref());
        if !is_due {
            addresses.truncate(FEW);
        }
        self.next_contact = mono + CONTACT;
        match renew_at_ca_holder(&self.data, location, &addresses, now).await {
            Ok(()) => Ok(true),
            Err(error) if is_due => Err(error),
            Err(error) => {
                tracing::debug!(%error, "the location with the CA's key was not reached");
                Ok(false)
            }
        }
    }

    /// Uses the certificates in the files for all links from now on.
    async fn use_files(&mut self, location: &Location) -> Result<(), KeepError> {
        let holder = location.ca_holder.as_ref();
        self.membership.set_ca_holder(holder.map(|holder| holder.location.to_string()));
        let proof = Proof::of(location);
        if proof == self.used {
            return Ok(());
        }
        let expiry = location.expiry;
        self.membership.renewed(identity(location), expiry).await?;
        if self.used.trusted.iter().any(|ca| !proof.trusted.contains(ca)) {
            self.membership.unlink("this location no longer trusts a former CA").await?;
        }
        self.used = proof;
        let end = day(expiry.location);
        tracing::info!("uses the certificate that expires on {end} for all links from now on");
        Ok(())
    }

    /// The addresses of the other members: first that of the CA holder, as far as it is known, then those that this
    /// location joined through, then all others.
    fn addresses(&self, holder: Option<&CaHolder>) -> Vec<Address> {
        let descriptor = self.membership.descriptor();
        let view = self.store.view();
        let current = |id| view.members().get(id).map(Peer::of);
        let holder = holder.and_then(|holder| current(holder.member));
        let dialled = descriptor.dial.iter();
        let dialled =
            dialled.flat_map(|peer| current(peer.member).into_iter().chain([peer.clone()]));
        let others = view.members().current().filter(|member| member.id != descriptor.member);
        let mut all: Vec<Address> = Vec::new();
        let peers = holder.into_iter().chain(dialled).chain(others.map(Peer::of));
        for address in peers.flat_map(|peer| peer.addresses) {
            if address.is_dialable() && !all.contains(&address) {
                all.push(address);
            }
        }
        all
    }
}
