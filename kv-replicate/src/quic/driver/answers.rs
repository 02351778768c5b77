//! What the owner is told.

use kv_core::MemberId;
use tokio::sync::oneshot;

use super::{Driver, Query, links::LASTING};
use crate::{
    Event, Notice, Verdict,
    quic::{AskError, Peer, Status, link::REFUSED},
};

impl Driver {
    pub(super) fn answer(&mut self, query: Query) {
        match query {
            Query::Status(answer) => {
                let _gone = answer.send(self.status());
            }
            Query::Verify(peer, answer) => self.verify(peer, answer),
        }
    }

    fn verify(&mut self, peer: MemberId, answer: oneshot::Sender<Result<Verdict, AskError>>) {
        if self.core.halted().is_some() {
            let _gone = answer.send(Err(AskError::Halted));
            return;
        }
        self.verifying.entry(peer).or_default().push(answer);
        self.tell(Event::Verify(peer));
    }

    fn status(&self) -> Status {
        let wanted = self.wanted();
        let known = wanted.iter().chain(self.links.keys());
        Status {
            halted: self.core.halted(),
            is_joined: self.core.is_joined(),
            rows_taken: self.rows_taken,
            core_bytes: self.core.memory_bytes(),
            acceptor: self.acceptor.state(),
            peers: known.map(|peer| (*peer, self.peer(*peer))).collect(),
        }
    }

    fn peer(&self, peer: MemberId) -> Peer {
        let mut found = Peer::default();
        if let Some(attempts) = self.attempts.get(&peer) {
            found.failures = attempts.failures;
            found.last_error.clone_from(&attempts.last_error);
        }
        let since = self.attempts.get(&peer).and_then(|attempts| attempts.down_since);
        let now = self.now().mono;
        let down_for = since.map(|since| now.saturating_sub(since));
        let Some(link) = self.links.get(&peer) else {
            return Peer { down_for: Some(down_for.unwrap_or_default()), ..found };
        };
        let has_lasted = now.saturating_sub(link.since) >= LASTING;
        let stats = link.connection.stats();
        Peer {
            is_connected: true,
            down_for: down_for.filter(|_| !has_lasted),
            address: Some(link.connection.remote_address()),
            rtt: Some(link.connection.rtt()),
            bytes_out: stats.udp_tx.bytes,
            bytes_in: stats.udp_rx.bytes,
            state: self.core.peer_state(peer).unwrap_or_default(),
            ..found
        }
    }

    /// Logs what the core wants its owner to know, and hands it on.
    pub(super) fn notice(&mut self, notice: &Notice) {
        match notice {
            Notice::Close { peer, reason } => {
                tracing::warn!(%peer, reason, "a link is closed");
                if let Some(link) = self.links.get(peer) {
                    link.close(REFUSED, reason);
                }
                self.let_go(*peer, reason);
            }
            Notice::Joined => tracing::info!("this location takes part in its cluster"),
            Notice::Halted(why) => tracing::error!(why, "this location replicates no more"),
            Notice::Parked { peer, ahead_ms } => {
                tracing::error!(%peer, ahead_ms, "a location's clock is ahead: its writes wait");
            }
            Notice::MustRebuild(peer) => {
                let why = "what it lacks was deleted too long ago";
                tracing::error!(%peer, why, "this store must be emptied, and take all anew");
            }
            Notice::Refused { peer, reason } => {
                tracing::error!(%peer, reason, "a location sent a row that no store makes");
            }
            Notice::Differs(difference) => {
                let (peer, namespace) = (difference.peer, difference.place.namespace);
                tracing::error!(%peer, %namespace, "a key differs between two locations");
            }
            Notice::Verified(verdict) => self.verified(verdict),
            other => tracing::debug!(notice = ?other, "replication"),
        }
        if let Some(on_notice) = &self.config.on_notice {
            on_notice(notice);
        }
    }

    fn verified(&mut self, verdict: &Verdict) {
        let Verdict { peer, rows, differing, .. } = verdict;
        tracing::info!(%peer, rows, differing, ending = ?verdict.ending, "verified");
        for answer in self.verifying.remove(peer).unwrap_or_default() {
            let _gone = answer.send(Ok(verdict.clone()));
        }
    }
}
