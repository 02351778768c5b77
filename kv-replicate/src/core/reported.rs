//! What a peer has reported: its progress, put together from messages that each say what has changed.
//!
//! A message counts only if this location has taken in its base, or a later one, over this link. If not, because this
//! end of the link has begun again, the echo in this location's own progress shows it to the peer, which then sends
//! everything.

use std::{collections::BTreeMap, time::Duration};

use kv_core::{Dot, Hlc, OriginId, VersionVector};

use crate::wire::{Count, Echo, Opened, ProgressDelta};

/// The writes that a peer has, and its timestamps, as it last reported them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The number of the last message; 0 before the first.
    pub(super) number: u64,
    /// The writes that survive a crash at the peer.
    pub(super) durable: VersionVector,
    /// The writes that were visible there and not durable when it first reported over this link.
    pub(super) received: VersionVector,
    /// The origins that its process writes under; none before its first write.
    pub(super) origins: Option<[OriginId; 2]>,
    /// `durable` counts all writes of `origins` up to this time.
    pub(super) closed_timestamp: Hlc,
    /// `durable` counts every member's writes up to this time.
    pub(super) resolved: Hlc,
    /// Every member that the peer knows of has announced to have resolved this time.
    pub(super) held: Hlc,
    /// Whether it rebuilds its store.
    pub(super) rebuilding: bool,
    /// A digest of the writes of ended origins that it holds and `durable` does not count: 0 if there are none,
    /// [`UNKNOWN`](crate::wire::UNKNOWN) while it does not know.
    pub(super) uncounted: u64,
}

/// What came of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is older than one before.
    Stale,
    /// Its base is not here: the peer must send everything.
    Baseless,
    /// It is taken in, and these counts have changed.
    Changed(Vec<Dot>),
}

/// What a peer has reported over the present link.
#[derive(Debug, Default)]
pub(super) struct Reported {
    /// Its progress.
    progress: Progress,
    /// When its last message was taken in.
    taken_at: Duration,
    /// The number of the last message that arrived, taken in or not.
    last: u64,
    /// The origins that it has given numbers to.
    names: BTreeMap<u32, OriginId>,
}

impl Reported {
    /// The last progress; empty before the first.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// When it was last taken in.
    pub(super) fn taken_at(&self) -> Duration {
        self.taken_at
    }

    /// The echo that goes with this location's own progress: the last message that was taken in.
    pub(super) fn echo(&self, now: Duration) -> Option<Echo> {
        let number = self.progress.number;
        let held = now.saturating_sub(self.taken_at).as_millis();
        (number > 0).then(|| Echo { number, held_ms: u32::try_from(held).unwrap_or(u32::MAX) })
    }

    /// Whether a message is later than all that have arrived; from then on it is the last.
    pub(super) fn arrived(&mut self, number: u64) -> bool {
        let is_later = number > self.last;
        self.last = self.last.max(number);
        is_later
    }

    /// Takes in a message.
    ///
    /// # Errors
    /// The rule that the peer has violated.
    pub(super) fn take(
        &mut self,
        now: Duration,
        delta: ProgressDelta,
    ) -> Result<Taken, &'static str> {
        if delta.number <= self.progress.number {
            return Ok(Taken::Stale);
        }
        if delta.base > self.progress.number {
            return Ok(Taken::Baseless);
        }
        if delta.base == 0 {
            self.names.clear();
        }
        let mut dots = Vec::with_capacity(delta.counts.len());
        for Count { number, origin, seq } in delta.counts.iter().copied() {
            let known = self.names.get(&number).copied();
            let Some(name) = known.or(origin) else {
                return Err("a progress message names an origin by a number that none has");
            };
            if origin.is_some_and(|origin| origin != name) {
                return Err("a progress message gives the number of one origin to another");
            }
            if known.is_none() {
                self.names.insert(number, name);
            }
            dots.push(Dot { origin: name, seq });
        }
        let changes = self.count(dots, delta.base == 0);
        self.taken_at = now;
        self.set_times(&delta);
        Ok(Taken::Changed(changes))
    }

    /// Takes over counts. Returns those that have changed.
    fn count(&mut self, dots: Vec<Dot>, is_all: bool) -> Vec<Dot> {
        let (before, dots) = (&self.progress.durable, dots.into_iter());
        let changed = |dot: &Dot| before.get(dot.origin) != dot.seq;
        if is_all {
            let durable: VersionVector = dots.filter(|dot| dot.seq > 0).collect();
            let changes = durable.iter().filter(changed).collect();
            self.progress.durable = durable;
            return changes;
        }
        let changes: Vec<_> = dots.filter(changed).collect();
        if changes.iter().any(|dot| dot.seq < before.get(dot.origin)) {
            let new: BTreeMap<_, _> = changes.iter().map(|dot| (dot.origin, dot.seq)).collect();
            let kept = before.iter().filter(|dot| !new.contains_key(&dot.origin));
            let new = changes.iter().copied().filter(|dot| dot.seq > 0);
            self.progress.durable = kept.chain(new).collect();
        } else {
            changes.iter().for_each(|dot| self.progress.durable.raise(dot.origin, dot.seq));
        }
        changes
    }

    /// Takes over what a message says beside counts.
    fn set_times(&mut self, delta: &ProgressDelta) {
        let progress = &mut self.progress;
        progress.number = delta.number;
        match delta.opened {
            Opened::Nothing => progress.origins = None,
            Opened::AsBefore => {}
            Opened::Pair(pair) => progress.origins = Some(pair),
        }
        if delta.base == 0 {
            progress.received = delta.visible.iter().copied().collect();
        }
        progress.closed_timestamp = delta.closed_timestamp;
        (progress.resolved, progress.held) = (delta.resolved, delta.held);
        (progress.rebuilding, progress.uncounted) = (delta.rebuilding, delta.uncounted);
    }
}

#[cfg(test)]
impl Reported {
    /// Sets the progress.
    pub(super) fn set(&mut self, progress: Progress) {
        self.progress = progress;
    }
}

#[cfg(test)]
mod tests;
