//! Dialling a member: its addresses in their order, again and again.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kv_core::MemberId;
use quinn::{ClientConfig, Endpoint, TransportConfig};
use tokio::{net::lookup_host, time::timeout};

use super::{
    link::{Ended, Proven},
    tls::Tls,
};

/// How many of the addresses that a name stands for are tried.
const MOST_OF_ONE_NAME: usize = 4;

/// What a member is dialled with.
#[derive(Clone)]
pub(super) struct Dialler {
    pub(super) endpoint: Endpoint,
    pub(super) tls: Arc<Tls>,
    pub(super) transport: Arc<TransportConfig>,
    pub(super) patience: Duration,
}

impl Dialler {
    /// Tries a member's addresses, and looks up each anew; the last failure if none leads to it.
    pub(super) async fn dial(&self, peer: MemberId, addresses: &[String]) -> Result<Proven, Ended> {
        let mut ended = Ended::Lost("no address of it is known".into());
        for address in addresses {
            let found = match timeout(self.patience, lookup_host(address)).await {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => {
                    ended = Ended::Lost(format!("{address}: {error}"));
                    continue;
                }
                Err(_) => {
                    ended = Ended::Lost(format!("{address}: no answer to what it stands for"));
                    continue;
                }
            };
            for found in found.take(MOST_OF_ONE_NAME) {
                match self.dial_one(peer, found).await {
                    Ok(proven) => return Ok(proven),
                    Err(error) => ended = Ended::Lost(format!("{address}: {error}")),
                }
            }
        }
        Err(ended)
    }

    async fn dial_one(&self, peer: MemberId, address: SocketAddr) -> Result<Proven, Ended> {
        let lost = |error: &dyn std::fmt::Display| Ended::Lost(error.to_string());
        let crypto = self.tls.client(peer).map_err(|error| lost(&error))?;
        let mut config = ClientConfig::new(crypto);
        config.transport_config(Arc::clone(&self.transport));
        // The name is of no account: the certificate must name the member.
        let connecting = self.endpoint.connect_with(config, address, "waypost");
        let connecting = connecting.map_err(|error| lost(&error))?;
        let connection = timeout(self.patience, connecting).await;
        let connection = connection
            .map_err(|_elapsed| Ended::Lost("no answer".into()))?
            .map_err(|error| lost(&error))?;
        Proven::new(peer, connection, true, self.patience).await
    }
}
