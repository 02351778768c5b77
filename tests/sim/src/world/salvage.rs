//! Writes that a rebuild hands to the owner before it drops them.

use kv_replicate::{Content, Event as CoreEvent, Row, SalvagedRow};
use waypost_disk_tests::{hold, violation::Checked};

use super::World;
use crate::{events::Event, node::Node};

/// Of this many portions, the owner can't keep the first, because its disk is full for a while.
const ONE_REFUSED_OF: u64 = 4;

impl World {
    /// A location's rebuild is about to drop writes that its source does not count, and that may have been deleted. The
    /// owner keeps them, or can't.
    pub(super) fn salvage(&mut self, node: usize, id: u64, rows: &[SalvagedRow]) -> Checked {
        let offered = self.happened(Event::Salvaged) + self.happened(Event::SalvageRefused);
        let is_kept = !offered.is_multiple_of(ONE_REFUSED_OF);
        self.count(if is_kept { Event::Salvaged } else { Event::SalvageRefused });
        for SalvagedRow { row, parts } in rows {
            hold!(
                self.model.agrees(row),
                "{node}: salvages something else than was written: {row:?}"
            );
            let is_damaged = self.model.is_damaged(&(row.namespace, row.key.to_vec()));
            let is_part = matches!(row.content, Content::Large { .. });
            hold!(is_damaged || !is_part, "{node}: salvages only a part: {row:?}");
            hold!(is_part || parts.is_empty(), "{node}: parts of a value that is whole: {row:?}");
            if is_kept {
                self.kept(node, row)?;
            }
        }
        self.tell(node, CoreEvent::Kept { id, is_kept })
    }

    /// The owner has a write. Only a process that was restored has such writes. While two processes run on copies of a
    /// directory, each may stand for their member in a part of the cluster that does not reach the other. Both parts
    /// collect tombstones, and any location may have such writes.
    fn kept(&mut self, node: usize, row: &Row) -> Checked {
        let name = (row.namespace, row.key.to_vec());
        let last = self.nodes[node].salvaged.entry(name).or_insert(row.version());
        *last = row.version().max(*last);
        let owner = self.model.owner(row.dot.origin);
        let is_forked = |node: &Node| Some(node.member) == owner && node.is_forked;
        let has_copies = (0..self.nodes.len()).any(|node| self.twins(node).len() > 1);
        let is_explained =
            has_copies || self.nodes.iter().any(is_forked) || self.model.may_be_lost(row.dot);
        hold!(is_explained, "{node}: salvages {row:?}");
        self.model.salvage(row.dot);
        Ok(())
    }
}
