//! Dials a member: tries its addresses in their order, the next one beside one that does not answer.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kv_core::MemberId;
use quinn::{ClientConfig, Endpoint, TransportConfig};
use tokio::{net::lookup_host, time::timeout};

use super::{
    link_error::LinkError,
    proven::Proven,
    race::{Won, by_turns, race},
    tls::Tls,
};

/// How many of the addresses that a name resolves to are tried.
const MAX_ADDRESSES: usize = 32;

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
        first(addresses.to_vec(), attempt).await
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
        first(by_turns(found.take(MAX_ADDRESSES)), attempt).await
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

/// Tries addresses of a member. Those of them that failed are named with the link.
///
/// # Errors
/// The errors of all addresses, if none leads to the member.
async fn first<A, F>(addresses: Vec<A>, attempt: impl Fn(A) -> F) -> Result<Proven, LinkError>
where
    A: ToString,
    F: Future<Output = Result<Proven, LinkError>> + Send + 'static,
{
    match race(addresses, attempt).await {
        Ok(Won { value, failed }) => {
            let failed = failed.into_iter().chain(value.failed.iter().cloned()).collect();
            Ok(Proven { failed, ..value })
        }
        Err(mut errors) if errors.len() == 1 => Err(errors.remove(0)),
        Err(errors) if errors.is_empty() => Err(LinkError::NoAddress),
        Err(errors) => Err(LinkError::All(errors)),
    }
}
