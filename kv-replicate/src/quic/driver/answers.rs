//! Answers and notices for the owner.

use std::sync::Arc;

use kv_core::MemberId;
use tokio::sync::oneshot;

use super::Driver;
use crate::{
    ClockState, Event, Notice, Row, Verdict,
    quic::{
        attempts::{Attempts, LASTING},
        config::{Config, Identity},
        error::{AskError, StartError},
        input::{Input, Query},
        proven::code,
        status::{MAX_AWAITED, Peer, Status},
        tls::Tls,
    },
};

impl Driver {
    /// Answers the owner's request, at once or when the core has the answer.
    pub(super) fn answer(&mut self, query: Query) {
        match query {
            Query::Status(answer) => {
                let _gone = answer.send(self.status());
            }
            Query::Verify(peer, answer) => self.verify(peer, answer),
            Query::Unlink(reason) => self.unlink(reason),
            Query::SetIdentity(identity, answer) => {
                let _gone = answer.send(self.set_identity(*identity));
            }
        }
    }

    /// Uses another proof of this location's identity for all links from now on.
    fn set_identity(&mut self, identity: Identity) -> Result<(), StartError> {
        let config = Config { identity, ..self.config.clone() };
        let tls = Arc::new(Tls::new(&config)?);
        self.config = config;
        self.port.set_tls(&self.config.tuning, &tls);
        self.dialler.tls = tls;
        // Peers may have rejected the former one, so they are dialled now.
        self.attempts.values_mut().for_each(Attempts::restart);
        self.dial = true;
        Ok(())
    }

    /// Begins a verification; several requests share its verdict.
    fn verify(&mut self, peer: MemberId, answer: oneshot::Sender<Result<Verdict, AskError>>) {
        if self.core.halted().is_some() {
            let _gone = answer.send(Err(AskError::Halted));
            return;
        }
        self.verifying.entry(peer).or_default().push(answer);
        self.tell(Event::Verify(peer));
    }

    /// The state of the replica.
    fn status(&self) -> Status {
        let wanted = self.wanted();
        let known = wanted.iter().chain(self.links.keys());
        Status {
            halted: self.core.halted(),
            is_joined: self.core.is_joined(),
            is_settled: self.core.is_settled(),
            is_rebuilding: self.core.is_rebuilding(),
            is_superseded: self.core.is_superseded(),
            clock: self.core.clock_state(),
            rows_taken: self.rows_taken,
            core_bytes: self.core.memory_bytes(),
            skipped: self.core.skipped(),
            handshakes: self.acceptor.state(),
            awaited: self.core.awaited(MAX_AWAITED),
            peers: known.map(|peer| (*peer, self.peer(*peer))).collect(),
        }
    }

    /// The state of one peer and its link.
    fn peer(&self, peer: MemberId) -> Peer {
        let mut found = Peer::default();
        if let Some(attempts) = self.attempts.get(&peer) {
            found.failures = attempts.failures();
            found.last_error = attempts.last_error().cloned();
        }
        let now = self.now().mono;
        let down_for = self.attempts.get(&peer).and_then(|attempts| attempts.down_for(now));
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

    /// Logs a notice of the core, and hands it to the owner.
    pub(super) fn notice(&mut self, notice: &Notice) {
        match notice {
            Notice::Close { peer, reason } => {
                tracing::warn!(%peer, %reason, "closed the link to a peer that violated the protocol");
                if let Some(link) = self.links.get(peer) {
                    link.close(code::REJECTED, reason);
                }
                self.drop_link(*peer, reason, false);
            }
            Notice::SkippedMessage { peer, kind } => {
                tracing::info!(%peer, kind, "skips messages of a kind that a later version defines");
            }
            Notice::Joined => tracing::info!("this location has joined its cluster"),
            Notice::Halted(reason) => {
                tracing::error!(%reason, "this location does not replicate any more");
            }
            Notice::ClockOff(ClockState { off_ms: Some(off_ms), .. }) => {
                tracing::error!(
                    ahead_ms = off_ms,
                    "this location's clock is wrong: set it, for example with NTP"
                );
            }
            Notice::ClockOff(state) => {
                let peers = &state.disagreeing;
                tracing::error!(
                    ?peers,
                    "this location's clock and that of a peer differ, and no third is heard: set both, for example with NTP"
                );
            }
            Notice::ClockRight => tracing::info!("this location's clock is right again"),
            Notice::Rebuilding(peer) => {
                let why = "it lacks deletions that its peers have dropped already, as after it was restored";
                tracing::warn!(%peer, why, "this store is rebuilt in place and serves no peer meanwhile");
            }
            Notice::Rebuilt => tracing::info!("this store is whole"),
            Notice::CopyRuns => {
                tracing::error!(
                    "another process runs as this location, on a copy of its data directory: stop one of the two"
                );
            }
            Notice::Refused { peer, reason } => {
                tracing::error!(%peer, reason, "a peer sent an invalid row");
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

    /// Has the owner keep writes that a rebuild is about to drop.
    pub(super) fn salvage(&mut self, id: u64, rows: Vec<Row>) {
        let (salvage, sender) = (self.config.salvage.clone(), self.sender.clone());
        self.tasks.spawn_blocking(move || {
            let kept = match salvage {
                Some(salvage) => salvage(&rows),
                None => Err("no function for them is configured".into()),
            };
            let count = rows.len();
            match &kept {
                Ok(()) => tracing::error!(
                    count,
                    "removes writes that no other location has and that may be older than deletions: they are kept apart"
                ),
                Err(error) => tracing::error!(
                    count,
                    %error,
                    "writes that no other location has, and that may be older than deletions, can't be kept apart: they stay, and \
                     this store is not whole until they can"
                ),
            }
            // If the driver is gone, the writes are found again after the next start.
            let _gone = sender.blocking_send(Input::Kept { id, is_kept: kept.is_ok() });
        });
    }

    /// Answers the requests that wait for a verdict.
    fn verified(&mut self, verdict: &Verdict) {
        let Verdict { peer, rows, differing, .. } = verdict;
        tracing::info!(%peer, rows, differing, ending = ?verdict.ending, "verified");
        for answer in self.verifying.remove(peer).unwrap_or_default() {
            let _gone = answer.send(Ok(verdict.clone()));
        }
    }
}
