//! The effects of a peer's writes on a store.

use kv_core::{
    Dot, NamespaceId, OriginEntry, OriginId, VersionVector,
    commit::Applied,
    limits::{END_OF_TIME, MAX_METADATA_BYTES},
};

use super::{FieldOf, Fields, Name, Row, State, What, Write, is_key, joined_row};

/// The first time that is rejected, in milliseconds.
const MAX_MILLIS: u64 = END_OF_TIME * 1000;

impl State {
    pub(super) fn apply_next(&mut self, write: &Write) -> Applied {
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
        let applied = self.apply_write(write);
        if !matches!(applied, Applied::Conflict | Applied::Refused(_)) {
            self.vector.raise(dot.origin, dot.seq);
        }
        applied
    }

    pub(super) fn apply_row(&mut self, write: &Write) -> Applied {
        let is_joined = matches!(write.row.what, What::Joined(_));
        match write {
            _ if !can_be_made(write) => Applied::Refused(""),
            _ if self.vector.covers(write.row.dot) && !self.is_repaired(write) => Applied::Known,
            _ if write.row.dot.seq == 1 => self.apply_next(write),
            _ if !is_joined && !self.is_open(write.row.dot.origin) => Applied::Unopened,
            _ => self.apply_write(write),
        }
    }

    /// Whether a write has the value that this store holds as an expired tombstone.
    fn is_repaired(&self, write: &Write) -> bool {
        let is_value = matches!(write.row.what, What::Value(_));
        is_value
            && self.rows.get(&write.name).is_some_and(|here| {
                let names = |row: &Row| (row.dot, row.version);
                here.what == What::ExpiredTombstone && names(here) == names(&write.row)
            })
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
        let (vector, mut collected) = (known(vector), known(collected));
        self.vector.merge(&vector);
        for dot in collected.clone().iter() {
            collected.lower(dot.origin, self.vector.get(dot.origin));
        }
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

    fn apply_write(&mut self, write: &Write) -> Applied {
        let (row, namespace) = (&write.row, &write.name.0);
        if row.version.hlc.millis() >= MAX_MILLIS {
            return Applied::Refused("");
        }
        let prev = row.prev.map(|prev| prev.origin);
        let has_zeros = |origin: OriginId| origin.0 == [0; 16];
        if row.dot.seq == 0 || has_zeros(row.dot.origin) || prev.is_some_and(has_zeros) {
            return Applied::Refused("");
        }
        if self.is_own(row.dot.origin) && !self.vector.covers(row.dot) {
            return Applied::Refused("");
        }
        if !self.opens_rightly(write) {
            return Applied::Refused("");
        }
        if let What::Joined(fields) = &row.what {
            return self.apply_joined(write, fields);
        }
        if *namespace == NamespaceId::SYSTEM {
            return Applied::Refused("");
        }
        if self.is_dead(*namespace, row.version) {
            self.receive(row.version.hlc);
            return Applied::Dropped;
        }
        let mut concurrent = false;
        if let Some(here) = self.rows.get(&write.name) {
            let (ours, theirs) = (here.version, row.version);
            let same = |row: &Row| (row.dot.seq, row.what == What::Tombstone);
            if ours == theirs && same(here) != same(row) {
                return Applied::Conflict;
            }
            let is_repaired = ours == theirs && self.is_repaired(write);
            if ours == theirs && !is_repaired {
                self.receive(row.version.hlc);
                return Applied::Known;
            }
            if ours > theirs {
                self.receive(row.version.hlc);
                return Applied::Lost;
            }
            concurrent = match row.prev {
                Some(prev) => here.version > prev && !is_repaired,
                None => !here.is_tombstone(),
            };
        }
        self.receive(row.version.hlc);
        self.put(&write.name, row.clone());
        let is_known = self.namespaces.contains_key(namespace);
        if is_known && self.is_dropped(*namespace) && row.is_visible(self.now_ms) {
            self.purge.insert(*namespace, bytes::Bytes::new());
        }
        Applied::Won { concurrent }
    }

    /// Whether an origin is one of the process's own.
    fn is_own(&self, origin: OriginId) -> bool {
        self.own.into_iter().flatten().any(|own| own == origin)
    }

    /// Whether the first write of an origin, and no other, is its opening row.
    fn opens_rightly(&self, write: &Write) -> bool {
        let (is_first, origin) = (write.row.dot.seq == 1, write.row.dot.origin);
        let entry = match &write.row.what {
            What::Joined(fields) if OriginEntry::is_key(&write.name.1) => {
                OriginEntry::of(&write.name.1, &joined_row(fields))
            }
            _ => return !is_first,
        };
        match entry {
            Ok(OriginEntry::Opened(info)) => {
                let registry = self.registry();
                (!is_first || origin == info.id)
                    && registry.get(info.id).is_none_or(|known| *known == info)
            }
            Ok(OriginEntry::Closed { .. }) => !is_first,
            Err(_) => false,
        }
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
        let is_not_made = |dot: Dot| self.is_own(dot.origin) && !self.vector.covers(dot);
        if fields.values().any(|field| is_not_made(field.dot())) {
            return Applied::Refused("");
        }
        for field in fields.values() {
            self.receive(field.version.hlc);
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
