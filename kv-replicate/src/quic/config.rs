//! The configuration of a replica.

use std::{fmt, net::SocketAddr, num::NonZeroU32, pin::Pin, sync::Arc, time::Duration};

use kv_core::{
    MemberId,
    env::{Environment, SystemEnvironment},
};

use crate::{Notice, SalvagedRow};

/// A function that gets each notice for the owner of a location, for example to raise alarms. The task that
/// owns the core calls it: it must not block. Each notice is also logged.
pub type OnNotice = Arc<dyn Fn(&Notice) + Send + Sync>;

/// A function that keeps writes which a rebuild is about to drop: see [`Notice::Salvage`]. They must be durable when it
/// returns. If it returns an error they stay in the store, the location serves no peer meanwhile, and the function is called
/// again after some seconds, with these writes and perhaps others. A thread for blocking work calls it.
pub type Salvage = Arc<dyn Fn(&[SalvagedRow]) -> Result<(), SalvageError> + Send + Sync>;

/// Why writes could not be kept.
pub type SalvageError = Box<dyn std::error::Error + Send + Sync>;

/// Another protocol on the replica's port, for peers that have no certificate yet, for example to request
/// one.
///
/// A connection of this protocol is unauthenticated. It may hold [`GUEST_WINDOW_BYTES`] in memory, and open
/// one stream in both directions and three in one. `serve` bounds the rest: the number of connections and
/// their duration.
#[derive(Clone)]
pub struct Guests {
    /// Its name in the handshake (ALPN).
    pub alpn: Vec<u8>,
    /// Serves one connection. The future is dropped when the replica closes.
    pub serve: ServeGuest,
}

/// See [`Guests::serve`].
pub type ServeGuest =
    Arc<dyn Fn(quinn::Connection) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// The most bytes of an unauthenticated connection that were received and not read.
pub const GUEST_WINDOW_BYTES: u32 = 128 << 10;

/// The identity of a replica, its first peers, and its settings.
#[derive(Clone)]
pub struct Config {
    /// The UDP address to listen on, and to dial from.
    pub listen: SocketAddr,
    /// The cluster's id.
    pub cluster: [u8; 16],
    /// This location's member id.
    pub member: MemberId,
    /// The certificates that prove it.
    pub identity: Identity,
    /// Members that are dialled although the store does not know them yet, with their addresses
    /// (`host:port`): for a new location, the ones that it joins through. Addresses in the store are tried
    /// first.
    pub bootstrap: Vec<(MemberId, Vec<String>)>,
    /// Another protocol on the same port.
    pub guests: Option<Guests>,
    /// Times and bounds.
    pub tuning: Tuning,
    /// Gets each notice for the owner.
    pub on_notice: Option<OnNotice>,
    /// Keeps the writes that a rebuild is about to drop. Without it, a rebuild that finds such writes does not end.
    pub salvage: Option<Salvage>,
    /// The source of time and randomness.
    pub environment: Arc<dyn Environment>,
}

impl Config {
    /// Creates a configuration with the defaults: no bootstrap members, no guests.
    #[must_use]
    pub fn new(
        listen: SocketAddr,
        cluster: [u8; 16],
        member: MemberId,
        identity: Identity,
    ) -> Config {
        Config {
            listen,
            cluster,
            member,
            identity,
            bootstrap: Vec::new(),
            guests: None,
            tuning: Tuning::default(),
            on_notice: None,
            salvage: None,
            environment: Arc::new(SystemEnvironment::new()),
        }
    }
}

/// The proof of a location's identity. Everything is DER.
///
/// The certificate names the location in a URI among its subject's alternative names, and in no other of
/// that scheme: [`member_uri`](super::member_uri). It must be valid for clients and for servers, and one of
/// the authorities must have issued it. Each peer must have the same.
#[derive(Clone)]
pub struct Identity {
    /// The cluster's authority: one certificate, or two while one replaces the other.
    pub authorities: Vec<Vec<u8>>,
    /// The location's certificate, then the ones between it and the authority.
    pub chain: Vec<Vec<u8>>,
    /// The certificate's private key: PKCS#8, SEC1 or PKCS#1.
    pub key: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Times and bounds of links. The defaults fit paths from one rack to opposite ends of the world.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// How often a packet is sent on an idle link, so that each end knows that the other was heard recently. Default 1 s.
    pub keep_alive: Duration,
    /// A link on which nothing arrived for this long is down. Default 15 s.
    pub idle: Duration,
    /// How long a peer may take to prove its identity. Default 5 s.
    pub handshake: Duration,
    /// The most bytes of one stream that may be under way: 1 Gbit/s over 250 ms. Default 32 MiB.
    pub stream_window_bytes: u32,
    /// The most bytes of one link that may be under way, in each direction. Default 64 MiB.
    pub window_bytes: u32,
    /// Whether larger packets are probed. Switch it off where a path drops them silently. Default on.
    pub mtu_discovery: bool,
    /// Whether the system may segment packets (GSO). Switch it off where a network driver fails to. Default
    /// on.
    pub segmentation_offload: bool,
    /// How many handshakes with peers that dial may be under way. From a quarter of it on, peers must
    /// validate their addresses first. Default 128.
    pub max_handshakes: usize,
    /// How many of them from one address. Default 16.
    pub max_handshakes_per_address: usize,
    /// The rate at which catch-up and large bodies are sent to one peer, in bytes per second; none for no
    /// bound. Default none.
    pub catch_up_bytes_per_second: Option<NonZeroU32>,
    /// How long the member with the higher id waits to be dialled before it dials. Default 5 s.
    pub dial_patience: Duration,
    /// The wait after a first failure to dial; doubled with each further one. Default 200 ms.
    pub retry_first: Duration,
    /// The longest wait after a failure. Default 15 s.
    pub retry_most: Duration,
    /// See [`crate::Config::backlog_bytes`]. Default 8 MiB.
    pub backlog_bytes: usize,
    /// See [`crate::Config::batch_rows`]. Default 4,096.
    pub batch_rows: usize,
    /// See [`crate::Config::max_clock_skew_ms`]. Default 500.
    pub max_clock_skew_ms: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            keep_alive: Duration::from_secs(1),
            idle: Duration::from_secs(15),
            handshake: Duration::from_secs(5),
            stream_window_bytes: 32 << 20,
            window_bytes: 64 << 20,
            mtu_discovery: true,
            segmentation_offload: true,
            max_handshakes: 128,
            max_handshakes_per_address: 16,
            catch_up_bytes_per_second: None,
            dial_patience: Duration::from_secs(5),
            retry_first: Duration::from_millis(200),
            retry_most: Duration::from_secs(15),
            backlog_bytes: 8 << 20,
            batch_rows: 4_096,
            max_clock_skew_ms: 500,
        }
    }
}
