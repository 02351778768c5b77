//! Global limits: the exchange with other locations.

use super::Limiter;
use crate::clock::Clock;
use crate::decide;
use crate::global::{
    GlobalStats, Globals, Kind, Ledger, Merged, Scene, StateCursor, UsageError, decode,
};
use crate::request::Request;

/// A key of a global limit that has no slot, while it gets one. Holds the ledger.
pub(super) struct Newcomer<'a> {
    ledger: std::sync::MutexGuard<'a, Ledger>,
    globals: &'a Globals,
    name: u64,
    /// What was counted of the key before: in a slot that was evicted, or by other locations.
    pub(super) seed: u64,
}

impl<C: Clock> Limiter<C> {
    /// Returns what is shared with other locations, if this limit is.
    #[inline]
    fn globals_of(&self, request: &Request<'_>) -> Option<&Globals> {
        if request.limit.is_global() { self.globals.as_deref() } else { None }
    }

    /// Notes that the counter of a request has changed.
    #[inline]
    pub(super) fn changed(&self, hash: u64, request: &Request<'_>) {
        if let Some(globals) = self.globals_of(request) {
            globals.mark(self.table.set_of(hash));
        }
    }

    /// The key of a request has no slot: returns what was counted of it before, if its limit is global.
    pub(super) fn newcomer(&self, request: &Request<'_>) -> Option<Newcomer<'_>> {
        let globals = self.globals_of(request)?;
        let name = globals.name(request);
        let mut ledger = globals.ledger();
        // Read while the ledger is held: what is added later finds the slot.
        let kind = Kind::of(&request.limit);
        let seed = ledger.seed(&self.table, name, kind, self.latest.get());
        Some(Newcomer { ledger, globals, name, seed })
    }

    /// The key of a request has got its slot.
    pub(super) fn placed(&self, newcomer: Newcomer<'_>, hash: u64, request: &Request<'_>) {
        let Newcomer { mut ledger, globals, name, .. } = newcomer;
        ledger.placed(&self.scene(), (name, hash), Kind::of(&request.limit));
        globals.mark(self.table.set_of(hash));
    }

    /// Returns what a request is decided on that has no slot, without giving it one.
    pub(super) fn unplaced(&self, request: &Request<'_>) -> u64 {
        self.newcomer(request).map_or(0, |newcomer| newcomer.seed)
    }

    /// Removes the counter of a request; of a global limit also what other locations have reported.
    pub(super) fn forget(&self, request: &Request<'_>) {
        let Some(globals) = self.globals_of(request) else { return self.change(request, |_| 0) };
        let name = globals.name(request);
        globals.ledger().reset(&self.scene(), name, || self.change(request, |_| 0));
    }

    fn scene(&self) -> Scene<'_, impl Fn() -> u64> {
        Scene { table: &self.table, now: || self.latest.get() }
    }

    /// Returns whether this limiter shares the counters of global limits ([`Builder::global`](crate::Builder::global)).
    #[must_use]
    pub fn is_global(&self) -> bool {
        self.globals.is_some()
    }

    /// Returns what this location has to report of its global limits to `locations` locations, itself included, as pieces
    /// of at most 8 KiB for [`merge_usage`](Limiter::merge_usage). Send each to all of them.
    ///
    /// Call it about every 20 ms. A count is reported at once when it has risen by a twentieth of the limit, divided by
    /// the number of locations, and else within a twentieth of the period, at least 20 ms and at most a second. If
    /// nothing has changed there is nothing to send.
    pub fn global_changes(&self, locations: u32) -> Vec<Vec<u8>> {
        self.global_changes_at(self.now_ms(), locations)
    }

    /// Does the same as [`global_changes`](Limiter::global_changes), at a time from [`now_ms`](Limiter::now_ms).
    pub fn global_changes_at(&self, now_ms: u64, locations: u32) -> Vec<Vec<u8>> {
        let Some(globals) = &self.globals else { return Vec::new() };
        self.note(now_ms);
        let dirty = globals.take_dirty();
        globals.ledger().changes(&self.scene(), dirty.into_iter(), locations)
    }

    /// Returns the next pieces of everything that is known of global limits, of this location and of others, and moves
    /// the cursor; `None` at the end. Send them to a location that a link has just come up to. They may be repeated.
    ///
    /// Also a save: after a restart, [`merge_usage`](Limiter::merge_usage) of these pieces continues the counters.
    pub fn global_state(&self, cursor: &mut StateCursor) -> Option<Vec<Vec<u8>>> {
        let globals = self.globals.as_ref()?;
        let (pieces, next) =
            (cursor.0 < usize::MAX).then(|| globals.ledger().state(&self.scene(), cursor.0))?;
        cursor.0 = next.unwrap_or(usize::MAX);
        Some(pieces)
    }

    /// Takes over what another location has reported, or an earlier process of this one. A piece that was received
    /// before changes nothing.
    ///
    /// # Errors
    /// [`UsageError`] if the bytes are not a piece of usage. Nothing was taken over then.
    pub fn merge_usage(&self, bytes: &[u8]) -> Result<Merged, UsageError> {
        self.merge_usage_at(self.now_ms(), bytes)
    }

    /// Does the same as [`merge_usage`](Limiter::merge_usage), at a time from [`now_ms`](Limiter::now_ms).
    ///
    /// # Errors
    /// See [`merge_usage`](Limiter::merge_usage).
    pub fn merge_usage_at(&self, now_ms: u64, bytes: &[u8]) -> Result<Merged, UsageError> {
        let sections = decode(bytes)?;
        let Some(globals) = &self.globals else { return Ok(Merged::default()) };
        self.note(now_ms);
        let mut ledger = globals.ledger();
        let cost = sections.iter().map(|section| ledger.merge(&self.scene(), section)).sum();
        Ok(Merged { cost })
    }

    /// Returns what is known of global limits.
    pub fn global_stats(&self) -> GlobalStats {
        let Some(globals) = &self.globals else { return GlobalStats::default() };
        let ledger = globals.ledger();
        let (keys, others) = ledger.size();
        GlobalStats {
            keys: keys as u64,
            others: others as u64,
            unsent: ledger.unsent(),
            merged: ledger.tally.merged,
            refused: ledger.tally.refused,
            evictions: ledger.tally.evicted,
        }
    }

    /// Decides on a request whose key has no slot, from what was counted of it before.
    pub(super) fn decide_on_seed(
        &self,
        request: &Request<'_>,
        newcomer: Option<&Newcomer<'_>>,
        now: u64,
    ) -> (crate::algorithm::Verdict, u64) {
        let seed = newcomer.map_or(0, |newcomer| newcomer.seed);
        let verdict = decide::check(&request.limit, seed, now, request.cost);
        let payload = verdict.payload.unwrap_or(seed);
        (verdict, payload)
    }
}
