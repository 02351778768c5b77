//! A UDP proxy in front of a location's port that acts as a bad network between real processes: it delays,
//! reorders, drops and duplicates packets, limits the rate, and cuts links.
//!
//! A location advertises the proxy's address (`--advertise`), and the proxy forwards packets to the port on
//! which the location listens. Each peer gets a *leg*: a socket of its own towards the location, through which
//! the responses come back. A location dials from the port on which it listens, so that port identifies a leg.
//! Conditions apply per leg and per direction.
//!
//! Either of two locations may have dialled the other, and their traffic runs through the proxy of the one
//! that was dialled: **a condition for a pair must be set at both proxies.**
//!
//! ```
//! use std::{net::UdpSocket, time::Duration};
//! use waypost_link_tests::{Conditions, Proxy, Ways};
//!
//! let location = UdpSocket::bind("127.0.0.1:0")?;
//! let peer = UdpSocket::bind("127.0.0.1:0")?;
//! let slow = Conditions { delay: Duration::from_millis(5), ..Conditions::default() };
//! let proxy = Proxy::start(location.local_addr()?, slow, 1)?;
//!
//! peer.send_to(b"hello", proxy.address())?;
//! let (length, leg) = location.recv_from(&mut [0; 1500])?;
//! location.send_to(b"and back", leg)?;
//! assert_eq!((length, peer.recv(&mut [0; 1500])?), (5, 8));
//!
//! proxy.cut(peer.local_addr()?, Ways::To);
//! assert_eq!(proxy.counts().to.packets, 1);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! [`link`] decides about each packet from a seed, without sockets and without a clock. Packets arrive in
//! the real time of a machine, so a seed repeats the choices and not the whole run.

pub mod conditions;
pub mod counts;
pub mod link;
mod path;
pub mod proxy;
mod rules;

pub use conditions::{Conditions, Way, Ways};
pub use counts::{Count, Counts};
pub use proxy::Proxy;
