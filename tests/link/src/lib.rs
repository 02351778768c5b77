//! A UDP proxy that stands in front of a location's port and is a bad network between real processes:
//! it delays, reorders, loses, repeats, narrows and cuts.
//!
//! Others are told the proxy's address (`--advertise`); it hands what comes on to the port that the
//! location listens on. Each peer that sends something gets a *leg*: a socket of its own towards the
//! location, by which the answers come back. A location dials from the port that it listens on, so a leg
//! bears the name of that port. Whatever happens to packets happens per leg, and in each direction by itself.
//!
//! Of two locations either may have dialled, and their traffic runs through the proxy of the one that was
//! dialled: **what is to hold for a pair must be said to both proxies.**
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
//! What happens to a packet is decided in [`link`], which knows neither sockets nor a clock, by a seed. The
//! times are those of a real machine, so a seed repeats the choices and not the run.

pub mod conditions;
pub mod counts;
pub mod link;
mod path;
pub mod proxy;
mod rules;

pub use conditions::{Conditions, Way, Ways};
pub use counts::{Count, Counts};
pub use proxy::Proxy;
