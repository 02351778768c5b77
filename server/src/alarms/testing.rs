//! Snapshots for tests.

use std::{sync::Arc, time::Duration};

use kv_core::{MemberId, Mode, Room};
use kv_replicate::quic::{Arrears, Peer, Status};

use super::{
    damage::DamageState,
    snapshot::{Member, Snapshot},
};
use crate::{
    cluster::{Expiry, Renewal},
    membership::{IncidentState, OriginState},
};

/// The time of all snapshots, in Unix seconds.
pub(super) const NOW: u64 = 1_800_000_000;
/// This location.
pub(super) const FRA: MemberId = MemberId([1; 16]);
/// Another location.
pub(super) const AMS: MemberId = MemberId([2; 16]);
/// A third location.
pub(super) const PAR: MemberId = MemberId([3; 16]);

/// A peer with a link on which a message has just arrived, and that has everything.
pub(super) fn linked() -> Peer {
    let mut peer = Peer::default();
    peer.is_connected = true;
    (peer.last_message, peer.silent_for) =
        (Some(Duration::from_millis(400)), Some(Duration::from_millis(400)));
    peer.missing_there = Some(Arrears::default());
    peer.state.is_known = true;
    peer
}

/// This location, joined, with these peers and no condition.
pub(super) fn member(peers: impl IntoIterator<Item = (MemberId, Peer)>) -> Member {
    let mut status = Status::default();
    status.is_joined = true;
    status.peers = peers.into_iter().collect();
    let names = [(FRA, "fra"), (AMS, "ams"), (PAR, "par")];
    let members = names.map(|(id, name)| kv_core::Member {
        id,
        name: name.into(),
        addresses: Vec::new(),
        software: None,
        removed: false,
    });
    Member {
        name: "fra".into(),
        id: FRA,
        status,
        ended: None,
        members: Arc::new(members.into_iter().collect()),
        origins: OriginState::default(),
        expiry: Expiry { not_before: 0, location: u64::MAX, ca: u64::MAX, has_ca_key: false },
        renewal: Renewal::default(),
        incidents: IncidentState::default(),
        salvage: "salvage".into(),
    }
}

/// A location that is well.
pub(super) fn snapshot(member: Option<Member>) -> Snapshot {
    Snapshot {
        now: NOW,
        mode: Mode::Writer,
        room: Room::default(),
        damage: DamageState::default(),
        titles: Vec::new(),
        lost: None,
        configuration: Vec::new(),
        member,
    }
}
