//! Accepts the connections of peers: few at a time, and at little cost until they have proven their identity.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quinn::{Connection, Endpoint, Incoming, VarInt};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

use super::{
    code,
    config::{Config, Guests, ServeGuest},
    input::Input,
    link_error::LinkError,
    proven::Proven,
    socket::canonical,
    status::Handshakes,
    tls::{protocol, proven},
};

/// Bounds and counts the handshakes with peers that dial.
pub(super) struct Acceptor {
    /// The cluster that certificates of links must name.
    cluster: [u8; 16],
    /// The protocol for peers without a certificate, if there is one.
    guests: Option<Guests>,
    /// The receive window of a connection once its peer has proven a membership, in bytes.
    window: VarInt,
    /// How long a handshake may take.
    patience: Duration,
    /// The most handshakes under way in total.
    most: usize,
    /// The most handshakes under way from one address, as `network_of` counts addresses.
    most_of_one: usize,
    /// The handshakes that are under way now.
    under_way: Mutex<UnderWay>,
    /// How many connections were refused because too many handshakes were under way.
    rejected: AtomicU64,
    /// How many handshakes failed.
    failed: AtomicU64,
    /// Why members are refused, once this location does not replicate any more.
    refusal: OnceLock<String>,
}

/// The handshakes that are under way, in total and for each address.
#[derive(Debug, Default)]
struct UnderWay {
    /// Their number in total.
    all: usize,
    /// Their number for each address; addresses without any have no entry.
    of: BTreeMap<IpAddr, usize>,
}

/// A place among the handshakes that are under way. Dropping it frees the place.
struct Place {
    /// Where the place is counted.
    acceptor: Arc<Acceptor>,
    /// The address that it is counted for.
    address: IpAddr,
}

/// The decision about a new connection.
enum Admission {
    /// Begin the handshake, which holds this place.
    Admit(Place),
    /// The peer must first prove that it receives packets at its address.
    Validate,
    /// Drop the connection: all places are taken.
    Reject,
}

impl Acceptor {
    /// Creates an acceptor with the bounds of the configuration.
    pub(super) fn new(config: &Config) -> Arc<Acceptor> {
        let tuning = &config.tuning;
        Arc::new(Acceptor {
            cluster: config.cluster,
            guests: config.guests.clone(),
            window: VarInt::from_u32(tuning.window_bytes),
            patience: tuning.handshake,
            most: tuning.max_handshakes.max(1),
            most_of_one: tuning.max_handshakes_per_address.max(1),
            under_way: Mutex::default(),
            rejected: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            refusal: OnceLock::new(),
        })
    }

    /// The count of handshakes.
    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on members receive this reason, and get no link.
    pub(super) fn refuse(&self, reason: String) {
        let _first = self.refusal.set(reason);
    }

    /// The counts, for the status.
    pub(super) fn state(&self) -> Handshakes {
        Handshakes {
            under_way: self.under_way().all,
            rejected: self.rejected.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// Accepts peers until the endpoint is closed.
    pub(super) async fn run(self: Arc<Acceptor>, endpoint: Endpoint, inputs: mpsc::Sender<Input>) {
        let mut handshakes = JoinSet::new();
        loop {
            tokio::select! {
                incoming = endpoint.accept() => {
                    let Some(incoming) = incoming else { return };
                    if let Some((incoming, place)) = self.admit(incoming) {
                        handshakes.spawn(handshake(incoming, place, inputs.clone()));
                    }
                }
                Some(_ended) = handshakes.join_next() => {}
            }
        }
    }

    /// Admits a connection, or answers it with a retry or not at all.
    fn admit(self: &Arc<Acceptor>, incoming: Incoming) -> Option<(Incoming, Place)> {
        let address = network_of(incoming.remote_address().ip());
        match self.judge(address, incoming.remote_address_validated()) {
            Admission::Admit(place) => return Some((incoming, place)),
            Admission::Validate => {
                if let Err(error) = incoming.retry() {
                    error.into_incoming().ignore();
                }
            }
            Admission::Reject => {
                self.rejected.fetch_add(1, Ordering::Relaxed);
                // Without an answer: a flood should not double itself.
                incoming.ignore();
            }
        }
        None
    }

    /// Decides about a new connection from an address, which may have been validated.
    fn judge(self: &Arc<Acceptor>, address: IpAddr, is_checked: bool) -> Admission {
        let mut under_way = self.under_way();
        let of_one = under_way.of.get(&address).copied().unwrap_or(0);
        let is_busy = under_way.all >= self.most / 4 || of_one >= self.most_of_one / 2;
        // A sender with a forged address must not use up the places of that address's owner.
        if is_busy && !is_checked {
            return Admission::Validate;
        }
        if under_way.all >= self.most || of_one >= self.most_of_one {
            return Admission::Reject;
        }
        under_way.all += 1;
        *under_way.of.entry(address).or_default() += 1;
        Admission::Admit(Place { acceptor: Arc::clone(self), address })
    }
}

/// Returns what counts as one address where unauthenticated peers are counted: the network (`/64`) of an
/// IPv6 address, and an IPv4 address as such, even if it is written as IPv6.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & (u128::MAX << 64)).into()),
        v4 => v4,
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = self.acceptor.under_way();
        under_way.all = under_way.all.saturating_sub(1);
        if let Some(count) = under_way.of.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                under_way.of.remove(&self.address);
            }
        }
    }
}

/// Shakes hands with a peer and reports its link, or hands a guest on.
async fn handshake(incoming: Incoming, place: Place, inputs: mpsc::Sender<Input>) {
    let address = canonical(incoming.remote_address());
    let acceptor = Arc::clone(&place.acceptor);
    let done = timeout(acceptor.patience, prove(incoming, &acceptor)).await;
    match done.unwrap_or(Err(LinkError::Timeout(acceptor.patience))) {
        Ok(Done::Guest(connection, serve)) => {
            drop(place);
            serve(connection).await;
        }
        Ok(Done::Link(proven)) => {
            drop(place);
            let _over = inputs.send(Input::Up(proven)).await;
        }
        Err(error) => {
            acceptor.failed.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%address, %error, "the handshake with a peer failed");
        }
    }
}

/// The result of a handshake.
enum Done {
    /// A link to a member.
    Link(Proven),
    /// A connection of the other protocol, with the function that serves it.
    Guest(Connection, ServeGuest),
}

/// Completes the handshake, and checks what the peer has proven.
async fn prove(incoming: Incoming, acceptor: &Acceptor) -> Result<Done, LinkError> {
    let connection = incoming.accept()?.await?;
    if let Some(guests) = &acceptor.guests
        && protocol(&connection).as_deref() == Some(&guests.alpn)
    {
        return Ok(Done::Guest(connection, Arc::clone(&guests.serve)));
    }
    let Some(peer) = proven(&connection, acceptor.cluster) else {
        connection.close(code::NOT_PROVEN, b"no member's certificate");
        return Err(LinkError::Violation("its certificate names no member"));
    };
    if let Some(reason) = acceptor.refusal.get() {
        connection.close(code::HALTED, reason.as_bytes());
        return Err(LinkError::Closed);
    }
    connection.set_receive_window(acceptor.window);
    Proven::new(peer, connection, false, acceptor.patience).await.map(Done::Link)
}
