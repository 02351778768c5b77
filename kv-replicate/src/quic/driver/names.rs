//! Lines of the log about links: they name locations as people do, and are few.

use std::time::Duration;

use kv_core::MemberId;

use super::Driver;
use crate::quic::{
    proven::Proven,
    track::{SILENT, Turned},
};

impl Driver {
    /// The name of a peer, for people; its id, if the store does not know it.
    pub(super) fn called(&self, peer: MemberId) -> String {
        self.members.get(peer).map_or_else(|| peer.to_string(), |member| member.name.clone())
    }

    /// A link to a peer is up.
    pub(super) fn log_up(&mut self, proven: &Proven) {
        let Some(left_out) = self.changed(proven.peer) else { return };
        let (name, address) = (self.called(proven.peer), proven.connection.remote_address());
        let tried = match &proven.failed[..] {
            [] => String::new(),
            failed => format!("; not reached at {}", failed.join("; ")),
        };
        tracing::info!("the link to {name} ({address}) is up{tried}{}", hidden(left_out));
    }

    /// The link to a peer is down, after it was up for a time.
    pub(super) fn log_down(&mut self, peer: MemberId, lasted: Duration, why: &str) {
        let Some(left_out) = self.changed(peer) else { return };
        let (name, seconds) = (self.called(peer), lasted.as_secs());
        tracing::warn!("the link to {name} is down after {seconds} s: {why}{}", hidden(left_out));
    }

    /// No address of a peer leads to it.
    pub(super) fn log_unreached(&mut self, peer: MemberId, why: &str) {
        let Some(left_out) = self.changed(peer) else { return };
        let name = self.called(peer);
        tracing::warn!("can't reach {name}, and retries: {why}{}", hidden(left_out));
    }

    /// A peer with a link has become silent, or is heard again.
    pub(super) fn log_turned(&mut self, peer: MemberId, turned: Turned) {
        let Some(left_out) = self.changed(peer) else { return };
        let (name, hidden) = (self.called(peer), hidden(left_out));
        match turned {
            Turned::Silent => tracing::warn!(
                "nothing was heard from {name} for {} s, although its link still counts as up{hidden}",
                SILENT.as_secs()
            ),
            Turned::Heard => tracing::info!("{name} is heard again{hidden}"),
        }
    }

    /// Counts a change of a link. Returns how many were left out before it, if it is logged.
    fn changed(&mut self, peer: MemberId) -> Option<u32> {
        let now = self.now().mono;
        self.flaps.entry(peer).or_default().changed(now)
    }
}

/// How many lines were left out, in words.
fn hidden(left_out: u32) -> String {
    if left_out == 0 {
        return String::new();
    }
    format!(" ({left_out} changes of this link were not logged: it comes and goes)")
}
