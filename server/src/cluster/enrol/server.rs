//! The inviting location's side: one request and one answer for each connection.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use kv_core::env::Environment;
use quinn::{
    Connection, Endpoint, Incoming, ServerConfig, TransportConfig, VarInt,
    crypto::rustls::QuicServerConfig,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::timeout,
};

use super::{
    MAX_MESSAGE_BYTES, PATIENCE,
    authority::{Authority, Newcomer, serve},
    message::{Request, Response, decode_request, encode},
    tls,
};
use crate::cluster::{about::Peer, location::Location};

/// How many newcomers are heard at a time. Joins are rare; more would be a flood.
const NEWCOMERS: usize = 16;

/// Makes a newcomer a member and names those whom it can dial, as [`super::admit_to`] does. It may
/// block.
pub type Admit = Box<dyn Fn(&Newcomer) -> Result<Vec<Peer>, String> + Send + Sync>;

/// Where newcomers come in.
pub struct Door {
    authority: Mutex<Authority>,
    admit: Admit,
    environment: Arc<dyn Environment>,
    places: Arc<Semaphore>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl Door {
    /// A door that opens to tokens of this authority.
    #[must_use]
    pub fn new(authority: Authority, admit: Admit, environment: Arc<dyn Environment>) -> Door {
        let places = Arc::new(Semaphore::new(NEWCOMERS));
        Door { authority: Mutex::new(authority), admit, environment, places }
    }

    /// Hears the newcomer at the other end of a connection whose ALPN is [`super::ALPN`]: one
    /// request, one answer, within [`PATIENCE`]. It needs no certificate of the other side.
    ///
    /// Dropped, it closes the connection; a newcomer that was let in by then asks again.
    pub async fn hear(self: &Arc<Self>, connection: Connection) {
        let remote = connection.remote_address();
        let Some(place) = self.place() else {
            connection.close(BUSY, b"too many newcomers at a time: try again");
            return;
        };
        let heard = timeout(PATIENCE, self.exchange(&connection, place)).await;
        match heard {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%remote, "a newcomer went away: {error}"),
            Err(_elapsed) => tracing::debug!(%remote, "a newcomer took too long"),
        }
        connection.close(VarInt::from_u32(0), b"");
    }

    fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    async fn exchange(
        self: &Arc<Self>,
        connection: &Connection,
        place: OwnedSemaphorePermit,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (mut send, mut receive) = connection.accept_bi().await?;
        let bytes = receive.read_to_end(MAX_MESSAGE_BYTES).await?;
        let response = match decode_request(&bytes) {
            Ok(request) => {
                let door = Arc::clone(self);
                // The place is taken as long as the work goes on, whoever waits for it.
                let work = move || {
                    let _place = place;
                    door.answer(&request)
                };
                tokio::task::spawn_blocking(work).await?
            }
            Err(error) => Response::Refused(error.to_string()),
        };
        send.write_all(&encode(&response)).await?;
        send.finish()?;
        // Closing before the answer is there would throw it away.
        send.stopped().await?;
        Ok(())
    }

    fn answer(&self, request: &Request) -> Response {
        // Whatever a panic left, the authority's files are whole, and it reads them anew.
        let mut authority = self.authority.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.environment.now_ms() / 1000;
        serve(request, &mut authority, &mut |newcomer| (self.admit)(newcomer), now)
    }

    /// Hears newcomers on an endpoint of their own, until it is closed.
    pub async fn serve(self: Arc<Self>, endpoint: Endpoint) {
        let mut newcomers = JoinSet::new();
        while let Some(incoming) = endpoint.accept().await {
            while newcomers.try_join_next().is_some() {}
            // Handshakes count too; connections that are heard have places beside.
            if newcomers.len() >= 2 * NEWCOMERS {
                incoming.refuse();
                continue;
            }
            let door = Arc::clone(&self);
            newcomers.spawn(async move { door.greet(incoming).await });
        }
        newcomers.join_all().await;
    }

    async fn greet(self: &Arc<Self>, incoming: Incoming) {
        let remote = incoming.remote_address();
        match timeout(PATIENCE, incoming).await {
            Ok(Ok(connection)) => self.hear(connection).await,
            Ok(Err(error)) => tracing::debug!(%remote, "no handshake: {error}"),
            Err(_elapsed) => tracing::debug!(%remote, "no handshake in time"),
        }
    }
}

const BUSY: VarInt = VarInt::from_u32(1);

/// Listens for newcomers alone, on an endpoint of its own.
///
/// # Errors
/// If the port is taken, or the library does not take the certificate.
pub fn listen(address: SocketAddr, location: &Location) -> io::Result<Endpoint> {
    let tls = tls::server_config(location).map_err(io::Error::other)?;
    let quic = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut transport = TransportConfig::default();
    let window = u32::try_from(MAX_MESSAGE_BYTES).unwrap_or(u32::MAX);
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(window))
        .receive_window(VarInt::from_u32(window))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(PATIENCE.try_into().map_err(io::Error::other)?));
    let mut config = ServerConfig::with_crypto(Arc::new(quic));
    config.transport_config(Arc::new(transport));
    Endpoint::server(config, address)
}
