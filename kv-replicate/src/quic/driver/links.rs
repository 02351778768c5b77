//! Which links there are, and whom to dial.

use std::{sync::Arc, time::Duration};

use kv_core::MemberId;
use tokio::task::AbortHandle;

use super::{Driver, Input};
use crate::{
    Event,
    quic::{
        AskError,
        link::{DOUBLE, Ended, GOING, Link, Proven},
        pace::Pace,
    },
};

/// A link that has lasted so long was a good one: what ends it says nothing of the next. Until then it is
/// not given up for another one either, if it is the right one of two.
pub(super) const LASTING: Duration = Duration::from_secs(10);

/// What became of the attempts to reach a peer.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// In a row.
    pub(super) failures: u32,
    pub(super) last_error: Option<String>,
    /// Since when there is no link that lasts; none if the last one did, and is up.
    pub(super) down_since: Option<Duration>,
    /// One is waiting, or under way.
    task: Option<AbortHandle>,
}

impl Driver {
    /// A peer has proven who it is: its link takes the place of one that was there before, for whoever
    /// makes another one has lost that. But of two that were made at once the one that the lower id
    /// dialled is kept, at both ends.
    pub(super) fn up(&mut self, proven: Proven) {
        let Proven { peer, is_ours, .. } = proven;
        if let Some(attempts) = self.attempts.get_mut(&peer) {
            attempts.end();
        }
        if self.core.halted().is_some() || peer == self.config.member {
            return proven.connection.close(GOING, b"no link with this location");
        }
        let now = self.now().mono;
        let is_right = |is_ours: bool| is_ours == (self.config.member < peer);
        if let Some(before) = self.links.get(&peer) {
            let is_new = now.saturating_sub(before.since) < LASTING;
            let is_alive = before.connection.close_reason().is_none();
            if is_alive && is_new && is_right(before.is_ours) && !is_right(is_ours) {
                return proven.connection.close(DOUBLE, b"there is another link already");
            }
            before.close(DOUBLE, "another link takes its place");
            self.links.remove(&peer);
            self.tell(Event::Disconnected(peer));
        }
        let address = proven.connection.remote_address();
        tracing::info!(%peer, %address, "linked");
        self.last_link += 1;
        let pace = self.config.tuning.catch_up_bytes_per_second.map(Pace::new);
        let sending = (self.sender.clone(), Arc::clone(&self.room));
        let link = Link::start(proven, (self.last_link, now), pace, sending, &mut self.tasks);
        self.links.insert(peer, link);
        self.tell(Event::Connected(peer));
    }

    pub(super) fn down(&mut self, peer: MemberId, number: u64, ended: &Ended) {
        if self.links.get(&peer).is_none_or(|link| link.number != number) {
            return;
        }
        self.let_go(peer, &ended.to_string());
        self.tell(Event::Disconnected(peer));
    }

    /// A link is at its end.
    pub(super) fn let_go(&mut self, peer: MemberId, why: &str) {
        let Some(link) = self.links.remove(&peer) else { return };
        tracing::info!(%peer, why, "a link is down");
        let now = self.now().mono;
        let has_lasted = now.saturating_sub(link.since) >= LASTING;
        let attempts = self.attempts.entry(peer).or_default();
        if has_lasted {
            (attempts.failures, attempts.down_since) = (0, None);
        } else {
            attempts.failures = attempts.failures.saturating_add(1);
        }
        // Links that come and go are as good as none.
        attempts.down_since.get_or_insert(now);
        attempts.last_error = Some(why.to_owned());
        self.dial = true;
    }

    pub(super) fn not_reached(&mut self, peer: MemberId, ended: &Ended) {
        tracing::debug!(%peer, %ended, "not reached");
        let attempts = self.attempts.entry(peer).or_default();
        attempts.end();
        attempts.failures = attempts.failures.saturating_add(1);
        attempts.last_error = Some(ended.to_string());
        self.dial = true;
    }

    /// Begins to dial whom it wants a link with and has none, and ends what is no longer wanted.
    pub(super) fn dial_whom_it_lacks(&mut self) {
        let wanted = self.wanted();
        for (peer, attempts) in &mut self.attempts {
            if !wanted.contains(peer) || self.links.contains_key(peer) {
                attempts.end();
            }
        }
        self.attempts.retain(|peer, _| wanted.contains(peer));
        for peer in wanted {
            let is_under_way = self.attempts.get(&peer).is_some_and(|found| found.task.is_some());
            if !is_under_way && !self.links.contains_key(&peer) {
                self.begin_to_dial(peer);
            }
        }
    }

    fn begin_to_dial(&mut self, peer: MemberId) {
        let addresses = self.addresses(peer);
        let failures = self.attempts.get(&peer).map_or(0, |attempts| attempts.failures);
        // A peer that this store does not know may not know this location.
        let is_theirs = peer < self.config.member && self.members.is_current(peer);
        let patience = if is_theirs { self.config.tuning.dial_patience } else { Duration::ZERO };
        let wait = patience + self.pause(failures);
        let (dialler, sender) = (self.dialler.clone(), self.sender.clone());
        let task = self.tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            let input = match dialler.dial(peer, &addresses).await {
                Ok(proven) => Input::Up(proven),
                Err(ended) => Input::NotReached { peer, ended },
            };
            let _over = sender.send(input).await;
        });
        let now = self.now().mono;
        let attempts = self.attempts.entry(peer).or_default();
        attempts.task = Some(task);
        attempts.down_since.get_or_insert(now);
    }

    /// Where a peer may be: first as the store says, then as the configuration does.
    fn addresses(&self, peer: MemberId) -> Vec<String> {
        let member = self.members.get(peer);
        let mut all = member.map(|member| member.addresses.clone()).unwrap_or_default();
        let of_bootstrap = self.config.bootstrap.iter().filter(|(id, _)| *id == peer);
        for address in of_bootstrap.flat_map(|(_, addresses)| addresses) {
            if !all.contains(address) {
                all.push(address.clone());
            }
        }
        all
    }

    /// How long is waited after so many failures: doubled with each, and between half and all of it, so
    /// that not all come at once.
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

    /// The core replicates no more: no link serves anything.
    pub(super) fn halt(&mut self) {
        let why = self.core.halted().unwrap_or_default();
        for link in std::mem::take(&mut self.links).into_values() {
            link.close(GOING, why);
        }
        self.attempts.values_mut().for_each(Attempts::end);
        for answer in std::mem::take(&mut self.verifying).into_values().flatten() {
            let _gone = answer.send(Err(AskError::Halted));
        }
    }
}

impl Attempts {
    /// Ends the one that is waiting or under way.
    fn end(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}
