//! Keeps the location's certificate valid while the server runs.

use std::{path::PathBuf, sync::Arc, time::Duration};

use kv_core::{
    Store,
    env::{Environment as _, SystemEnvironment},
};
use tokio::time::sleep;

use super::replication::identity;
use crate::{
    cluster::{Address, Peer, renew_if_due, state::dates::day},
    membership::Membership,
};

/// How often the server checks whether a renewal is due.
const CHECK: Duration = Duration::from_secs(60);

/// The pause after a first failure; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after a failure. A location whose certificate has expired replicates again this soon after the
/// CA holder is reachable.
const MOST_PAUSE: Duration = Duration::from_secs(30);

/// Renews the certificate of a member whenever that is due, and uses the new one for all links. Runs until it is
/// dropped.
pub(super) async fn keep_valid(membership: Arc<Membership>, store: Store, data: PathBuf) {
    let environment = SystemEnvironment::new();
    let mut pause = FIRST_PAUSE;
    loop {
        let addresses = addresses(&membership, &store);
        let renewed = renew_if_due(&data, &addresses, environment.now_ms() / 1000).await;
        let failure = match renewed {
            Ok(None) => None,
            Ok(Some(location)) => {
                let expiry = location.expiry;
                let used = membership.renewed(identity(&location), expiry).await;
                if used.is_ok() {
                    let end = day(expiry.location);
                    tracing::info!("renewed the certificate of this location: it expires on {end}");
                }
                used.err().map(|error| error.to_string())
            }
            Err(error) => Some(error.to_string()),
        };
        let Some(failure) = failure else {
            pause = FIRST_PAUSE;
            sleep(CHECK).await;
            continue;
        };
        if pause == FIRST_PAUSE {
            tracing::warn!("the certificate was not renewed, and this location retries: {failure}");
        }
        membership.renewal_failed(failure);
        // Locations that failed at once do not retry at once.
        let random = environment.random_id().map_or(0, |bytes| bytes[0]);
        sleep(pause.mul_f64(0.5 + f64::from(random) / 512.0)).await;
        pause = (2 * pause).min(MOST_PAUSE);
    }
}

/// The addresses of the other members: first of those that this location joined through, of which the first has the
/// CA's key.
fn addresses(membership: &Membership, store: &Store) -> Vec<Address> {
    let descriptor = membership.descriptor();
    let view = store.view();
    let current = |peer: &Peer| view.members().get(peer.member).map(Peer::of);
    let known =
        descriptor.dial.iter().flat_map(|peer| current(peer).into_iter().chain([peer.clone()]));
    let others = view.members().current().filter(|member| member.id != descriptor.member);
    let mut all: Vec<Address> = Vec::new();
    for address in known.chain(others.map(Peer::of)).flat_map(|peer| peer.addresses) {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}
