//! The effects of a peer's writes on a store.

use std::sync::Arc;

use kv_core::{
    Dot, Namespace, NamespaceId, OriginEntry, OriginId, VersionVector, commit::Applied,
    limits::MAX_METADATA_BYTES,
};

use super::{Name, Row, State, What, Write, is_key};

/// The first time that is rejected, in milliseconds.
const MAX_MILLIS: u64 = 1 << 46;

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
        match write {
            _ if !can_be_made(write) => Applied::Refused(""),
            _ if self.vector.covers(write.row.dot) => Applied::Known,
            _ if write.row.dot.seq == 1 => self.apply_next(write),
            _ if !self.is_open(write.row.dot.origin) => Applied::Unopened,
            _ => self.apply_write(write),
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
        if self.own.into_iter().flatten().any(|own| own == row.dot.origin) {
            return Applied::Refused("");
        }
        let Ok(incoming) = system_of(write) else { return Applied::Refused("") };
        let (incoming, opened) = match incoming {
            Some(System::Namespace(namespace)) => (Some(namespace), None),
            Some(System::Origin(OriginEntry::Opened(info))) => (None, Some(info)),
            Some(System::Origin(OriginEntry::Closed { .. })) | None => (None, None),
        };
        let is_first = row.dot.seq == 1;
        let opens_itself = opened.is_some_and(|info| info.id == row.dot.origin);
        let is_opening = opens_itself && is_first && prev.is_none();
        if is_first != is_opening || (opens_itself && !is_first) {
            return Applied::Refused("");
        }
        if self.is_dropped(*namespace) {
            self.clock = self.clock.max(row.version.hlc);
            return Applied::Dropped;
        }
        let mut concurrent = false;
        if let Some(here) = self.rows.get(&write.name) {
            let here_dropped = incoming.as_ref().is_some_and(|it| self.is_dropped(it.id));
            let there_dropped = incoming.as_ref().is_some_and(|it| it.dropped);
            let (ours, theirs) = ((here_dropped, here.version), (there_dropped, row.version));
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
        if let Some(namespace) = incoming {
            self.register(namespace);
        }
        Applied::Won { concurrent }
    }
}

/// Whether the types of the store allow a write: a peer's message with another is not decoded.
fn can_be_made(write: &Write) -> bool {
    let metadata = write.row.metadata.as_ref().map_or(0, |text| text.len());
    is_key(&write.name.1) && metadata <= MAX_METADATA_BYTES
}

/// An entry of the system namespace.
enum System {
    Namespace(Namespace),
    Origin(OriginEntry),
}

struct NotASystemEntry;

fn system_of(write: &Write) -> Result<Option<System>, NotASystemEntry> {
    let (space, key) = &write.name;
    if *space != NamespaceId::SYSTEM {
        return Ok(None);
    }
    let content = write.row.content().ok_or(NotASystemEntry)?;
    if content.is_large() || write.row.metadata.is_some() || write.row.expires_at.is_some() {
        return Err(NotASystemEntry);
    }
    if OriginEntry::is_key(key) {
        let entry = OriginEntry::decode(key, &content.bytes, write.row.version.hlc);
        return entry.map(|entry| Some(System::Origin(entry))).map_err(|_bytes| NotASystemEntry);
    }
    let id = <[u8; 16]>::try_from(&key[..]).map_err(|_length| NotASystemEntry)?;
    if id == NamespaceId::SYSTEM.0 {
        return Err(NotASystemEntry);
    }
    let namespace = Namespace::decode(NamespaceId(id), &content.bytes);
    namespace.map(|found| Some(System::Namespace(found))).map_err(|_bytes| NotASystemEntry)
}
