//! The thread of a proxy: sockets in, sockets out.
//!
//! It waits in `ppoll`, whose time has nanoseconds: a runtime's timers of a millisecond would be all of the
//! delay in a rack.

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

/// What the system may hold for a socket while the thread is not on a processor: 40 ms of 800 Mbit/s.
const SOCKET_BYTES: usize = 4 << 20;

/// How many packets of one socket are taken before the others have their turn, and what is due is sent.
const BATCH: usize = 32;

/// How many legs there are at most. One that dials from ever new ports must not use up what a process may
/// have open; the one that was silent for longest goes.
const LEGS: usize = 128;

/// A processor that has slept for long is slow to wake: it is woken so long before a packet is due, and
/// the thread waits once more.
const DOZE: Duration = Duration::from_millis(1);

/// The largest datagram.
const DATAGRAM_BYTES: usize = 65_535;

pub(super) struct Pump {
    front: UdpSocket,
    to: SocketAddr,
    legs: BTreeMap<SocketAddr, Leg>,
    link: Arc<Mutex<Link>>,
    /// Ends when the proxy is dropped.
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
            self.send_what_is_due();
        }
    }

    /// Waits for a packet, or until one is due; none if the proxy is gone.
    fn wait(&self) -> Option<Readable> {
        let due = self.link().poll_timeout();
        let left = due.map(|due| due.saturating_sub(self.clock.monotonic()));
        let left = left.map(|left| if left > 2 * DOZE { left - DOZE } else { left });
        let left = left.map(|left| Timespec::try_from(left).expect("a packet is due in this age"));
        let mut fds = Vec::with_capacity(self.legs.len() + 2);
        fds.push(PollFd::new(&self.watched, PollFlags::IN));
        fds.push(PollFd::new(&self.front, PollFlags::IN));
        fds.extend(self.legs.values().map(|leg| PollFd::new(&leg.socket, PollFlags::IN)));
        match poll(&mut fds, left.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Some(Readable::default()),
            Err(error) => panic!("the system does not wait: {error}"),
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
            // An error is of a packet that was sent, not of one that comes: WouldBlock ends it.
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
            // While the location is down, the system says so here.
            let Ok(length) = leg.socket.recv(&mut self.buffer) else { return };
            let bytes = Bytes::copy_from_slice(&self.buffer[..length]);
            let now = self.clock.monotonic();
            self.link().handle_packet(now, Packet { peer, way: Way::From, bytes });
        }
    }

    /// Whether a peer has a leg: it gets one now if it had none, and the system has a socket for it.
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

    fn send_what_is_due(&mut self) {
        let mut link = self.link();
        while let Some(Packet { peer, way, bytes }) = link.poll_transmit(self.clock.monotonic()) {
            // A network promises nothing: not that somebody listens, and not room.
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

/// Which sockets have something to be read.
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
    // Root may have more than the system's bound.
    #[cfg(target_os = "linux")]
    if sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BYTES).is_ok() {
        return Ok(());
    }
    // What the system does not give is lost sooner: a network, too.
    let _as_much_as_it_gives = sockopt::set_socket_recv_buffer_size(socket, SOCKET_BYTES);
    Ok(())
}

/// Linux lets a thread wake some 50 us late, to wake several at once.
#[cfg(target_os = "linux")]
fn be_on_time() {
    let _late_otherwise = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1_000));
}

#[cfg(not(target_os = "linux"))]
fn be_on_time() {}
