//! The last status of the replica, which is what is known once it has ended.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kv_core::env::{Environment as _, SystemEnvironment};
use kv_replicate::quic::Status;

/// The state of a replica, which may have ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplicaState {
    /// Its status; its last one, without links, if it has ended.
    pub status: Status,
    /// How long ago it was noticed that it has ended; none if it has not.
    pub ended_for: Option<Duration>,
}

/// Keeps the last status of a replica.
#[derive(Debug, Default)]
pub(super) struct LastStatus {
    /// The last status, with its time.
    known: Mutex<Known>,
    /// The monotonic clock of these times.
    environment: SystemEnvironment,
}

/// What is known of a replica. Times are of a monotonic clock.
#[derive(Debug, Default)]
struct Known {
    /// The last status; the default before the first one.
    status: Status,
    /// When that was.
    at: Duration,
    /// When it was noticed that the replica has ended.
    ended: Option<Duration>,
}

impl LastStatus {
    /// Takes in the next status of the replica; none if it has ended.
    pub(super) fn observe(&self, status: Option<&Status>) {
        let now = self.environment.monotonic();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match status {
            Some(status) => (known.status, known.at) = (status.clone(), now),
            None => _ = known.ended.get_or_insert(now),
        }
    }

    /// Returns what is known of a replica that has ended.
    pub(super) fn ended(&self) -> ReplicaState {
        let now = self.environment.monotonic();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let status = without_links(known.status.clone(), now.saturating_sub(known.at));
        let ended = known.ended.unwrap_or(now);
        ReplicaState { status, ended_for: Some(now.saturating_sub(ended)) }
    }
}

/// An earlier status, without the links, which have ended since.
fn without_links(mut status: Status, ago: Duration) -> Status {
    if let Some(pause) = &mut status.pause {
        pause.ended += ago;
    }
    for peer in status.peers.values_mut() {
        let before = std::mem::take(peer);
        peer.down_for = Some(before.down_for.unwrap_or_default() + ago);
        peer.last_message = before.last_message.map(|last| last + ago);
        peer.missing_there = before.missing_there;
        peer.missing_here = before.missing_here;
        peer.is_halt_old = before.halted.is_some();
        peer.halted = before.halted;
        peer.has_stopped = before.has_stopped;
        peer.addresses = before.addresses;
        peer.last_error = before.last_error.filter(|_| !before.is_connected);
        for arrears in peer.missing_there.iter_mut().chain([&mut peer.missing_here]) {
            arrears.lasting += if arrears.writes > 0 { ago } else { Duration::ZERO };
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use kv_core::MemberId;
    use kv_replicate::quic::{Arrears, Peer};

    use super::*;

    #[test]
    fn a_replica_that_has_ended_has_no_links_and_what_it_knew_of_the_others_is_as_old_as_it_is() {
        let seconds = Duration::from_secs;
        let (mut status, mut peer) = (Status::default(), Peer::default());
        (peer.is_connected, peer.last_message) = (true, Some(seconds(1)));
        peer.missing_there = Some(Arrears { writes: 3, lasting: seconds(2) });
        status.peers.insert(MemberId([1; 16]), peer);
        let later = without_links(status, seconds(60));
        let peer = &later.peers[&MemberId([1; 16])];
        assert_eq!((peer.is_connected, peer.down_for), (false, Some(seconds(60))));
        assert_eq!(peer.last_message, Some(seconds(61)));
        assert_eq!(peer.missing_there, Some(Arrears { writes: 3, lasting: seconds(62) }));
        assert_eq!(peer.missing_here, Arrears::default());
    }

    #[test]
    fn a_replica_that_has_ended_stays_so_whatever_status_arrives_late() {
        let last = LastStatus::default();
        let mut status = Status::default();
        status.is_joined = true;
        last.observe(Some(&status));
        last.observe(None);
        let state = last.ended();
        assert!(state.status.is_joined && state.ended_for.is_some(), "{state:?}");
    }
}
