//! The effects of a peer's writes on a store.

use std::sync::Arc;

use kv_core::{
    Dot, NamespaceId, OriginEntry, OriginId, VersionVector, commit::Applied,
    limits::MAX_METADATA_BYTES,
};

use super::{FieldOf, Fields, Name, Row, State, What, Write, is_key};

/// The first time that is rejected, in milliseconds.
const MAX_MILLIS: u64 = 1 << 46;

impl State {
    pub(super) fn apply_next(&mut self, now_ms: u64, write: &Write) -> Applied {
        if !can_be_made(write) {
            return Applied::Refused("");
        }
        let dot = write.row.dot;
        let have = self.vector.get(dot.origin);
        if dot.seq <= have {
            return Applied::Known;
        }
        if dot.seq > have + 1 {
            return Applied::Gap { missing: have + 1 };
        }
        let applied = self.apply_write(now_ms, write);
        if !matches!(applied, Applied::Conflict | Applied::Refused(_)) {
            self.vector.raise(dot.origin, dot.seq);
        }
        applied
    }

    pub(super) fn apply_row(&mut self, now_ms: u64, write: &Write) -> Applied {
        match write {
            _ if !can_be_made(write) => Applied::Refused(""),
            _ if self.vector.covers(write.row.dot) => Applied::Known,
            _ if write.row.dot.seq == 1 => self.apply_next(now_ms, write),
            _ if !is_joined && !self.is_open(write.row.dot.origin) => Applied::Unopened,
            _ => self.apply_write(now_ms, write),
        }
    }

    pub(super) fn adopt(&mut self, vector: &VersionVector, collected: &VersionVector) -> Applied {
        for own in self.own.into_iter().flatten() {
            let ours = self.vector.get(own);
            if vector.get(own) > ours || collected.get(own) > ours {
                return Applied::Refused("");
            }
        }
        let known = |vector: &VersionVector| -> VersionVector {
            vector.iter().filter(|dot| self.is_open(dot.origin)).collect()
        };
        let (vector, collected) = (known(vector), known(collected));
        self.vector.merge(&vector);
        self.collected.merge(&collected);
        Applied::Adopted
    }

    pub(super) fn drop_row(&mut self, name: &Name, dot: Dot) -> Applied {
        if !self.is_rebuilding || name.0 == NamespaceId::SYSTEM {
            return Applied::Refused("");
        }
        if self.rows.get(name).is_none_or(|row| row.dot != dot) {
            return Applied::Lost;
        }
        self.rows.remove(name);
        self.dropped.insert(name.clone());
        Applied::Removed
    }

    fn apply_write(&mut self, now_ms: u64, write: &Write) -> Applied {
        let (row, namespace) = (&write.row, &write.name.0);
        if row.version.hlc.millis() >= MAX_MILLIS {
            return Applied::Refused("");
        }
        let prev = row.prev.map(|prev| prev.origin);
        let has_zeros = |origin: OriginId| origin.0 == [0; 16];
        if row.dot.seq == 0 || has_zeros(row.dot.origin) || prev.is_some_and(has_zeros) {
            return Applied::Refused("");
        }
        if self.own.into_iter().flatten().any(|own| own == row.dot.origin) {
            return Applied::Refused("");
        }
        // TODO merge: the first write of an origin opens it
        if let What::Joined(fields) = &row.what {
            return self.apply_joined(write, fields);
        }
        if *namespace == NamespaceId::SYSTEM {
            return Applied::Refused("");
        }
        if self.is_dead(*namespace, row.version) {
            self.clock = self.clock.max(row.version.hlc);
            return Applied::Dropped;
        }
        let mut concurrent = false;
        if let Some(here) = self.rows.get(&write.name) {
            let (ours, theirs) = (here.version, row.version);
            if ours == theirs {
                let same = |row: &Row| (row.dot.seq, row.what == What::Tombstone);
                if same(here) != same(row) {
                    return Applied::Conflict;
                }
                self.clock = self.clock.max(row.version.hlc);
                return Applied::Known;
            }
            if ours > theirs {
                self.clock = self.clock.max(row.version.hlc);
                return Applied::Lost;
            }
            concurrent = match row.prev {
                Some(prev) => here.version > prev,
                None => !here.is_tombstone(),
            };
        }
        self.clock = self.clock.max(row.version.hlc);
        self.rows.insert(write.name.clone(), Arc::new(row.clone()));
        let is_known = self.namespaces.contains_key(namespace);
        if is_known && self.is_dropped(*namespace) && row.is_visible(now_ms) {
            self.purge.insert(*namespace, bytes::Bytes::new());
        }
        Applied::Won { concurrent }
    }

    fn apply_joined(&mut self, write: &Write, fields: &Fields) -> Applied {
        let row = &write.row;
        let is_listed = |field: &FieldOf| field.dot() == row.dot && field.version == row.version;
        if write.name.0 != NamespaceId::SYSTEM || !fields.values().any(is_listed) {
            return Applied::Refused("");
        }
        if fields.values().any(|field| field.version.hlc.millis() >= MAX_MILLIS) {
            return Applied::Refused("");
        }
        let is_not_made = |dot: Dot| self.own.contains(&dot.origin) && !self.vector.covers(dot);
        if fields.values().any(|field| is_not_made(field.dot())) {
            return Applied::NotMade;
        }
        for field in fields.values() {
            self.clock = self.clock.max(field.version.hlc);
        }
        if self.join(&write.name, fields.clone()) {
            Applied::Won { concurrent: false }
        } else {
            Applied::Known
        }
    }
}

/// Whether the types of the store allow a write: a peer's message with another is not decoded.
fn can_be_made(write: &Write) -> bool {
    let metadata = write.row.metadata.as_ref().map_or(0, |text| text.len());
    is_key(&write.name.1) && metadata <= MAX_METADATA_BYTES
}
