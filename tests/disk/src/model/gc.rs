//! The rows that GC must remove.

use std::{ops::Bound, sync::Arc};

use kv_core::{
    NamespaceId,
    commit::{GcLimits, GcStep},
};

use super::{Name, Row, State, What};

impl State {
    /// Performs a step of GC and returns the result that the store must return, without bodies.
    pub fn collect_garbage(&mut self, now_ms: u64, limits: &GcLimits) -> GcStep {
        self.now_ms = now_ms;
        let has_expired = |at: u64| limits.expired_ms.is_some_and(|last| at <= last / 1000);
        let expiry = |row: &Row| row.expires_at.filter(|at| has_expired(*at));
        let expired = self.first(limits.rows, |row| expiry(row).filter(|_| !row.is_tombstone()));
        let mut tombstones = self.first(limits.rows, |row| {
            let is_stable = row.what == What::Tombstone && row.version.hlc < limits.stable;
            is_stable.then_some(row.version.hlc.0)
        });
        let mut ended = self
            .first(limits.rows, |row| expiry(row).filter(|_| row.what == What::ExpiredTombstone));
        ended.retain(|_| limits.collects_expired);
        ended.retain(|name| self.rows[name].version.hlc < limits.stable);
        tombstones.extend(ended);
        let purged = self.purge.first_key_value().map(|(id, upto)| {
            let after = (Bound::Excluded((*id, upto.clone())), Bound::Unbounded);
            let names = self.rows.range(after).take_while(|(name, _)| name.0 == *id);
            (*id, names.take(limits.rows).map(|(name, _)| name.clone()).collect::<Vec<_>>())
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
                let upto = row.version.hlc.min(self.closed);
                self.collected_upto = self.collected_upto.max(upto);
            }
        }
        let mut step =
            GcStep { expired: expired.len(), collected: tombstones.len(), ..GcStep::default() };
        if let Some((id, names)) = purged {
            self.purge(limits.rows, (id, names), &mut step);
        }
        step
    }

    /// Walks over these rows of a dropped namespace. A store that is rebuilt can't create it again: the walk waits there.
    fn purge(&mut self, limit: usize, (id, names): (NamespaceId, Vec<Name>), step: &mut GcStep) {
        let (mut passed, mut waits) = (None, false);
        for name in &names {
            if let Some(row) = self.rows.get(name) {
                if self.is_dead(id, row.version) {
                    self.rows.remove(name);
                    step.purged += 1;
                } else if self.is_dropped(id)
                    && self.namespaces.contains_key(&id)
                    && row.is_visible(self.now_ms)
                {
                    waits = self.is_rebuilding;
                    if waits {
                        break;
                    }
                    self.create_again(id);
                    step.kept += 1;
                }
            }
            passed = Some(name);
        }
        match passed {
            None if waits => {}
            Some(last) if waits || names.len() == limit => {
                drop(self.purge.insert(id, last.1.clone()));
            }
            _ => drop(self.purge.remove(&id)),
        }
    }

    /// The first names in the order of `time`, of those for which it returns a time.
    fn first(&self, limit: usize, time: impl Fn(&Row) -> Option<u64>) -> Vec<Name> {
        let mut found: Vec<(u64, &Name)> =
            self.rows.iter().filter_map(|(name, row)| time(row).map(|time| (time, name))).collect();
        found.sort_unstable();
        found.into_iter().take(limit).map(|(_, name)| name.clone()).collect()
    }
}
