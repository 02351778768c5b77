//! Dials a member: tries its addresses in their order.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kv_core::MemberId;
use quinn::{ClientConfig, Endpoint, TransportConfig};
use tokio::{net::lookup_host, time::timeout};

use super::{link_error::LinkError, proven::Proven, tls::Tls};

/// How many of the addresses that a name resolves to are tried.
const MAX_ADDRESSES: usize = 4;

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
    /// Tries a member's addresses, and resolves each of them again. Returns the last error if none leads
    /// to the member.
    pub(super) async fn dial(
        &self,
        peer: MemberId,
        addresses: &[String],
    ) -> Result<Proven, LinkError> {
        let mut last = LinkError::NoAddress;
        for address in addresses {
            let found = match timeout(self.patience, lookup_host(address)).await {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => {
                    last = LinkError::Lookup(error).at(address);
                    continue;
                }
                Err(_elapsed) => {
                    last = LinkError::Timeout(self.patience).at(address);
                    continue;
                }
            };
            for found in found.take(MAX_ADDRESSES) {
                match self.dial_one(peer, found).await {
                    Ok(proven) => return Ok(proven),
                    Err(error) => last = error.at(address),
                }
            }
        }
        Err(last)
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
