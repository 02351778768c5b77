//! Lines of the log about links: they name locations as people do, and are few.

use std::time::Duration;

use kv_core::MemberId;

use super::Driver;
use crate::quic::{flaps::Flaps, proven::Proven, socket::canonical};

impl Driver {
    /// The name of a peer, for people; its id, if the store does not know it.
    pub(super) fn called(&self, peer: MemberId) -> String {
        self.store.members.get(peer).map_or_else(|| peer.to_string(), |member| member.name.clone())
    }

    /// A link to a peer is up.
    pub(super) fn log_up(&mut self, proven: &Proven) {
        let Some(left_out) = self.changed(proven.peer) else { return };
        let (name, address) =
            (self.called(proven.peer), canonical(proven.connection.remote_address()));
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

    /// Nothing arrives on a link that is up, or something does again.
    pub(super) fn log_silence(&mut self, peer: MemberId, is_silent: bool) {
        let Some(left_out) = self.changed(peer) else { return };
        let (name, hidden) = (self.called(peer), hidden(left_out));
        if is_silent {
            tracing::warn!("nothing has arrived on the link to {name} for more than 3 s{hidden}");
        } else {
            tracing::info!("messages arrive on the link to {name} again{hidden}");
        }
    }

    /// No address of a peer leads to it.
    pub(super) fn log_unreached(&mut self, peer: MemberId, why: &str) {
        let Some(left_out) = self.changed(peer) else { return };
        let name = self.called(peer);
        tracing::warn!("can't reach {name}, and retries: {why}{}", hidden(left_out));
    }

    /// Logs the state of each link whose last change was left out of the log, once it has settled.
    pub(super) fn log_settled(&mut self) {
        let now = self.now().mono;
        let settled = |(peer, flaps): (&MemberId, &mut Flaps)| Some((*peer, flaps.settled(now)?));
        let settled: Vec<_> = self.history.flaps.iter_mut().filter_map(settled).collect();
        for (peer, left_out) in settled {
            let (name, hidden) = (self.called(peer), hidden(left_out));
            if let Some(link) = self.links.up.get(&peer) {
                let address = canonical(link.connection.remote_address());
                tracing::info!("the link to {name} ({address}) is up{hidden}");
            } else {
                let error =
                    self.links.attempts.get(&peer).and_then(|attempts| attempts.last_error());
                let why = error.map_or(String::new(), |why| format!(": {why}"));
                tracing::warn!("the link to {name} is down{why}{hidden}");
            }
        }
    }

    /// Counts a change of a link. Returns how many were left out before it, if it is logged.
    fn changed(&mut self, peer: MemberId) -> Option<u32> {
        let now = self.now().mono;
        self.history.flaps.entry(peer).or_default().changed(now)
    }
}

/// How many lines were left out, in words.
fn hidden(left_out: u32) -> String {
    match left_out {
        0 => String::new(),
        1 => " (the change before was not logged)".into(),
        _ => format!(" ({left_out} changes before were not logged: the link comes and goes)"),
    }
}
