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
    /// Tries a member's addresses in their order, and resolves each of them again. The next one is tried as soon as one
    /// has failed, and at the latest after [`NEXT_AFTER`]: an address that drops packets must not hold up the others. The
    /// first that leads to the member wins.
    ///
    /// # Errors
    /// The errors of all addresses, if none leads to the member.
    pub(super) async fn dial(
        &self,
        peer: MemberId,
        addresses: &[String],
    ) -> Result<Proven, LinkError> {
        let (mut waiting, mut attempts) = (addresses.iter(), JoinSet::new());
        let (mut under_way, mut failed) = (BTreeMap::new(), Vec::new());
        loop {
            let next = waiting.next();
            let limit = if next.is_some() { NEXT_AFTER } else { Duration::MAX };
            if let Some(address) = next {
                let (dialler, name) = (self.clone(), address.clone());
                let task = attempts.spawn(async move { dialler.dial_name(peer, &name).await });
                under_way.insert(task.id(), address);
            }
            // After the limit, the next address is tried beside this one.
            let Ok(ended) = timeout(limit, attempts.join_next_with_id()).await else { continue };
            match ended {
                Some(Ok((id, Ok(proven)))) => {
                    under_way.remove(&id);
                    let silent = under_way.values().map(|address| format!("{address}: no answer"));
                    let failed = failed.iter().map(ToString::to_string).chain(silent).collect();
                    return Ok(Proven { failed, ..proven });
                }
                Some(Ok((id, Err(error)))) => {
                    under_way.remove(&id);
                    failed.push(error);
                }
                Some(Err(error)) => failed.push(LinkError::Task(error)),
                None if next.is_none() => break,
                None => {}
            }
        }
        Err(if failed.is_empty() { LinkError::NoAddress } else { LinkError::All(failed) })
    }

    /// Resolves an address, and tries what it resolves to.
    async fn dial_name(&self, peer: MemberId, address: &str) -> Result<Proven, LinkError> {
        let found = match timeout(self.patience, lookup_host(address)).await {
            Ok(found) => found.map_err(|error| LinkError::Lookup(error).at(address))?,
            Err(_elapsed) => return Err(LinkError::Timeout(self.patience).at(address)),
        };
        let mut last = LinkError::NoAddress;
        for found in found.take(MAX_ADDRESSES) {
            match self.dial_one(peer, found).await {
                Ok(proven) => return Ok(proven),
                Err(error) => last = error,
            }
        }
        Err(last.at(address))
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
