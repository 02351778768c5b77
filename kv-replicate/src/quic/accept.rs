//! Peers that dial: few at a time, and at little cost until they have proven who they are.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quinn::{Connection, Endpoint, Incoming, VarInt};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

use super::{
    Config,
    config::{Guests, ServeGuest},
    driver::Input,
    link::{Ended, Proven},
    status::Doorkeeping,
    tls::{protocol, proven},
};

/// The code of a connection that is closed because its peer has not proven anything.
const NOT_PROVEN: VarInt = VarInt::from_u32(3);

/// Counts the handshakes that are under way.
pub(super) struct Acceptor {
    cluster: [u8; 16],
    guests: Option<Guests>,
    window: VarInt,
    patience: Duration,
    most: usize,
    most_of_one: usize,
    under_way: Mutex<UnderWay>,
    refused: AtomicU64,
    failed: AtomicU64,
}

#[derive(Debug, Default)]
struct UnderWay {
    all: usize,
    of: BTreeMap<IpAddr, usize>,
}

/// A place among the handshakes that are under way.
struct Place {
    acceptor: Arc<Acceptor>,
    address: IpAddr,
}

enum Admission {
    Yes(Place),
    /// First it is to show that it is where it says.
    Retry,
    No,
}

impl Acceptor {
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
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> Doorkeeping {
        Doorkeeping {
            under_way: self.under_way().all,
            refused: self.refused.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// Lets peers in until the endpoint is closed.
    pub(super) async fn keep(self: Arc<Acceptor>, endpoint: Endpoint, inputs: mpsc::Sender<Input>) {
        let mut handshakes = JoinSet::new();
        loop {
            tokio::select! {
                incoming = endpoint.accept() => {
                    let Some(incoming) = incoming else { return };
                    if let Some((incoming, place)) = self.admit(incoming) {
                        handshakes.spawn(shake(incoming, place, inputs.clone()));
                    }
                }
                Some(_ended) = handshakes.join_next() => {}
            }
        }
    }

    fn admit(self: &Arc<Acceptor>, incoming: Incoming) -> Option<(Incoming, Place)> {
        let address = network_of(incoming.remote_address().ip());
        match self.judge(address, incoming.remote_address_validated()) {
            Admission::Yes(place) => return Some((incoming, place)),
            Admission::Retry => {
                if let Err(error) = incoming.retry() {
                    error.into_incoming().ignore();
                }
            }
            Admission::No => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                // Not a word: a flood should not double itself.
                incoming.ignore();
            }
        }
        None
    }

    fn judge(self: &Arc<Acceptor>, address: IpAddr, is_checked: bool) -> Admission {
        let mut under_way = self.under_way();
        let of_one = under_way.of.get(&address).copied().unwrap_or(0);
        let is_much = under_way.all >= self.most / 4 || of_one >= self.most_of_one / 2;
        // Who can't be reached at an address must not use up what its owner may have.
        if is_much && !is_checked {
            return Admission::Retry;
        }
        if under_way.all >= self.most || of_one >= self.most_of_one {
            return Admission::No;
        }
        under_way.all += 1;
        *under_way.of.entry(address).or_default() += 1;
        Admission::Yes(Place { acceptor: Arc::clone(self), address })
    }
}

/// What counts as one address where strangers are counted: of IPv6 all that one network may have (`/64`); an
/// IPv4 address in IPv6 as such.
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

async fn shake(incoming: Incoming, place: Place, inputs: mpsc::Sender<Input>) {
    let address = incoming.remote_address();
    let acceptor = Arc::clone(&place.acceptor);
    let shaken = timeout(acceptor.patience, prove(incoming, &acceptor)).await;
    match shaken.unwrap_or(Err(Ended::Wrong("it takes too long to prove who it is"))) {
        Ok(Shaken::Guest(connection, serve)) => {
            drop(place);
            serve(connection).await;
        }
        Ok(Shaken::Link(proven)) => {
            drop(place);
            let _over = inputs.send(Input::Up(proven)).await;
        }
        Err(ended) => {
            acceptor.failed.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%address, %ended, "a peer was not let in");
        }
    }
}

/// What a handshake came to.
enum Shaken {
    Link(Proven),
    Guest(Connection, ServeGuest),
}

async fn prove(incoming: Incoming, acceptor: &Acceptor) -> Result<Shaken, Ended> {
    let lost = |error: quinn::ConnectionError| Ended::Lost(error.to_string());
    let connection = incoming.accept().map_err(lost)?.await.map_err(lost)?;
    if let Some(guests) = &acceptor.guests
        && protocol(&connection).as_deref() == Some(&guests.alpn)
    {
        return Ok(Shaken::Guest(connection, Arc::clone(&guests.serve)));
    }
    let Some(peer) = proven(&connection, acceptor.cluster) else {
        connection.close(NOT_PROVEN, b"no member's certificate");
        return Err(Ended::Wrong("its certificate names no member"));
    };
    connection.set_receive_window(acceptor.window);
    Proven::new(peer, connection, false, acceptor.patience).await.map(Shaken::Link)
}
