//! What can be seen of a replica.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use kv_core::MemberId;

use crate::PeerState;

/// How a replica is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Why it replicates no more, if so.
    pub halted: Option<&'static str>,
    /// Whether it is a member and has all that its first source had.
    pub is_joined: bool,
    /// How many rows peers sent that were put in the store, since it was started. While a new location
    /// joins, [`PeerState::receiving`] says how far that is.
    pub rows_taken: u64,
    /// About how many bytes the core holds.
    pub core_bytes: usize,
    /// The handshakes of peers that dial.
    pub acceptor: Doorkeeping,
    /// All members but this one, and those that are dialled or linked without being members.
    pub peers: BTreeMap<MemberId, Peer>,
}

/// The handshakes of peers that dial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doorkeeping {
    /// How many are under way.
    pub under_way: usize,
    /// How many were not begun, for too many were under way.
    pub refused: u64,
    /// How many failed: no certificate of this cluster, say, or too slow.
    pub failed: u64,
}

/// A peer, and the link to it if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Whether a link to it is up.
    pub is_connected: bool,
    /// For how long there is no link that lasts: from the end of the last one that was up for 10 s, or from
    /// the first attempt in vain. None while a link is up that has lasted so long, or that is the first.
    pub down_for: Option<Duration>,
    /// From where the peer is heard.
    pub address: Option<SocketAddr>,
    /// How long a packet and its answer take.
    pub rtt: Option<Duration>,
    /// Bytes sent on this link, in UDP datagrams.
    pub bytes_out: u64,
    /// Bytes that came on this link.
    pub bytes_in: u64,
    /// How often in a row it was dialled in vain, or the link did not last.
    pub failures: u32,
    /// Why the last attempt or link failed.
    pub last_error: Option<String>,
    /// What the core knows of it.
    pub state: PeerState,
}
