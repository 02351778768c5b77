//! What a replica is told.

use std::{fmt, net::SocketAddr, num::NonZeroU32, pin::Pin, sync::Arc, time::Duration};

use kv_core::{
    MemberId,
    env::{Environment, SystemEnvironment},
};

use crate::Notice;

/// Is told what the owner of a location should know: for alarms, say. Called by the task that owns the
/// core: must not block. Each is logged anyway.
pub type OnNotice = Arc<dyn Fn(&Notice) + Send + Sync>;

/// Another protocol on the replica's port, for those who have no certificate yet: to ask for one, say.
///
/// A connection that speaks it has proven nothing. It may hold [`GUEST_WINDOW_BYTES`] in memory, and open
/// one stream in both directions and three in one; the rest is for `serve` to bound: how many there are,
/// and for how long.
#[derive(Clone)]
pub struct Guests {
    /// Its name in the handshake (ALPN).
    pub alpn: Vec<u8>,
    /// Serves one connection, and is dropped when the replica closes.
    pub serve: ServeGuest,
}

/// See [`Guests::serve`].
pub type ServeGuest =
    Arc<dyn Fn(quinn::Connection) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// The most bytes that came from one who has proven nothing, and were not read.
pub const GUEST_WINDOW_BYTES: u32 = 128 << 10;

/// Who a replica is, and with whom it talks.
#[derive(Clone)]
pub struct Config {
    /// The UDP address to listen on, and to dial from.
    pub listen: SocketAddr,
    /// Which cluster.
    pub cluster: [u8; 16],
    /// Which member of it.
    pub member: MemberId,
    /// What proves that.
    pub identity: Identity,
    /// Members that are dialled although the store does not know them (yet), with their addresses
    /// (`host:port`): of a new location, those through which it joins. What the store says of a member
    /// is tried first.
    pub bootstrap: Vec<(MemberId, Vec<String>)>,
    /// What else its port serves.
    pub guests: Option<Guests>,
    /// Times and bounds.
    pub tuning: Tuning,
    /// Who is told what the owner should know.
    pub on_notice: Option<OnNotice>,
    /// Where time and randomness come from.
    pub environment: Arc<dyn Environment>,
}

impl Config {
    /// A configuration with the defaults, for a location that knows nobody yet or has all in its store.
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
            environment: Arc::new(SystemEnvironment::new()),
        }
    }
}

/// What proves who a location is. All in DER.
///
/// The certificate names the location in a URI among its subject's alternative names, and in no other of
/// that scheme: [`member_uri`](super::member_uri). It must serve for clients and for servers, and have been
/// issued by one of the authorities. The same is asked of each peer.
#[derive(Clone)]
pub struct Identity {
    /// The cluster's authority: one certificate, or two while one takes the place of the other.
    pub authorities: Vec<Vec<u8>>,
    /// The location's certificate, then those between it and the authority.
    pub chain: Vec<Vec<u8>>,
    /// The certificate's private key: PKCS#8, SEC1 or PKCS#1.
    pub key: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Times and bounds of links. The defaults serve from one rack to opposite ends of the world.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// How often an idle link is proven to be up. Default 3 s.
    pub keep_alive: Duration,
    /// A link on which nothing came for so long is down. Default 15 s.
    pub idle: Duration,
    /// How long a peer may take to prove who it is. Default 5 s.
    pub handshake: Duration,
    /// The most bytes of one stream that may be under way: 1 Gbit/s over 250 ms. Default 32 MiB.
    pub stream_window_bytes: u32,
    /// The most bytes of one link that may be under way, in each direction. Default 64 MiB.
    pub window_bytes: u32,
    /// Whether larger packets are tried out. Off where a path loses them without a word. Default on.
    pub mtu_discovery: bool,
    /// Whether the system may cut packets (GSO). Off where a network driver does it wrong. Default on.
    pub segmentation_offload: bool,
    /// How many handshakes may be under way with peers that dial; from a quarter of it on, their
    /// addresses are checked first. Default 128.
    pub max_handshakes: usize,
    /// How many of them from one address. Default 16.
    pub max_handshakes_per_address: usize,
    /// How fast catch-up and large bodies are sent to one peer, in bytes per second; none for as fast
    /// as it goes. Default none.
    pub catch_up_bytes_per_second: Option<NonZeroU32>,
    /// How long the member with the higher id waits to be dialled before it dials. Default 5 s.
    pub dial_patience: Duration,
    /// How long is waited after a first failure to dial; doubled with each more. Default 200 ms.
    pub retry_first: Duration,
    /// How long is waited at most. Default 15 s.
    pub retry_most: Duration,
    /// See [`crate::Config::backlog_bytes`]. Default 8 MiB.
    pub backlog_bytes: usize,
    /// See [`crate::Config::batch_rows`]. Default 4,096.
    pub batch_rows: usize,
    /// See [`crate::Config::max_ahead_ms`]. Default 500.
    pub max_ahead_ms: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            keep_alive: Duration::from_secs(3),
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
            max_ahead_ms: 500,
        }
    }
}
