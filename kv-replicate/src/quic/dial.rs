//! Dials a member: tries its addresses in their order, the next one beside one that does not answer.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use kv_core::MemberId;
use quinn::{ClientConfig, Endpoint, TransportConfig};
use tokio::{net::lookup_host, task::JoinSet, time::timeout};

use super::{link_error::LinkError, proven::Proven, tls::Tls};

/// How many of the addresses that a name resolves to are tried.
const MAX_ADDRESSES: usize = 4;

/// How long one address is tried alone. A round trip of half a second leaves room for a handshake.
const NEXT_AFTER: Duration = Duration::from_secs(2);

/// Everything that dialling a member takes.
#[derive(Clone)]
pub(super) struct Dialler {
    /// The endpoint to dial from.
    pub(super) endpoint: Endpoint,
    /// The proof of this location's identity, and the check of the peer's.
    pub(super) tls: Arc<Tls>,
    /// The transport settings of a link.
    pub(super) transport: Arc<TransportConfig>,
    /// How long one address may take, from the first packet to the control stream.
    pub(super) patience: Duration,
}

impl Dialler {
    /// Tries a member's addresses in their order, and resolves each of them again; see [`race`].
    ///
    /// # Errors
    /// The errors of all addresses, if none leads to the member.
    pub(super) async fn dial(
        &self,
        peer: MemberId,
        addresses: &[String],
    ) -> Result<Proven, LinkError> {
        let attempt = |address: String| {
            let dialler = self.clone();
            async move { dialler.dial_name(peer, &address).await }
        };
        race(addresses.to_vec(), attempt).await
    }

    /// Resolves an address, and tries what it resolves to.
    async fn dial_name(&self, peer: MemberId, address: &str) -> Result<Proven, LinkError> {
        let found = match timeout(self.patience, lookup_host(address)).await {
            Ok(found) => found.map_err(|error| LinkError::Lookup(error).at(address))?,
            Err(_elapsed) => return Err(LinkError::Timeout(self.patience).at(address)),
        };
        let attempt = |found: SocketAddr| {
            let (dialler, address) = (self.clone(), address.to_owned());
            async move {
                let tried = dialler.dial_one(peer, found).await;
                tried.map_err(|error| match found.to_string() {
                    number if number == address => error.at(&address),
                    number => error.at(&format!("{address} ({number})")),
                })
            }
        };
        race(found.take(MAX_ADDRESSES).collect(), attempt).await
    }

    /// Connects to one address, and checks that the member is there.
    async fn dial_one(&self, peer: MemberId, address: SocketAddr) -> Result<Proven, LinkError> {
        let mut config = ClientConfig::new(self.tls.client(peer)?);
        config.transport_config(Arc::clone(&self.transport));
        // The name does not matter: the certificate must name the member.
        let connecting = self.endpoint.connect_with(config, address, "waypost")?;
        let connection = timeout(self.patience, connecting)
            .await
            .map_err(|_elapsed| LinkError::Timeout(self.patience))??;
        Proven::new(peer, connection, true, self.patience).await
    }
}

/// Makes an attempt at each address in their order. The next one begins as soon as one has failed, and at the latest
/// after
/// [`NEXT_AFTER`]: an address that drops packets must not hold up the others. The first that leads to the member wins.
///
/// # Errors
/// The errors of all addresses, if none leads to the member.
async fn race<A, F>(addresses: Vec<A>, attempt: impl Fn(A) -> F) -> Result<Proven, LinkError>
where
    A: ToString,
    F: Future<Output = Result<Proven, LinkError>> + Send + 'static,
{
    let (mut waiting, mut attempts) = (addresses.into_iter(), JoinSet::new());
    let (mut under_way, mut failed) = (BTreeMap::new(), Vec::new());
    loop {
        let next = waiting.next();
        let is_last = next.is_none();
        if let Some(address) = next {
            let name = address.to_string();
            under_way.insert(attempts.spawn(attempt(address)).id(), name);
        }
        let limit = if is_last { Duration::MAX } else { NEXT_AFTER };
        // After the limit, the next address is tried beside this one.
        let Ok(ended) = timeout(limit, attempts.join_next_with_id()).await else { continue };
        match ended {
            Some(Ok((id, Ok(proven)))) => {
                under_way.remove(&id);
                let silent = under_way.values().map(|name| format!("{name}: no answer yet"));
                let others = failed.iter().map(ToString::to_string).chain(silent);
                let failed = others.chain(proven.failed.iter().cloned()).collect();
                return Ok(Proven { failed, ..proven });
            }
            Some(Ok((id, Err(error)))) => {
                under_way.remove(&id);
                failed.push(error);
            }
            Some(Err(error)) => failed.push(LinkError::Task(error)),
            None if is_last => break,
            None => {}
        }
    }
    Err(match failed.len() {
        0 => LinkError::NoAddress,
        1 => failed.remove(0),
        _ => LinkError::All(failed),
    })
}
