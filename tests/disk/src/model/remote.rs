//! The effects of a peer's writes on a store.

use std::sync::Arc;

use kv_core::{
    Namespace, NamespaceId, VersionVector,
    commit::Applied,
    limits::{END_OF_TIME, MAX_METADATA_BYTES},
};

use super::{Row, State, What, Write, is_key};

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
        if !matches!(applied, Applied::Conflict | Applied::NotMade | Applied::Refused(_)) {
            self.vector.raise(dot.origin, dot.seq);
        }
        applied
    }

    pub(super) fn apply_row(&mut self, write: &Write) -> Applied {
        match write {
            _ if !can_be_made(write) => Applied::Refused(""),
            _ if self.vector.covers(write.row.dot) && !self.is_repaired(write) => Applied::Known,
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
        for own in self.own {
            let ours = self.vector.get(own);
            if vector.get(own) > ours || collected.get(own) > ours {
                return Applied::NotMade;
            }
        }
        self.vector.merge(vector);
        self.collected.merge(collected);
        Applied::Adopted
    }

    fn apply_write(&mut self, write: &Write) -> Applied {
        let (row, namespace) = (&write.row, &write.name.0);
        if row.version.hlc.millis() >= MAX_MILLIS {
            return Applied::Refused("");
        }
        if row.dot.seq == 0 {
            return Applied::Refused("");
        }
        if self.own.contains(&row.dot.origin) && !self.vector.covers(row.dot) {
            return Applied::NotMade;
        }
        let incoming = match namespace_of(write) {
            Ok(incoming) => incoming,
            Err(NotANamespace) => return Applied::Refused(""),
        };
        if self.is_dropped(*namespace) {
            self.receive(row.version.hlc);
            return Applied::Dropped;
        }
        let mut concurrent = false;
        if let Some(here) = self.rows.get(&write.name) {
            let here_dropped = incoming.as_ref().is_some_and(|it| self.is_dropped(it.id));
            let there_dropped = incoming.as_ref().is_some_and(|it| it.dropped);
            let (ours, theirs) = ((here_dropped, here.version), (there_dropped, row.version));
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

struct NotANamespace;

fn namespace_of(write: &Write) -> Result<Option<Namespace>, NotANamespace> {
    if write.name.0 != NamespaceId::SYSTEM {
        return Ok(None);
    }
    let id = <[u8; 16]>::try_from(&write.name.1[..]).map_err(|_length| NotANamespace)?;
    let content = write.row.content().ok_or(NotANamespace)?;
    if id == NamespaceId::SYSTEM.0 {
        return Err(NotANamespace);
    }
    if content.is_large() || write.row.metadata.is_some() || write.row.expires_at.is_some() {
        return Err(NotANamespace);
    }
    Namespace::decode(NamespaceId(id), &content.bytes).map(Some).map_err(|_bytes| NotANamespace)
}
