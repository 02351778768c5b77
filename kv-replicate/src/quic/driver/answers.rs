//! Answers and notices for the owner.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use kv_core::MemberId;
use tokio::sync::oneshot;

use super::Driver;
use crate::{
    ClockState, Event, Notice, SalvagedRow, Verdict,
    quic::{
        attempts::Attempts,
        code,
        config::{Config, Identity},
        error::{QueryError, StartError},
        input::{Input, Query},
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
            Query::SetConditions(conditions) => {
                let now = self.now();
                self.core.handle_timeout(now);
                self.core.set_conditions(conditions);
            }
            Query::Usage(pieces) => {
                pieces.iter().for_each(|(to, piece)| self.core.send_usage(*to, piece));
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
        self.network.port.set_tls(&self.config.tuning, &tls);
        self.network.dialler.tls = tls;
        // Peers may have rejected the former one, so they are dialled now.
        self.links.attempts.values_mut().for_each(Attempts::restart);
        self.links.dial = true;
        Ok(())
    }

    /// Begins a verification; several requests share its verdict.
    fn verify(&mut self, peer: MemberId, answer: oneshot::Sender<Result<Verdict, QueryError>>) {
        if self.core.halted().is_some() {
            let _gone = answer.send(Err(QueryError::Halted));
            return;
        }
        self.verifying.entry(peer).or_default().push(answer);
        self.tell(Event::Verify(peer));
    }

    /// Logs a notice of the core, and hands it to the owner.
    pub(super) fn notice(&mut self, notice: &Notice) {
        match notice {
            Notice::Close { peer, reason } => {
                tracing::warn!("the link to {} was closed here: {reason}", self.called(*peer));
                if let Some(link) = self.links.up.get(peer) {
                    link.close(code::REJECTED, reason);
                }
                self.drop_link(*peer, reason, false);
            }
            Notice::SkippedMessage { peer, kind } => {
                let peer = self.called(*peer);
                tracing::info!(
                    "{peer} sends messages of kind {kind}, which a later version defines: they are skipped"
                );
            }
            Notice::Joined => tracing::info!("this location has joined its cluster"),
            Notice::Halted(reason) => {
                tracing::error!(%reason, "this location does not replicate any more");
            }
            Notice::ClockOff(state) => self.log_clock(state),
            Notice::ClockRight => tracing::info!("this location's clock is right again"),
            Notice::Rebuilding(peer) => {
                tracing::warn!(
                    "this store is rebuilt from {} and serves no peer meanwhile: it lacks deletions that its peers have \
                     dropped already, as after it was restored",
                    self.called(*peer)
                );
            }
            Notice::Rebuilt => tracing::info!("this store is rebuilt, and serves its peers again"),
            Notice::CopyRuns => {
                tracing::error!(
                    "another process runs as this location, on a copy of its data directory: stop one of the two"
                );
            }
            Notice::Refused { peer, reason } => {
                tracing::error!(
                    "{} sent a row that this location refuses: {reason}",
                    self.called(*peer)
                );
            }
            Notice::Disowned { peer, origin } => {
                tracing::error!(
                    %origin,
                    "{} has made fewer writes than another location claimed and this one has believed: what it has of \
                     them is taken again",
                    self.called(*peer)
                );
            }
            Notice::Conflict(peer) => {
                tracing::error!(
                    "{} holds another write of the same version as one here: two stores write under one identity",
                    self.called(*peer)
                );
            }
            Notice::Differs(difference) => {
                let (peer, namespace) = (difference.peer, difference.place.namespace);
                tracing::error!(%namespace, "a key differs between this location and {}", self.called(peer));
            }
            Notice::Verified(verdict) => self.verified(verdict),
            Notice::Usage { .. } => {}
            other => tracing::debug!(notice = ?other, "replication"),
        }
        if let Some(on_notice) = &self.config.on_notice {
            on_notice(notice);
        }
    }

    /// Logs that this location's clock may be wrong.
    fn log_clock(&self, state: &ClockState) {
        if let Some(ahead_ms) = state.off_ms {
            tracing::error!(
                ahead_ms,
                "this location's clock is wrong: set it, for example with NTP"
            );
            return;
        }
        let peers: Vec<_> = state.disagreeing.iter().map(|(peer, _)| self.called(*peer)).collect();
        let peers = peers.join(", ");
        tracing::error!(
            "this location's clock and that of {peers} differ, and there is no link to a third location: set both, for \
             example with NTP"
        );
    }

    /// Has the owner keep writes that a rebuild is about to drop.
    pub(super) fn salvage(&mut self, id: u64, rows: Vec<SalvagedRow>) {
        let (salvage, sender) = (self.config.salvage.clone(), self.network.sender.clone());
        self.network.tasks.spawn_blocking(move || {
            let kept = match salvage {
                // After a panic the rebuild would wait for ever.
                Some(salvage) => catch_unwind(AssertUnwindSafe(|| salvage(&rows)))
                    .unwrap_or_else(|_| Err("the function that keeps them has panicked".into())),
                None => Err("no function for them is configured".into()),
            };
            let count = rows.len();
            match &kept {
                Ok(()) => tracing::error!(
                    count,
                    "writes that no other location has, and that may be older than deletions, are saved and removed from the store"
                ),
                Err(error) => tracing::error!(
                    count,
                    %error,
                    "writes that no other location has, and that may be older than deletions, can't be saved: they stay, and \
                     the rebuild does not end until they are"
                ),
            }
            // If the driver is gone, the writes are found again after the next start.
            let _gone = sender.blocking_send(Input::Kept { id, is_kept: kept.is_ok() });
        });
    }

    /// Answers the requests that wait for a verdict.
    fn verified(&mut self, verdict: &Verdict) {
        let Verdict { peer, rows, differing, .. } = verdict;
        let name = self.called(*peer);
        tracing::info!(rows, differing, ending = ?verdict.ending, "compared with {name}");
        for answer in self.verifying.remove(peer).unwrap_or_default() {
            let _gone = answer.send(Ok(verdict.clone()));
        }
    }
}
