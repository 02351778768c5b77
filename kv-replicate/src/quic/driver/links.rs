//! Links: which to keep, and which members to dial.

use std::{sync::Arc, time::Duration};

use kv_core::MemberId;

use super::Driver;
use crate::{
    Event, Notice,
    quic::{
        attempts::{Attempts, LASTING},
        code,
        error::QueryError,
        input::Input,
        link::Link,
        link_error::LinkError,
        pace::Pace,
        proven::Proven,
    },
};

impl Driver {
    /// A peer has proven its identity. Its link replaces an existing one, because a peer that makes another link
    /// has lost that one. But of two links that were made at once, both ends keep the one that the lower id
    /// dialled.
    pub(super) fn up(&mut self, proven: Proven) {
        let Proven { peer, is_ours, .. } = proven;
        if peer == self.config.member && !is_ours {
            self.notice(&Notice::CopyRuns);
        }
        if let Some(reason) = self.core.halted() {
            return proven.connection.close(code::HALTED, reason.to_string().as_bytes());
        }
        if peer == self.config.member {
            return proven.connection.close(code::GOING, b"this location does not link");
        }
        self.links.attempts.entry(peer).or_default().end();
        let moment = self.moment();
        let now = moment.at;
        let is_right = |is_ours: bool| is_ours == (self.config.member < peer);
        if let Some(before) = self.links.up.get(&peer) {
            let is_new = now.saturating_sub(before.since) < LASTING;
            let is_alive = before.connection.close_reason().is_none();
            if is_alive && is_new && is_right(before.is_ours) && !is_right(is_ours) {
                return proven.connection.close(code::DOUBLE, b"another link exists");
            }
            before.close(code::DOUBLE, "another link replaces it");
            let is_double = is_new && is_right(is_ours) && !is_right(before.is_ours);
            let since = before.since;
            self.links.up.remove(&peer);
            if !is_double {
                self.lost_there(peer, since);
            }
            self.tell(Event::Disconnected(peer));
        }
        self.links.attempts.entry(peer).or_default().linked();
        self.log_up(&proven);
        self.history.tracks.entry(peer).or_default().linked(moment);
        self.links.last += 1;
        let pace = self.config.tuning.catch_up_bytes_per_second.map(Pace::new);
        let window = self.config.tuning.window_bytes;
        let sending = (self.network.sender.clone(), Arc::clone(&self.network.room));
        let link = Link::start(
            proven,
            (self.links.last, now),
            (pace, window),
            sending,
            &mut self.network.tasks,
        );
        self.links.up.insert(peer, link);
        self.tell(Event::Connected(peer));
    }

    /// A peer has made another link: it has lost the one that came up at this time, for example because it was restarted.
    fn lost_there(&mut self, peer: MemberId, since: Duration) {
        let now = self.moment();
        let lasted = now.at.saturating_sub(since);
        let why = "the peer has lost it and made another one, as after a restart";
        self.links.attempts.entry(peer).or_default().link_replaced(lasted, now, why);
        self.log_down(peer, lasted, why);
    }

    /// A link has ended.
    pub(super) fn down(&mut self, peer: MemberId, number: u64, error: &LinkError) {
        if self.links.up.get(&peer).is_none_or(|link| link.number != number) {
            return;
        }
        self.note_halt(peer, error);
        self.history.tracks.entry(peer).or_default().has_stopped = error.is_stop();
        self.drop_link(peer, &self.why_down(peer, error), error.is_replaced());
        self.tell(Event::Disconnected(peer));
    }

    /// A link or an attempt has ended, possibly because the peer does not replicate any more.
    fn note_halt(&mut self, peer: MemberId, error: &LinkError) {
        let Some(reason) = error.halted() else { return };
        let now = self.moment();
        if self.history.tracks.entry(peer).or_default().halted(now, reason.clone()) {
            tracing::warn!(
                "{} reports that it does not replicate any more: {reason}",
                self.called(peer)
            );
        }
    }

    /// Drops a link that has ended; the peer may have replaced it by one of another process of this location.
    pub(super) fn drop_link(&mut self, peer: MemberId, why: &str, is_replaced: bool) {
        let Some(link) = self.links.up.remove(&peer) else { return };
        let now = self.moment();
        let lasted = now.at.saturating_sub(link.since);
        self.log_down(peer, lasted, why);
        let last = self.history.tracks.get(&peer).and_then(|track| track.last).unwrap_or(now);
        let attempts = self.links.attempts.entry(peer).or_default();
        attempts.link_ended(lasted, (last, now), (why, is_replaced));
        self.links.dial = true;
    }

    /// Closes all links; peers are dialled again.
    pub(super) fn unlink(&mut self, reason: &str) {
        for peer in self.links.up.keys().copied().collect::<Vec<_>>() {
            if let Some(link) = self.links.up.get(&peer) {
                link.close(code::GOING, reason);
            }
            self.drop_link(peer, reason, false);
            self.tell(Event::Disconnected(peer));
        }
    }

    /// An attempt to dial a peer has failed.
    pub(super) fn not_reached(&mut self, peer: MemberId, error: &LinkError) {
        self.note_halt(peer, error);
        let text = error.to_string();
        let attempts = self.links.attempts.entry(peer).or_default();
        // The first failure, and each that differs; the others say nothing new.
        let is_new = attempts.last_error() != Some(&text);
        attempts.failed(text.clone(), error.is_answer());
        if error.halted().is_none() {
            self.history.tracks.entry(peer).or_default().not_reached();
            if is_new {
                self.log_unreached(peer, &text);
            }
        }
        self.links.dial = true;
    }

    /// Dials the wanted peers that have no link, and ends attempts that are not needed any more.
    pub(super) fn dial_missing(&mut self) {
        let wanted = self.wanted();
        for (peer, attempts) in &mut self.links.attempts {
            if !wanted.contains(peer) || self.links.up.contains_key(peer) {
                attempts.end();
            }
        }
        self.links.attempts.retain(|peer, _| wanted.contains(peer));
        for peer in wanted {
            let is_under_way = self.links.attempts.get(&peer).is_some_and(Attempts::is_under_way);
            if !is_under_way && !self.links.up.contains_key(&peer) {
                self.begin_to_dial(peer);
            }
        }
    }

    /// Dials a peer after a wait, in a task of its own.
    fn begin_to_dial(&mut self, peer: MemberId) {
        let addresses = self.addresses(peer);
        let failures = self.links.attempts.get(&peer).map_or(0, Attempts::failures);
        // A peer that this store does not know may not know this location either.
        let is_theirs = peer < self.config.member && self.store.members.is_current(peer);
        let patience = if is_theirs { self.config.tuning.dial_patience } else { Duration::ZERO };
        let wait = patience + self.pause(failures);
        let (dialler, sender) = (self.network.dialler.clone(), self.network.sender.clone());
        let task = self.network.tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            let input = match dialler.dial(peer, &addresses).await {
                Ok(proven) => Input::Up(proven),
                Err(error) => Input::NotReached { peer, error },
            };
            let _over = sender.send(input).await;
        });
        let now = self.moment();
        self.links.attempts.entry(peer).or_default().begin(task, now);
    }

    /// The addresses of a peer: first those in the store, then those in the configuration.
    pub(super) fn addresses(&self, peer: MemberId) -> Vec<String> {
        let member = self.store.members.get(peer);
        let mut all = member.map(|member| member.addresses.clone()).unwrap_or_default();
        let of_bootstrap = self.config.bootstrap.iter().filter(|(id, _)| *id == peer);
        for address in of_bootstrap.flat_map(|(_, addresses)| addresses) {
            if !all.contains(address) {
                all.push(address.clone());
            }
        }
        all
    }

    /// The wait after a number of failures: doubled with each, and then a random part between half and all of
    /// it, so that peers do not retry at the same time.
    fn pause(&self, failures: u32) -> Duration {
        let tuning = &self.config.tuning;
        if failures == 0 {
            return Duration::ZERO;
        }
        let doubled = tuning.retry_first.saturating_mul(1 << (failures - 1).min(16));
        let most = doubled.min(tuning.retry_most);
        let random = self.config.environment.random_id().unwrap_or_default();
        most.mul_f64(0.5 + f64::from(random[0]) / 512.0)
    }

    /// The core has halted: links serve nothing any more.
    pub(super) fn halt(&mut self) {
        let why = self.core.halted().map(|reason| reason.to_string()).unwrap_or_default();
        for link in std::mem::take(&mut self.links.up).into_values() {
            link.close(code::HALTED, &why);
        }
        self.network.acceptor.refuse(why);
        self.links.attempts.values_mut().for_each(Attempts::end);
        for answer in std::mem::take(&mut self.verifying).into_values().flatten() {
            let _gone = answer.send(Err(QueryError::Halted));
        }
    }
}
