//! The rows that GC must remove.

use std::sync::Arc;

use kv_core::commit::{GcLimits, GcStep};

use super::{Name, Row, State, What};

impl State {
    /// Performs a step of GC and returns the result that the store must return, without bodies.
    pub fn collect_garbage(&mut self, now_ms: u64, limits: &GcLimits) -> GcStep {
        let last = now_ms.saturating_sub(limits.max_skew_ms) / 1000;
        let expired = self.first(limits.rows, |row| match row.expires_at {
            Some(at) if !row.is_tombstone() && at <= last => Some(at),
            _ => None,
        });
        let tombstones = self.first(limits.rows, |row| {
            (row.is_tombstone() && row.version.hlc < limits.stable).then_some(row.version.hlc.0)
        });
        let purged = self.purge.first().copied().map(|id| {
            let names =
                self.rows.range((id, bytes::Bytes::new())..).take_while(|(name, _)| name.0 == id);
            (id, names.take(limits.rows).map(|(name, _)| name.clone()).collect::<Vec<_>>())
        });
        for name in &expired {
            let row = Row::clone(&self.rows[name]);
            let tombstone = Row { what: What::ExpiredTombstone, metadata: None, ..row };
            self.rows.insert(name.clone(), Arc::new(tombstone));
        }
        // A tombstone that the vector does not count stays.
        let is_counted = |name: &Name| self.vector.covers(self.rows[name].dot);
        let tombstones: Vec<_> = tombstones.into_iter().filter(is_counted).collect();
        for name in &tombstones {
            if let Some(row) = self.rows.remove(name) {
                self.collected.raise(row.dot.origin, row.dot.seq);
            }
        }
        let mut step =
            GcStep { expired: expired.len(), collected: tombstones.len(), ..GcStep::default() };
        if let Some((id, names)) = purged {
            step.purged = names.len();
            for name in &names {
                self.rows.remove(name);
            }
            if names.len() < limits.rows {
                self.purge.remove(&id);
            }
        }
        step
    }

    /// The first names in the order of `time`, of those for which it returns a time.
    fn first(&self, limit: usize, time: impl Fn(&Row) -> Option<u64>) -> Vec<Name> {
        let mut found: Vec<(u64, &Name)> =
            self.rows.iter().filter_map(|(name, row)| time(row).map(|time| (time, name))).collect();
        found.sort_unstable();
        found.into_iter().take(limit).map(|(_, name)| name.clone()).collect()
    }
}
