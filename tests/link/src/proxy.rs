//! The proxy: a port, and a thread that waits for packets and delivers them when they are due.

mod pump;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use crate::{Conditions, Counts, Ways, link::Link};

use self::pump::Pump;

/// A proxy in front of one location's UDP port. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    link: Arc<Mutex<Link>>,
    /// Closing it ends the thread.
    alive: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy on any port of 127.0.0.1, in front of the port `to`, on which no process
    /// needs to listen yet. The conditions apply to all peers in both directions until they are
    /// changed. `seed` is the seed of all random choices.
    ///
    /// # Errors
    /// If the system has no port or thread for it.
    pub fn start(to: SocketAddr, conditions: Conditions, seed: u64) -> io::Result<Proxy> {
        let front = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = front.local_addr()?;
        let link = Arc::new(Mutex::new(Link::new(conditions, seed)));
        let (alive, watched) = UnixStream::pair()?;
        let pump = Pump::new(front, to, Arc::clone(&link), watched)?;
        let thread = std::thread::Builder::new().name("link".into()).spawn(move || pump.run())?;
        Ok(Proxy { address, link, alive: Some(alive), thread: Some(thread) })
    }

    /// The address to advertise in place of the location's own.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the conditions of all peers in both directions. Packets in flight keep their arrival
    /// times.
    pub fn set(&self, conditions: Conditions) {
        self.set_ways(Ways::Both, conditions);
    }

    /// Changes the conditions of all peers in these directions.
    pub fn set_ways(&self, ways: Ways, conditions: Conditions) {
        self.link().rules().set(ways, conditions);
    }

    /// Changes the conditions of one peer, until those of all peers are changed. A peer is
    /// identified by the address that its packets come from: the port on which a location listens.
    pub fn set_peer(&self, peer: SocketAddr, ways: Ways, conditions: Conditions) {
        self.link().rules().set_peer(peer, ways, conditions);
    }

    /// Drops all packets between one peer and the location in these directions.
    pub fn cut(&self, peer: SocketAddr, ways: Ways) {
        self.link().rules().cut(peer, ways);
    }

    /// Drops all packets in these directions.
    pub fn cut_all(&self, ways: Ways) {
        self.link().rules().cut_all(ways);
    }

    /// Ends the cuts of one peer. Cuts of all peers stay.
    pub fn heal_peer(&self, peer: SocketAddr) {
        self.link().rules().heal_peer(peer);
    }

    /// Ends all cuts.
    pub fn heal(&self) {
        self.link().rules().heal();
    }

    /// The counters since the start, over all peers.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.link().counts()
    }

    /// The counters of one peer.
    #[must_use]
    pub fn counts_of(&self, peer: SocketAddr) -> Counts {
        self.link().counts_of(peer)
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.alive.take());
        let ended = self.thread.take().map(JoinHandle::join);
        // A test that already fails has a reason of its own.
        if !std::thread::panicking() {
            assert!(!matches!(ended, Some(Err(_))), "the proxy's thread panicked");
        }
    }
}

/// Any port on the same address.
fn any_port(beside: SocketAddr) -> SocketAddr {
    let ip = match beside.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => ip.into(),
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(ip) if ip.is_loopback() => ip.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(ip, 0)
}
