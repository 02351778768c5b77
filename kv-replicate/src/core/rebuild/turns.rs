//! Whose turn it is to rebuild, of two stores that each lack tombstones which the other has collected.
//!
//! Two parts of a cluster that did not reach each other may each collect tombstones that the other has not received: two
//! processes on copies of a directory stood for the same member. The one that rebuilds first does not take the late rows
//! of its source, so that it still lacks the source's tombstones when it is done. These rows go to the owner of the source
//! when the source rebuilds from this store. It can do that only while this store does not rebuild: so this store waits
//! and serves, although it lacks tombstones.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    MemberId,
    core::{local::Local, peers::Peers},
};

/// How long a peer has its turn. It may be unable to take a session from this store, and this store needs what the peer
/// has written since.
pub(super) const TURN: Duration = Duration::from_secs(60);

/// The peers that have their turn to rebuild.
#[derive(Debug, Default)]
pub(super) struct Turns(BTreeMap<MemberId, Turn>);

/// The turn of a peer.
#[derive(Debug)]
struct Turn {
    /// The process of the peer that this store was compared with: another one may have another store.
    incarnation: u64,
    /// When it began.
    since: Duration,
}

impl Turns {
    /// This store has rebuilt from a peer: if the peer lacks tombstones that were collected here, it has its turn.
    pub(super) fn rebuilt_from(&mut self, local: &Local, peers: &Peers, peer: MemberId) {
        let Some(state) = peers.get(peer) else { return };
        if state.progress().durable.covers_all(local.collected()) {
            self.0.remove(&peer);
        } else {
            let incarnation = state.handshake.incarnation();
            self.0.insert(peer, Turn { incarnation, since: local.mono() });
        }
    }

    /// Whether a peer has its turn, and has not rebuilt yet.
    pub(super) fn has(&self, local: &Local, peers: &Peers, peer: MemberId) -> bool {
        let Some((turn, state)) = self.0.get(&peer).zip(peers.get(peer)) else { return false };
        turn.incarnation == state.handshake.incarnation()
            && local.mono() < turn.since + TURN
            && !state.progress().durable.covers_all(local.collected())
    }

    /// The store was rolled back, perhaps to before its rebuild.
    pub(super) fn rolled_back(&mut self) {
        self.0.clear();
    }
}
