//! The driver: runs a [`Core`] over QUIC, for a [`Store`](kv_core::Store).
//!
//! [`Replica::start`] binds one UDP port and links this location with each other member. It needs a tokio
//! runtime. The store's writer thread does the core's work (see [`kv_core::Replication`]), one thread reads
//! for peers, and one task owns the core and never blocks.
//!
//! # Links
//!
//! Two members share one link. The one with the lower id dials; the other dials too if it waits in vain.
//! After a failure the location retries, after a wait that doubles up to a bound. A link is a QUIC
//! connection (ALPN `waypost/1`) on which both ends have proven, by certificates of the cluster's authority,
//! which members they are: see [`Identity`]. It has one stream in both directions for [`Channel::Control`],
//! and one in each direction for each other [`Channel`]. A stream begins with its channel's number (one
//! byte), and messages follow, each behind its length (four bytes, big-endian).
//!
//! # Memory
//!
//! The core keeps what waits for peers, in its bounds. Of each channel at most [a few
//! messages](crate::MAX_MESSAGE_BYTES) wait here. What QUIC has taken and the peer has not acknowledged, and
//! what arrived and was not read, is at most [`Tuning::window_bytes`] a link and direction; in practice it is
//! what is under way: the link's rate times its delay.

#[cfg(doc)]
use crate::{Channel, Core};

mod accept;
mod attempts;
mod code;
mod config;
mod congestion;
mod dial;
mod driver;
mod error;
mod flaps;
mod input;
mod link;
mod link_error;
mod pace;
mod pauses;
mod proven;
mod race;
mod replica;
mod socket;
mod status;
mod store;
mod stream;
mod tls;
mod track;
mod window;

pub use accept::network_of;
pub use config::{
    Config, GUEST_WINDOW_BYTES, Guests, Identity, OnNotice, Salvage, SalvageError, ServeGuest,
    Tuning,
};
pub use error::{IdentityError, QueryError, StartError};
pub use race::{Won, by_turns, race};
pub use replica::{Handle, Replica};
pub use socket::check_listen;
pub use status::{Arrears, Handshakes, MAX_AWAITED, Pace, Pause, Peer, Status};
pub use tls::{ServerVerifier, member_uri};
