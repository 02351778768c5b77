//! The origins that a store opens, and those that it knows.

use std::sync::Arc;

use bytes::Bytes;
use kv_core::{
    Hlc, Lane, NamespaceId, OriginEntry, OriginId, OriginInfo, OriginRegistry, Version,
    limits::MAX_CLOSES,
};

use super::{State, What, joined_row};

impl State {
    /// The origins that it knows, as its rows report them.
    #[must_use]
    pub fn registry(&self) -> OriginRegistry {
        let system = self.rows.range((NamespaceId::SYSTEM, Bytes::new())..);
        let system = system.take_while(|(name, _)| name.0 == NamespaceId::SYSTEM);
        let entries = system.filter_map(|(name, row)| {
            let What::Joined(fields) = &row.what else { return None };
            OriginEntry::of(&name.1, &joined_row(fields)).ok()
        });
        entries.collect()
    }

    /// Whether an origin is one of its location.
    #[must_use]
    pub fn is_ours(&self, origin: OriginId) -> bool {
        let name = (NamespaceId::SYSTEM, Bytes::copy_from_slice(&OriginInfo::key(origin)));
        let fields = self.fields(&name);
        // The layout, and then the location.
        let member = fields.get(&1).and_then(|field| field.bytes.get(1..17));
        member == Some(&self.member.0)
    }

    /// Whether the row that opens an origin is here.
    pub(super) fn is_open(&self, origin: OriginId) -> bool {
        self.rows
            .contains_key(&(NamespaceId::SYSTEM, Bytes::copy_from_slice(&OriginInfo::key(origin))))
    }

    /// The origins of its process, which it opens with its first write.
    pub(super) fn own_pair(&mut self) -> [OriginId; 2] {
        if let Some(own) = self.own {
            return own;
        }
        // Ids that no store draws: the caller notices that it was given none.
        let pair = self.fresh.take().unwrap_or([OriginId([0xee; 16]), OriginId([0xef; 16])]);
        let [small, large] = pair;
        let registry = self.registry();
        let open = registry.open_of(self.member).map(|info| info.id).take(MAX_CLOSES);
        let closes: Arc<[OriginId]> = open.collect();
        let opened = self.next_time(Hlc::ZERO);
        for (id, partner, lane) in [(small, large, Lane::Small), (large, small, Lane::Large)] {
            let (member, closes) = (self.member, Arc::clone(&closes));
            let info = OriginInfo { id, member, lane, partner, closes, opened };
            let name = (NamespaceId::SYSTEM, Bytes::copy_from_slice(&OriginInfo::key(id)));
            let (number, value) = info.field();
            let bytes = Bytes::copy_from_slice(value.as_bytes());
            let version = Version { hlc: opened, origin: id };
            self.write_fields(version, &name, &[(number.get(), bytes)]);
        }
        self.own = Some(pair);
        pair
    }
}
