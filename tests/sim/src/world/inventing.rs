//! A member whose store holds what no correct store does, and which passes it on like anything else: counts of writes that
//! were never made, origins of members that never existed, times that have not come.

use std::sync::Arc;

use kv_core::{
    Dot, FieldNumber, FieldValue, Hlc, JoinedRow, Key, Lane, MemberId, NamespaceId, Operation,
    OriginId, OriginInfo, Version, VersionVector,
    commit::{NewContent, Remote, RemoteWrite},
};
use waypost_disk_tests::violation::Checked;

use super::World;
use crate::events::Event;

/// How many more writes than there are a lie claims.
const CLAIMED: u64 = 1_000;

/// How far ahead the last collected tombstone of a lie is, in milliseconds.
const FAR_MS: u64 = 3 * 365 * 86_400_000;

impl World {
    /// A location claims to have, and perhaps to have collected, more writes of another one than that one has made.
    ///
    /// # Errors
    /// The violation.
    pub fn claim_writes(&mut self, liar: usize, of: usize, is_collected: bool) -> Checked {
        let Some(origins) = self.nodes[of].origins() else { return Ok(()) };
        let counts = self.nodes[liar].vector();
        let claimed = |more: u64| -> VersionVector {
            let dot = |origin| Dot { origin, seq: counts.get(origin) + more };
            origins.map(dot).into_iter().collect()
        };
        let (vector, collected) = (claimed(CLAIMED), is_collected.then(|| claimed(CLAIMED / 2)));
        self.count(Event::WritesClaimed);
        self.trace(|| format!("{liar}: claims writes of {of}"));
        let (collected, floor) = (collected.unwrap_or_default(), Hlc::ZERO);
        let adopt = Remote::Adopt { vector, collected, floor, damaged: Vec::new() };
        self.invent(liar, 0, vec![adopt])
    }

    /// A location claims that it has collected a tombstone which is dated years ahead.
    ///
    /// # Errors
    /// The violation.
    pub fn claim_time(&mut self, liar: usize) -> Checked {
        let floor = Hlc::at_millis(self.true_ms() + FAR_MS);
        let (vector, collected) = (VersionVector::default(), VersionVector::default());
        self.count(Event::TimeClaimed);
        self.trace(|| format!("{liar}: claims to have collected a tombstone of {floor:?}"));
        let adopt = Remote::Adopt { vector, collected, floor, damaged: Vec::new() };
        self.invent(liar, FAR_MS, vec![adopt])
    }

    /// A location invents members' origins, with an entry under each and a row that closes it.
    ///
    /// # Errors
    /// The violation.
    pub fn invent_origins(&mut self, liar: usize, count: usize) -> Checked {
        let mut rows = Vec::new();
        for _ in 0..count {
            let [origin, member, partner] = [(); 3].map(|()| self.random_id());
            let (origin, member) = (OriginId(origin), MemberId(member));
            let (lane, partner, closes) = (Lane::Small, OriginId(partner), [].into());
            let opened = Hlc::at_millis(self.true_ms());
            let info = OriginInfo { id: origin, member, lane, partner, closes, opened };
            rows.push(Remote::Next(system(
                (origin, 1),
                opened,
                &OriginInfo::key(origin),
                info.field(),
            )));
            let key = kv_core::OriginEntry::closing_key(partner, member);
            let closing = kv_core::OriginEntry::closing_field();
            rows.push(Remote::Next(system((origin, 2), opened, &key, closing)));
        }
        self.count(Event::OriginsInvented);
        self.trace(|| format!("{liar}: invents {count} origins"));
        self.invent(liar, 0, rows)
    }

    fn random_id(&mut self) -> [u8; 16] {
        let mut id = [0xe7; 16];
        id[..8].copy_from_slice(&self.rng.below(u64::MAX).to_be_bytes());
        id
    }

    /// Commits this at a location, whose clock is ahead by so much meanwhile, and syncs at once.
    fn invent(&mut self, liar: usize, ahead_ms: u64, rows: Vec<Remote>) -> Checked {
        self.has_liar = true;
        let now_ms = self.true_ms() + ahead_ms;
        let Some(running) = &mut self.nodes[liar].running else { return Ok(()) };
        let operations = rows.into_iter().map(Operation::Remote).collect();
        running.store.committer().commit(now_ms, operations);
        self.sync(liar)
    }
}

/// A write of a row of the system namespace.
fn system(
    (origin, seq): (OriginId, u64),
    hlc: Hlc,
    key: &[u8],
    field: (FieldNumber, FieldValue),
) -> RemoteWrite {
    let row = JoinedRow::written(Version { hlc, origin }, seq, [field]).expect("a field");
    RemoteWrite {
        dot: Dot { origin, seq },
        hlc,
        prev: None,
        namespace: NamespaceId::SYSTEM,
        key: Key::new(key).expect("the keys of origins are short"),
        change: NewContent::Joined(Arc::new(row)),
    }
}
