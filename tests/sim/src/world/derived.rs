//! Damaged rows that a store can make again of its other rows: those of the dot index, and opening rows.
//!
//! Nothing may be lost by such damage, whoever else has what.

use std::ops::{Bound, ControlFlow};

use kv_core::{
    NamespaceId, OriginId, OriginInfo, Table,
    engine::{Engine as _, Order, Snapshot as _},
};
use waypost_disk_tests::violation::{Checked, Violation};

use super::{World, damage::flipped};
use crate::{events::Event, node::Name, store};

impl World {
    /// A location goes down, and a bit flips of a row that it can make again.
    pub(super) fn damage_derived(&mut self, node: usize) -> Checked {
        if self.rng.chance(30)
            && let Some(id) = self.derivable_opening(node)
        {
            return self.damage_openings(node, &[id]);
        }
        self.damage_index(node, None)
    }

    /// An opening row of a location that has the partner's row on its disk too.
    fn derivable_opening(&mut self, node: usize) -> Option<OriginId> {
        let running = self.nodes[node].running.as_mut()?;
        let status = running.store.committer().engine().status();
        let view = running.store.committer().view();
        let is_sound = |id: OriginId| {
            matches!(view.row(NamespaceId::SYSTEM, &OriginInfo::key(id)), Ok(Some(_)))
        };
        let infos =
            view.registry().iter().filter(|info| is_sound(info.id) && is_sound(info.partner));
        let ids: Vec<_> = infos.map(|info| info.id).collect();
        let is_durable = status.durable == status.latest;
        (is_durable && !ids.is_empty()).then(|| *self.rng.pick(&ids))
    }

    /// Damages the opening rows of origins at a location, which goes down for that.
    ///
    /// # Errors
    /// The violation.
    pub fn damage_openings(&mut self, node: usize, ids: &[OriginId]) -> Checked {
        self.crash(node)?;
        for id in ids {
            let bits = self.rng.next_u64();
            let key = [&NamespaceId::SYSTEM.0[..], &OriginInfo::key(*id)].concat();
            let is_there = self.nodes[node].flip(bits, |snapshot| {
                Ok(snapshot.get(Table::Entries, &key)?.map(|row| (Table::Entries, key, row)))
            });
            if is_there.map_err(Violation::Wrong)? {
                self.trace(|| format!("{node}: damaged the opening row of {id}"));
                self.count(Event::OpeningDamaged);
            }
        }
        Ok(())
    }

    /// Records that every copy of these opening rows is destroyed.
    pub fn destroy_openings(&mut self, ids: &[OriginId]) {
        for id in ids {
            self.model.doubt_copies(&(NamespaceId::SYSTEM, OriginInfo::key(*id).to_vec()));
        }
    }

    /// Damages the row of the dot index of an entry, or some row of it, at a location, which goes down for that: its
    /// value, or its key if one of its bits can flip so that the key stays in order.
    ///
    /// # Errors
    /// The violation.
    pub fn damage_index(&mut self, node: usize, name: Option<Name>) -> Checked {
        self.crash(node)?;
        let (bits, place) = (self.rng.next_u64(), self.rng.next_u64());
        let entry = name.map_or(Vec::new(), |name| [&name.0.0[..], &name.1].concat());
        let flips_key = self.rng.chance(50);
        let is_there = self.nodes[node].rewrite(|snapshot| {
            let (mut rows, all) = (Vec::new(), (Bound::Unbounded, Bound::Unbounded));
            snapshot.range(Table::Dots, all, Order::Ascending, &mut |key, row| {
                rows.push((key.to_vec(), row.to_vec()));
                ControlFlow::Continue(())
            })?;
            // The checksum follows the key of the entry.
            let is_it = |row: &[u8]| entry.is_empty() || row[..row.len() - 4] == entry[..];
            let places: Vec<_> = (0..rows.len()).filter(|at| is_it(&rows[*at].1)).collect();
            let place = usize::try_from(place % places.len().max(1) as u64).unwrap_or(0);
            let Some(at) = places.get(place).copied() else { return Ok(None) };
            let (key, row) = rows[at].clone();
            let is_in_order = |key: &Vec<u8>| {
                (at == 0 || rows[at - 1].0 < *key)
                    && rows.get(at + 1).is_none_or(|next| *key < next.0)
            };
            let mut keys = (0..96).map(|more| flipped(&key, (bits % 96 + more) % 96));
            Ok(Some(match keys.find(is_in_order).filter(|_| flips_key) {
                Some(other) => {
                    vec![(Table::Dots, key.clone(), None), (Table::Dots, other, Some(row))]
                }
                None => vec![(Table::Dots, key, Some(flipped(&row, bits)))],
            }))
        });
        if is_there.map_err(Violation::Wrong)? {
            self.trace(|| format!("{node}: damaged a row of the index"));
            self.count(Event::IndexDamaged);
        }
        Ok(())
    }

    /// The origins of the open pair of a location's process.
    pub fn own_pair(&mut self, node: usize) -> Option<[OriginId; 2]> {
        let running = self.nodes[node].running.as_mut()?;
        running.store.committer().origins()
    }

    /// Whether a location owes the opening row of an origin.
    pub fn owes_opening(&mut self, node: usize, id: OriginId) -> bool {
        let Some(running) = &mut self.nodes[node].running else { return false };
        let view = running.store.committer().view();
        view.owed().get(NamespaceId::SYSTEM, &OriginInfo::key(id)).is_some()
    }

    /// The origins whose opening rows a location has, or knows as what they count as.
    pub fn knows_origins(&mut self, node: usize, ids: &[OriginId]) -> bool {
        let running = self.nodes[node].running.as_ref();
        running
            .is_some_and(|it| ids.iter().all(|id| store::state(&it.store).registry.contains(*id)))
    }
}
