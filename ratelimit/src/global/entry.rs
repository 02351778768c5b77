//! One key of a global limit: what this location has allowed, and what others have.
//!
//! The slot of a key in the table holds the *total* of all locations, so that a check of a global limit is a check of
//! one counter. What this location has allowed itself is the total without what was added for others.

use super::kind::Kind;
use crate::class::Weight;
use crate::table::Table;

/// The most processes whose counts of a key are kept. Of more, the one with the least count makes room: what was added
/// for it stays.
const MAX_OTHERS: usize = 256;
/// How far the window of another location's clock may be ahead.
const AHEAD: u64 = 1;

/// A key of a global limit. Pairs of counts are those of the window before `window`, and of `window`.
#[derive(Debug)]
pub(super) struct Entry {
    /// The name of the counter at all locations.
    pub(super) id: u64,
    pub(super) kind: Kind,
    /// The hash that leads to its slot; none if no request of this location had the key.
    pub(super) hash: Option<u64>,
    /// The index of the newest window.
    pub(super) window: u64,
    /// What this location has allowed since its start. It never falls within a window.
    own: [u32; 2],
    /// What of it was reported.
    sent: [u32; 2],
    /// What others have allowed, as far as it is in the total.
    added: [u32; 2],
    /// What a reset has removed from the total: of the own, and of what was added.
    forgiven: [[u32; 2]; 2],
    /// Since when something is not reported; 0 if everything is.
    pub(super) unsent_since: u64,
    /// Whether the ledger will look at it because others are a window ahead.
    pub(super) waits: bool,
    /// What other processes have allowed.
    pub(super) others: Vec<Other>,
}

/// What another process has allowed: before `window`, in `window`, and in the one that begins next, because clocks differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Other {
    /// The random number of the process.
    pub(super) replica: u64,
    pub(super) counts: [u32; 3],
}

impl Entry {
    pub(super) fn new(id: u64, kind: Kind, now: u64) -> Entry {
        Entry {
            id,
            kind,
            hash: None,
            window: now / kind.period,
            own: [0; 2],
            sent: [0; 2],
            added: [0; 2],
            forgiven: [[0; 2]; 2],
            unsent_since: 0,
            waits: false,
            others: Vec::new(),
        }
    }

    /// Moves on to the window of `now`.
    fn advance(&mut self, now: u64) {
        let index = now / self.kind.period;
        for _ in 0..index.saturating_sub(self.window).min(3) {
            let [own_forgiven, others_forgiven] = &mut self.forgiven;
            for pair in
                [&mut self.own, &mut self.sent, &mut self.added, own_forgiven, others_forgiven]
            {
                *pair = [pair[1], 0];
            }
            for other in &mut self.others {
                other.counts = [other.counts[1], other.counts[2], 0];
            }
        }
        if index > self.window {
            self.window = index;
            self.others.retain(|other| other.counts != [0; 3]);
        }
    }

    /// Reads from the slot what this location has allowed, and adds to it what others have.
    pub(super) fn refresh(&mut self, table: &Table, now: &impl Fn() -> u64) {
        loop {
            let found = self.hash.and_then(|hash| table.find(hash));
            // Later than the time at which the word was written.
            self.advance(now());
            let sums = self.sums();
            let Some((slot, word)) = found else {
                self.added = sums;
                return;
            };
            let mut totals = self.kind.counts(word.payload(), self.window);
            let mut is_more = false;
            for at in 0..2 {
                let theirs = self.added[at].saturating_sub(self.forgiven[1][at]);
                let own = totals[at].saturating_sub(theirs).saturating_add(self.forgiven[0][at]);
                self.own[at] = self.own[at].max(own);
                let more = sums[at].saturating_sub(self.added[at]);
                totals[at] = totals[at].saturating_add(more);
                is_more |= more > 0;
            }
            if !is_more || slot.replace(word, self.kind.payload(self.window, totals)).is_ok() {
                self.added = sums;
                return;
            }
        }
    }

    /// Returns what the slot of the key must hold, which it does not have yet.
    pub(super) fn seed(&mut self, now: u64) -> u64 {
        self.advance(now);
        self.added = self.sums();
        let totals = [0, 1].map(|at| {
            let own = self.own[at].saturating_sub(self.forgiven[0][at]);
            own.saturating_add(self.added[at].saturating_sub(self.forgiven[1][at]))
        });
        self.kind.payload(self.window, totals)
    }

    /// Forgets everything that was counted, here. What this location has allowed before stays reported to others.
    pub(super) fn reset(&mut self) {
        self.forgiven = [self.own, self.added];
    }

    /// Takes over what another process has allowed in the window of `index` and in the one before: each of its counts
    /// replaces a lower one. Returns how much is new; `None` if these windows have passed here, or lie ahead.
    pub(super) fn merge(
        &mut self,
        replica: u64,
        index: u64,
        counts: [u32; 2],
        now: u64,
    ) -> Option<u64> {
        self.advance(now);
        if index > self.window + AHEAD || index + 1 < self.window {
            return None;
        }
        let mut known = [0; 3];
        for (back, count) in counts.into_iter().rev().enumerate() {
            let place = (index + 1).checked_sub(self.window + back as u64);
            if let Some(known) = place.and_then(|place| known.get_mut(usize::try_from(place).ok()?))
            {
                *known = count.min(self.kind.most());
            }
        }
        if known == [0; 3] {
            return Some(0);
        }
        let other = self.other(replica);
        let mut new = 0;
        for (held, count) in other.counts.iter_mut().zip(known) {
            new += u64::from(count.saturating_sub(*held));
            *held = count.max(*held);
        }
        Some(new)
    }

    /// Returns the counts of a process.
    fn other(&mut self, replica: u64) -> &mut Other {
        let found = self.others.iter().position(|other| other.replica == replica);
        let at = found.unwrap_or_else(|| {
            if self.others.len() >= MAX_OTHERS {
                let sum = |other: &Other| other.counts.iter().map(|count| u64::from(*count)).sum();
                let least =
                    (0..self.others.len()).min_by_key(|at| -> u64 { sum(&self.others[*at]) });
                self.others.swap_remove(least.unwrap_or_default());
            }
            self.others.reserve_exact(1);
            self.others.push(Other { replica, counts: [0; 3] });
            self.others.len() - 1
        });
        &mut self.others[at]
    }

    /// Returns what others have allowed, in both windows.
    fn sums(&self) -> [u32; 2] {
        let mut sums = [0_u32; 2];
        for other in &self.others {
            for (sum, count) in sums.iter_mut().zip(other.counts) {
                *sum = sum.saturating_add(count);
            }
        }
        // What was added stays, also if the counts of a process had to make room.
        [0, 1].map(|at| sums[at].max(self.added[at]))
    }

    /// Returns what this location has allowed.
    pub(super) fn own(&self) -> [u32; 2] {
        self.own
    }

    /// Returns how much is not reported.
    pub(super) fn unsent(&self) -> u32 {
        let of = |at: usize| self.own[at].saturating_sub(self.sent[at]);
        of(0).saturating_add(of(1))
    }

    /// Everything is reported.
    pub(super) fn report(&mut self) {
        self.sent = self.own;
        self.unsent_since = 0;
    }

    /// Returns whether others have allowed something in a window that has not begun here.
    pub(super) fn is_ahead(&self) -> bool {
        self.others.iter().any(|other| other.counts[2] > 0)
    }

    /// Returns whether nothing is counted.
    pub(super) fn is_empty(&self) -> bool {
        self.own == [0; 2] && self.others.is_empty()
    }

    /// Returns what is lost with the entry.
    pub(super) fn weight(&self, now: u64) -> Weight {
        let sums = self.sums();
        let totals = [0, 1].map(|at| sums[at].saturating_add(self.own[at]));
        self.kind.weight(self.kind.payload(self.window, totals), now)
    }

    /// Returns about how many bytes it takes, with its places in the maps.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Option<Entry>>() + 64 + self.others.capacity() * size_of::<Other>()
    }
}
