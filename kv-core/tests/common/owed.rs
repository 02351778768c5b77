//! A store whose rows a test damages, and the writes of a peer that has them.

use std::ops::{Deref, DerefMut};

use super::{NOW, key, peer};
use kv_core::{
    Attributes, BodyId, Dot, Hlc, MemberId, NamespaceId, Operation, OriginId, Outcome, OwedReason,
    ReadError, Table, VersionVector,
    commit::{BatchWrite, GcLimits, GcStep, NewContent, Remote, RemoteWrite},
    engine::{Engine, Snapshot, Visibility},
};

pub(crate) const THEIRS: OriginId = OriginId([7; 16]);

/// A store with a peer, and with the namespace `t`, whose rows can be damaged.
pub(crate) struct Case(super::Case);

impl Deref for Case {
    type Target = super::Case;

    fn deref(&self) -> &super::Case {
        &self.0
    }
}

impl DerefMut for Case {
    fn deref_mut(&mut self) -> &mut super::Case {
        &mut self.0
    }
}

impl Case {
    pub(crate) fn new() -> Case {
        let mut case = super::Case::new();
        let info = peer::origin([THEIRS, OriginId([8; 16])], MemberId([6; 16]), Hlc(1));
        case.apply(Remote::Next(peer::opening(&info)));
        Case(case)
    }

    pub(crate) fn put(&mut self, name: &str, value: &[u8]) {
        let mut upload = self.store.upload();
        for operation in upload.push(value).unwrap() {
            self.commit(operation);
        }
        let (last, body) = upload.finish();
        last.into_iter().for_each(|operation| drop(self.commit(operation)));
        let (namespace, key) = (self.namespace, key(name));
        self.commit(Operation::Put { namespace, key, body, attributes: Attributes::default() });
    }

    /// Changes a row of the engine, as a disk may.
    pub(crate) fn damage(&mut self, table: Table, row: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
        let snapshot = self.store.engine().snapshot(Visibility::Latest).unwrap();
        let mut bytes = snapshot.get(table, row).unwrap().unwrap().to_vec();
        change(&mut bytes);
        self.write(vec![(table, row.to_vec(), Some(bytes))]);
    }

    pub(crate) fn damage_head(&mut self, name: &str) {
        let row = [&self.namespace.0, name.as_bytes()].concat();
        self.damage(Table::Entries, &row, |bytes| bytes[3] ^= 1);
    }

    pub(crate) fn damage_tombstone(&mut self, name: &str) {
        let row = [&self.namespace.0, name.as_bytes()].concat();
        self.damage(Table::Deleted, &row, |bytes| bytes[3] ^= 1);
    }

    pub(crate) fn damage_value(&mut self, name: &str) {
        let row = [&self.namespace.0, name.as_bytes()].concat();
        self.damage(Table::Entries, &row, |bytes| {
            let last = bytes.len() - 6;
            bytes[last] ^= 1;
        });
    }

    pub(crate) fn drop_namespace(&mut self) {
        let id = self.namespace;
        self.commit(Operation::DropNamespace { id });
    }

    /// Damages the row of the namespace.
    pub(crate) fn damage_namespace(&mut self) {
        let row = [NamespaceId::SYSTEM.0, self.namespace.0].concat();
        self.damage(Table::Entries, &row, |bytes| bytes[3] ^= 1);
    }

    /// The keys that are owed.
    pub(crate) fn owed(&mut self) -> Vec<(String, OwedReason)> {
        let view = self.store.view();
        let owed = view.owed().iter();
        owed.map(|(_, key, owed)| (String::from_utf8(key.to_vec()).unwrap(), owed.reason)).collect()
    }

    pub(crate) fn get(&mut self, name: &str) -> Result<bool, ReadError> {
        let view = self.store.view();
        view.get(self.namespace, name.as_bytes(), NOW).map(|found| found.is_some())
    }

    pub(crate) fn remote(&self, name: &str, seq: u64, time: u64, value: &str) -> RemoteWrite {
        let mut upload = self.store.upload();
        upload.push(value.as_bytes()).unwrap();
        let body = upload.finish().1;
        RemoteWrite {
            dot: Dot { origin: THEIRS, seq },
            hlc: Hlc::at_millis(time),
            prev: None,
            namespace: self.namespace,
            key: key(name),
            change: NewContent::Put { body, attributes: Attributes::default() },
        }
    }

    /// Damages the second chunk of a value, and notes that a reader met it.
    pub(crate) fn damage_chunk(&mut self, name: &str) -> BodyId {
        let view = self.store.view();
        let body =
            view.row(self.namespace, name.as_bytes()).unwrap().unwrap().large().unwrap().body;
        let chunk = [&body.0.to_be_bytes()[..], &1u32.to_be_bytes()].concat();
        self.damage(Table::Chunks, &chunk, |bytes| bytes[100] ^= 1);
        let view = self.store.view();
        view.note_damaged_chunk(self.namespace, name.as_bytes(), body, 0);
        self.store.record_damage(NOW);
        assert_eq!(self.owed(), [], "that chunk can be read");
        view.note_damaged_chunk(self.namespace, name.as_bytes(), body, 1);
        body
    }

    /// Adopts this write of the peer, which the source could not read.
    pub(crate) fn adopt(&mut self, name: &str, seq: u64) {
        let dot = Dot { origin: THEIRS, seq };
        let damaged = vec![kv_core::DamagedKey { namespace: self.namespace, key: key(name), dot }];
        self.commit(Operation::Remote(Remote::Adopt {
            vector: [dot].into_iter().collect(),
            collected: VersionVector::default(),
            floor: Hlc::ZERO,
            damaged,
        }));
    }

    /// The peer's writes after this one that are named as damaged.
    pub(crate) fn named(&mut self, since: u64) -> Vec<u64> {
        let seen: VersionVector = [Dot { origin: THEIRS, seq: since }].into_iter().collect();
        let damaged = self.store.view().changes(&seen, None, 99).unwrap().damaged;
        damaged
            .into_iter()
            .map(|one| one.dot)
            .filter(|dot| dot.origin == THEIRS)
            .map(|dot| dot.seq)
            .collect()
    }

    /// Puts these keys in one batch.
    pub(crate) fn batch(&mut self, names: &[&str]) {
        let write = |name: &&str| {
            let mut upload = self.store.upload();
            upload.push(b"local").unwrap();
            let (body, attributes) = (upload.finish().1, Attributes::default());
            let content = NewContent::Put { body, attributes };
            BatchWrite { namespace: self.namespace, key: key(name), content }
        };
        let writes = names.iter().map(write).collect();
        self.commit(Operation::Batch(writes));
    }

    /// Collects garbage. Returns how many tombstones.
    pub(crate) fn collect(&mut self) -> usize {
        self.collect_step().collected
    }

    /// Does a step of garbage collection.
    pub(crate) fn collect_step(&mut self) -> GcStep {
        let limits = GcLimits {
            rows: 9,
            bodies: 9,
            stable: Hlc(u64::MAX),
            expired_ms: Some(NOW),
            collects_expired: true,
        };
        self.store.collect_garbage(NOW, &limits).unwrap()
    }

    pub(crate) fn settle(&mut self, name: &str, is_nothing: bool) -> Outcome {
        let (namespace, key) = (self.namespace, key(name));
        let is_destroyed = false;
        self.commit(Operation::Remote(Remote::Settled { namespace, key, is_nothing, is_destroyed }))
    }
}

pub(crate) fn row(name: &str) -> (String, OwedReason) {
    (name.into(), OwedReason::Row)
}

pub(crate) fn is_damaged(read: &Result<bool, ReadError>) -> bool {
    matches!(read, Err(ReadError::Damaged { .. }))
}

pub(crate) fn create() -> Operation {
    let (account, title) = ("".try_into().unwrap(), "t".try_into().unwrap());
    Operation::CreateNamespace { account, title, id: None }
}
