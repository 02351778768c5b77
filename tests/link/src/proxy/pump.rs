//! The proxy's thread, which moves packets between sockets.
//!
//! It waits in `ppoll`, whose timeout has a resolution of nanoseconds. The timers of an async
//! runtime, with a resolution of a millisecond, would dominate the short delays inside a data
//! centre.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, UdpSocket},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use kv_core::env::{Environment as _, SystemEnvironment};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt,
};

use super::any_port;
use crate::{
    Way,
    link::{Link, Packet},
};

/// The socket buffer for packets that arrive while the thread is not running: 40 ms at 800 Mbit/s.
const SOCKET_BYTES: usize = 4 << 20;

/// The number of packets that are read from one socket before the others are read and due packets
/// are sent.
const BATCH: usize = 32;

/// The greatest number of legs. A peer that dials from ever new ports must not use up the process's
/// file descriptors; the leg that was silent for longest is closed.
const LEGS: usize = 128;

/// A processor takes long to wake from a deep sleep: the thread wakes this much earlier than a
/// packet is due, and waits once more.
const DOZE: Duration = Duration::from_millis(1);

/// The largest datagram.
const DATAGRAM_BYTES: usize = 65_535;

pub(super) struct Pump {
    front: UdpSocket,
    to: SocketAddr,
    legs: BTreeMap<SocketAddr, Leg>,
    link: Arc<Mutex<Link>>,
    /// Becomes readable when the proxy is dropped.
    watched: UnixStream,
    clock: SystemEnvironment,
    buffer: Vec<u8>,
}

struct Leg {
    socket: UdpSocket,
    heard_at: Duration,
}

impl Pump {
    pub(super) fn new(
        front: UdpSocket,
        to: SocketAddr,
        link: Arc<Mutex<Link>>,
        watched: UnixStream,
    ) -> io::Result<Pump> {
        make_ready(&front)?;
        Ok(Pump {
            front,
            to,
            legs: BTreeMap::new(),
            link,
            watched,
            clock: SystemEnvironment::new(),
            buffer: vec![0; DATAGRAM_BYTES],
        })
    }

    pub(super) fn run(mut self) {
        be_on_time();
        while let Some(readable) = self.wait() {
            if readable.front {
                self.take_from_front();
            }
            for peer in readable.legs {
                self.take_from_leg(peer);
            }
            self.send_due_packets();
        }
    }

    /// Waits for a packet, or until one is due. Returns none if the proxy was dropped.
    fn wait(&self) -> Option<Readable> {
        let due = self.link().poll_timeout();
        let left = due.map(|due| due.saturating_sub(self.clock.monotonic()));
        let left = left.map(|left| if left > 2 * DOZE { left - DOZE } else { left });
        let left =
            left.map(|left| Timespec::try_from(left).expect("the time until a packet is due fits"));
        let mut fds = Vec::with_capacity(self.legs.len() + 2);
        fds.push(PollFd::new(&self.watched, PollFlags::IN));
        fds.push(PollFd::new(&self.front, PollFlags::IN));
        fds.extend(self.legs.values().map(|leg| PollFd::new(&leg.socket, PollFlags::IN)));
        match poll(&mut fds, left.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Some(Readable::default()),
            Err(error) => panic!("ppoll failed: {error}"),
        }
        let mut is_ready = fds.iter().map(|fd| !fd.revents().is_empty());
        if is_ready.next() == Some(true) {
            return None;
        }
        let front = is_ready.next() == Some(true);
        let legs = self.legs.keys().zip(is_ready).filter(|(_, is)| *is).map(|(peer, _)| *peer);
        Some(Readable { front, legs: legs.collect() })
    }

    fn take_from_front(&mut self) {
        for _ in 0..BATCH {
            // Any error, such as WouldBlock, ends the reads. Others are reports about packets that
            // were sent.
            let Ok((length, peer)) = self.front.recv_from(&mut self.buffer) else { return };
            let now = self.clock.monotonic();
            if !self.has_leg(peer, now) {
                continue;
            }
            let bytes = Bytes::copy_from_slice(&self.buffer[..length]);
            self.link().handle_packet(now, Packet { peer, way: Way::To, bytes });
        }
    }

    fn take_from_leg(&mut self, peer: SocketAddr) {
        for _ in 0..BATCH {
            let Some(leg) = self.legs.get(&peer) else { return };
            // While the location is down, the system reports an error here.
            let Ok(length) = leg.socket.recv(&mut self.buffer) else { return };
            let bytes = Bytes::copy_from_slice(&self.buffer[..length]);
            let now = self.clock.monotonic();
            self.link().handle_packet(now, Packet { peer, way: Way::From, bytes });
        }
    }

    /// Whether a peer has a leg. Opens one if it has none and the system has a socket for it.
    fn has_leg(&mut self, peer: SocketAddr, now: Duration) -> bool {
        if let Some(leg) = self.legs.get_mut(&peer) {
            leg.heard_at = now;
            return true;
        }
        let Ok(socket) = leg(self.to) else { return false };
        if self.legs.len() >= LEGS
            && let Some(oldest) = self.legs.iter().min_by_key(|(_, leg)| leg.heard_at)
        {
            let oldest = *oldest.0;
            self.legs.remove(&oldest);
            self.link().forget(oldest);
        }
        self.legs.insert(peer, Leg { socket, heard_at: now });
        true
    }

    fn send_due_packets(&mut self) {
        let mut link = self.link();
        while let Some(Packet { peer, way, bytes }) = link.poll_transmit(self.clock.monotonic()) {
            // A network gives no guarantees: the receiver may be down, or its buffer full.
            let _sent = match way {
                Way::To => self.legs.get(&peer).map(|leg| leg.socket.send(&bytes)),
                Way::From => Some(self.front.send_to(&bytes, peer)),
            };
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sockets that can be read.
#[derive(Default)]
struct Readable {
    front: bool,
    legs: Vec<SocketAddr>,
}

/// A socket towards the location, for one peer.
fn leg(to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(any_port(to))?;
    socket.connect(to)?;
    make_ready(&socket)?;
    Ok(socket)
}

fn make_ready(socket: &UdpSocket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    // Root may exceed the system's limit.
    #[cfg(target_os = "linux")]
    if sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BYTES).is_ok() {
        return Ok(());
    }
    // With a smaller buffer the system drops packets sooner, as a network may.
    let _as_much_as_it_gives = sockopt::set_socket_recv_buffer_size(socket, SOCKET_BYTES);
    Ok(())
}

/// By default Linux delays a thread's timers by up to 50 us, to wake several threads at once.
#[cfg(target_os = "linux")]
fn be_on_time() {
    let _late_otherwise = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1_000));
}

#[cfg(not(target_os = "linux"))]
fn be_on_time() {}
