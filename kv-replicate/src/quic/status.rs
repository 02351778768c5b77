//! The state of a replica, for its owner.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use kv_core::MemberId;

use crate::{ClockState, Condition, HaltReason, PeerState, Skipped, StableState, inspect::Place};

/// The most keys that [`Status::awaited`] has.
pub const MAX_AWAITED: usize = 1000;

/// The state of a replica.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// Why it does not replicate any more, if so.
    pub halted: Option<HaltReason>,
    /// The last time for which this process did not run, if it was three seconds at least; none if there was none.
    pub pause: Option<Pause>,
    /// For how long this process did not run since its start, in pauses of a second or more.
    pub paused: Duration,
    /// Whether this location is a member and has everything that its first source had.
    pub is_joined: bool,
    /// Whether everything that remains of processes that have ended, and of removed members, is at every member. As
    /// long as not, garbage collection waits.
    pub is_settled: bool,
    /// For how long not, to about a second; none if it is.
    pub unsettled_for: Option<Duration>,
    /// Whether the store is rebuilt in place, or joins: it serves no peer.
    pub is_rebuilding: bool,
    /// Whether another process of this location, which started later, has closed the origins of this one. It then takes
    /// no more writes.
    pub is_superseded: bool,
    /// The state of this location's clock.
    pub clock: ClockState,
    /// The stable timestamp, and what holds it back.
    pub stable: StableState,
    /// How many rows of peers were put in the store since the replica was started. While a location joins,
    /// [`PeerState::receiving`] has its progress.
    pub rows_taken: u64,
    /// About how many bytes the core holds.
    pub core_bytes: usize,
    /// What peers sent and this program does not know.
    pub skipped: Skipped,
    /// The handshakes with peers that dial.
    pub handshakes: Handshakes,
    /// The first [`MAX_AWAITED`] keys whose rows are fetched by name, because they can't be read here, each with the members
    /// whose answers it waits for.
    pub awaited: BTreeMap<Place, Vec<MemberId>>,
    /// All members but this one, and peers that are dialled or linked without being members.
    pub peers: BTreeMap<MemberId, Peer>,
}

/// A time for which this process did not run: it was stopped, or its machine was suspended or overloaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    /// How long it was.
    pub lasted: Duration,
    /// How long ago it ended.
    pub ended: Duration,
}

/// The handshakes with peers that dial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshakes {
    /// How many are under way.
    pub under_way: usize,
    /// How many were not begun because too many were under way.
    pub rejected: u64,
    /// How many failed, for example without a certificate of this cluster, or because they were too slow.
    pub failed: u64,
}

/// A peer, and the link to it if there is one.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Peer {
    /// Whether a link to it is up.
    pub is_connected: bool,
    /// For how long the link that is up has been; none if there is none.
    pub up_for: Option<Duration>,
    /// How long there has been no link: since the last message, or since the first failed attempt. None while a link is up.
    pub down_for: Option<Duration>,
    /// For how long links have come and gone: since the first of the last three or more ended that did not last for 10 s.
    /// None if the last one lasted, or the one that is up has, or none was up for a minute.
    pub unstable_for: Option<Duration>,
    /// How long ago the last packet from it arrived, at most: none if none has arrived in this process.
    pub last_message: Option<Duration>,
    /// For how long this process has waited for a message of it: since the last one, or since the first failed attempt,
    /// without the time for which this process did not run.
    pub silent_for: Option<Duration>,
    /// Why it does not replicate any more, as it has reported when it refused the last link; none once a link is up.
    pub halted: Option<String>,
    /// Whether it has not answered an attempt since it reported that, so that it may have ended.
    pub is_halt_old: bool,
    /// Whether it has reported that it shuts down, and no link to it has been up since.
    pub has_stopped: bool,
    /// The addresses that are dialled, in their order, as the store and the configuration name them.
    pub addresses: Vec<String>,
    /// The address that the peer's packets come from.
    pub address: Option<SocketAddr>,
    /// The round-trip time.
    pub rtt: Option<Duration>,
    /// Bytes sent on this link, in UDP datagrams.
    pub bytes_out: u64,
    /// Bytes received on this link, in UDP datagrams.
    pub bytes_in: u64,
    /// How often in a row an attempt to dial failed, or a link did not last.
    pub failures: u32,
    /// Whether somebody answered the last attempt to dial it, which failed all the same: at its address is a process that
    /// refuses this location, or is not trusted by it.
    pub is_answering: bool,
    /// Why the last attempt or link failed; an attempt names each address that was tried.
    pub last_error: Option<String>,
    /// The writes that are here and that it lacks, as far as it has reported; none if it has not reported in this process.
    /// They are counted whether a link is up or not.
    pub missing_there: Option<Arrears>,
    /// The writes that it has reported to hold and that are not here, whether a link is up or not.
    pub missing_here: Arrears,
    /// The rate of the session in which rows come from it.
    pub receiving: Option<Pace>,
    /// The rate of the session in which it receives rows, as it reports it.
    pub sending: Option<Pace>,
    /// The conditions that it has last reported of itself: they outlive a link for a minute.
    pub conditions: Vec<Condition>,
    /// The core's state of the peer.
    pub state: PeerState,
}

/// Writes that one location has and another lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrears {
    /// How many.
    pub writes: u64,
    /// For how long the oldest of them has been missing, to about a second, without the time for which this process did not
    /// run; zero if none is.
    pub lasting: Duration,
}

/// The speed of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// Writes a second, over the last ten seconds; none in the first second.
    pub per_second: Option<f64>,
    /// How long the rest takes at this rate; none if that is not known, or nothing moves.
    pub rest: Option<Duration>,
}
