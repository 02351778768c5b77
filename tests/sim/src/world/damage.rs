//! Damaged rows and chunks on the disks of locations.
//!
//! A row is damaged only where another location durably has the same write, or a later one of its key: so the row must
//! come back. If that location then leaves, or restarts from an old image, every copy may be destroyed, and the write
//! may be lost.

use bytes::Bytes;
use kv_core::{
    FoundState, NamespaceId, OwedReason, Table,
    engine::{
        Batch, Engine as _, EngineError, Snapshot as _, Visibility,
        redb::{RedbEngine, RedbSnapshot},
    },
};
use waypost_disk_tests::violation::{Checked, Violation};

use super::World;
use crate::{
    events::Event,
    node::{Name, Node},
};

/// A row on a disk: its table, its key and its bytes.
pub(super) type FoundRow = (Table, Vec<u8>, Bytes);

/// What is damaged of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The row, somewhere.
    Row,
    /// The first chunk of its value.
    Chunk,
}

impl World {
    /// A location goes down, and a bit of one of its rows flips.
    pub(super) fn damage(&mut self, node: usize) -> Checked {
        let found = &self.nodes[node];
        let is_usual = !found.is_forked && !found.is_leaving;
        if !is_usual || !found.is_joined() {
            return Ok(());
        }
        if self.rng.chance(40) {
            return self.damage_derived(node);
        }
        // Few values are large.
        let prefers_large = self.rng.chance(50);
        let Some((name, is_large)) = self.damageable(node, prefers_large) else { return Ok(()) };
        let place = if is_large && self.rng.chance(60) { Place::Chunk } else { Place::Row };
        self.damage_now(node, name, place)
    }

    /// Damages a row of a location, which goes down for that.
    pub(super) fn damage_now(&mut self, node: usize, name: Name, place: Place) -> Checked {
        self.crash(node)?;
        let bits = self.rng.next_u64();
        if self.nodes[node].damage(&name, place, bits).map_err(Violation::Wrong)? {
            self.trace(|| format!("{node}: damaged {place:?} of {name:?}"));
            self.count(match place {
                Place::Row => Event::RowDamaged,
                Place::Chunk => Event::ChunkDamaged,
            });
            self.model.damage(name.clone());
            self.damaged.insert((node, name));
        }
        Ok(())
    }

    /// A row of a location that another one durably has too, and whether its value is large: that of a large value if it
    /// is preferred and there is one.
    fn damageable(&mut self, node: usize, prefers_large: bool) -> Option<(Name, bool)> {
        let mut any = None;
        let names: Vec<_> = self.model.names().cloned().collect();
        let first = self.rng.index(names.len().max(1));
        let names = names[first..].iter().chain(&names[..first]);
        for name in names.filter(|name| name.0 != NamespaceId::SYSTEM) {
            let running = self.nodes[node].running.as_mut()?;
            let Ok(Some(found)) = running.store.committer().view().row(name.0, &name.1) else {
                continue;
            };
            let is_large = matches!(found.state, FoundState::Large { .. });
            let has_it = |(at, other): (usize, &mut Node)| {
                let is_usual = !other.is_forked && !other.is_leaving;
                let is_sound = !self.damaged.contains(&(at, name.clone()));
                let has = is_usual && is_sound && other.is_joined();
                has && other.vector().covers(found.dot)
                    && other.version(name) >= Some(found.version)
            };
            let mut others = self.nodes.iter_mut().enumerate().filter(|(at, _)| *at != node);
            if others.any(has_it) {
                let found = (name.clone(), is_large);
                if is_large || !prefers_large {
                    return Some(found);
                }
                any.get_or_insert(found);
            }
        }
        any
    }

    /// The last copy of what is damaged somewhere may be lost with a location.
    pub(super) fn may_lose_copies(&mut self) {
        for (_, name) in std::mem::take(&mut self.damaged) {
            self.model.doubt_copies(&name);
        }
    }

    /// Reads every row of a location, so that it notices what is damaged.
    pub(super) fn read_all(&mut self, node: usize) {
        let Some(running) = &mut self.nodes[node].running else { return };
        let view = running.store.committer().view();
        for name in self.model.names() {
            let Ok(Some(found)) = view.row(name.0, &name.1) else { continue };
            let FoundState::Large { body, .. } = found.state else { continue };
            if view.chunk(body, 0).is_err() {
                view.note_damaged_chunk(name.0, &name.1, body, 0);
            }
        }
    }

    /// Counts what a location has recorded and what has come back.
    pub(super) fn note_damage(&mut self, node: usize) {
        let Some(running) = &mut self.nodes[node].running else { return };
        let view = running.store.committer().view();
        let mut events = Vec::new();
        for (_, _, owed) in view.owed().iter() {
            events.push(match owed.reason {
                OwedReason::Source => Event::DamageNamed,
                OwedReason::Row | OwedReason::Chunk => Event::DamageRecorded,
            });
        }
        let is_whole = |name: &Name| match view.row(name.0, &name.1) {
            Ok(Some(found)) => match found.state {
                FoundState::Large { body, .. } => matches!(view.chunk(body, 0), Ok(Some(_))),
                _ => true,
            },
            row => row.is_ok(),
        };
        let is_back = |name: &Name| view.owed().get(name.0, &name.1).is_none() && is_whole(name);
        let before = self.damaged.len();
        self.damaged.retain(|(at, name)| *at != node || !is_back(name));
        events.extend(vec![Event::DamageRepaired; before - self.damaged.len()]);
        events.into_iter().for_each(|event| self.count(event));
    }
}

impl Node {
    /// The version of a key here; none while the location is down.
    fn version(&mut self, name: &Name) -> Option<kv_core::Version> {
        let view = self.running.as_mut()?.store.committer().view();
        Some(view.row(name.0, &name.1).ok()??.version)
    }

    /// Flips a bit of an entry on the disk. The location is down. Returns whether there is such a row.
    fn damage(&mut self, name: &Name, place: Place, bits: u64) -> Result<bool, String> {
        let key = [&name.0.0[..], &name.1].concat();
        self.flip(bits, |snapshot| {
            let Some(row) = snapshot.get(Table::Entries, &key)? else {
                let tombstone = snapshot.get(Table::Deleted, &key)?;
                return Ok(tombstone
                    .filter(|_| place == Place::Row)
                    .map(|row| (Table::Deleted, key, row)));
            };
            if place == Place::Row {
                return Ok(Some((Table::Entries, key, row)));
            }
            // The body's id is before length, digest and checksum, at the end of the row.
            let Some(at) = row.len().checked_sub(4 + 32 + 8 + 8) else { return Ok(None) };
            let key = [&row[at..at + 8], &[0; 4]].concat();
            Ok(snapshot.get(Table::Chunks, &key)?.map(|chunk| (Table::Chunks, key, chunk)))
        })
    }

    /// Flips a bit of a row on the disk. The location is down. Returns whether there is such a row.
    pub(super) fn flip(
        &mut self,
        bits: u64,
        find: impl FnOnce(&RedbSnapshot) -> Result<Option<FoundRow>, EngineError>,
    ) -> Result<bool, String> {
        self.rewrite(|snapshot| {
            let Some((table, key, row)) = find(snapshot)? else { return Ok(None) };
            Ok(Some(vec![(table, key, Some(flipped(&row, bits)))]))
        })
    }

    /// Writes rows on the disk as damage leaves them. The location is down. Returns whether there are any.
    pub(super) fn rewrite(
        &mut self,
        make: impl FnOnce(&RedbSnapshot) -> Result<Option<Batch>, EngineError>,
    ) -> Result<bool, String> {
        let failed = |error: EngineError| error.to_string();
        self.disk.kill();
        self.disk.disarm();
        self.disk.make_room();
        let engine = RedbEngine::open(self.disk.process(), 1 << 20).map_err(failed)?;
        let snapshot = engine.snapshot(Visibility::Latest).map_err(failed)?;
        let Some(rows) = make(&snapshot).map_err(failed)? else { return Ok(false) };
        drop(snapshot);
        let commit = engine.status().latest + 1;
        engine.commit(commit, rows).map_err(failed)?;
        engine.sync(commit).map_err(failed)?;
        engine.close().map_err(failed)?;
        Ok(true)
    }
}

/// These bytes with one bit flipped.
pub(super) fn flipped(bytes: &[u8], bits: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let bits = usize::try_from(bits % (1 << 32)).unwrap_or(0);
    let at = bits / 8 % bytes.len();
    bytes[at] ^= 1 << (bits % 8);
    bytes
}
