//! The registry of a store's origins, which is built from their entries.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{LOST_MEMBER, OriginEntry, OriginInfo};
use crate::types::{
    id::{MemberId, OriginId},
    limits::MAX_ORIGINS,
};

/// All origins that a store knows, as of one commit. An origin is never removed from it.
///
/// It does not know which members were removed. The origins of a removed member are closed too, whatever
/// [`OriginRegistry::is_closed`] returns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginRegistry {
    /// The origins whose opening rows are here.
    opened: BTreeMap<OriginId, OriginInfo>,
    /// The same, by location.
    by_member: BTreeSet<(MemberId, OriginId)>,
    /// How many origins each location has.
    counts: BTreeMap<MemberId, usize>,
    /// The origins of `opened` that a row of their location closes.
    closed: BTreeSet<OriginId>,
    /// Rows that close an origin which is not known, or not whose: each with the location of the row. At most
    /// [`MAX_ORIGINS`]: beyond, an origin counts as open until its location closes it again.
    early: BTreeSet<(OriginId, MemberId)>,
}

impl OriginRegistry {
    /// Returns an origin whose opening row is here.
    #[must_use]
    pub fn get(&self, id: OriginId) -> Option<&OriginInfo> {
        self.opened.get(&id)
    }

    /// Whether the opening row of an origin is here.
    #[must_use]
    pub fn contains(&self, id: OriginId) -> bool {
        self.opened.contains_key(&id)
    }

    /// Returns all origins, by id.
    pub fn iter(&self) -> impl Iterator<Item = &OriginInfo> {
        self.opened.values()
    }

    /// Returns how many origins there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.opened.len()
    }

    /// Whether there are no origins.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.opened.is_empty()
    }

    /// Whether a row of the origin's own location closes it. False for an unknown origin.
    #[must_use]
    pub fn is_closed(&self, id: OriginId) -> bool {
        self.closed.contains(&id)
    }

    /// Returns the origins of a location, by id.
    pub fn of_member(&self, member: MemberId) -> impl Iterator<Item = &OriginInfo> {
        let ids = [[0; 16], [u8::MAX; 16]].map(|id| (member, OriginId(id)));
        let [first, last] = ids;
        self.by_member.range(first..=last).filter_map(|(_, id)| self.opened.get(id))
    }

    /// Returns how many origins a location has.
    #[must_use]
    pub fn count_of(&self, member: MemberId) -> usize {
        self.counts.get(&member).copied().unwrap_or(0)
    }

    /// Returns the origins of a location that no row closes, by id.
    pub fn open_of(&self, member: MemberId) -> impl Iterator<Item = &OriginInfo> {
        self.of_member(member).filter(|info| !self.is_closed(info.id))
    }

    /// Adds what an entry reports. An origin that is known does not change, unless its location was unknown.
    pub(crate) fn insert(&mut self, entry: OriginEntry) {
        match entry {
            OriginEntry::Opened(info) => {
                let (member, closes) = (info.member, Arc::clone(&info.closes));
                if self.open(info) {
                    closes.iter().for_each(|other| self.close(*other, member));
                }
            }
            OriginEntry::Closed { id, member } => self.close(id, member),
        }
    }

    /// Adds an origin, without what its row closes. Returns whether it is new, or its location was unknown.
    fn open(&mut self, info: OriginInfo) -> bool {
        match self.opened.get(&info.id).map(|known| known.member) {
            Some(LOST_MEMBER) if info.member != LOST_MEMBER => {
                self.by_member.remove(&(LOST_MEMBER, info.id));
                *self.counts.entry(LOST_MEMBER).or_default() -= 1;
            }
            Some(_) => return false,
            None => {}
        }
        let (id, member) = (info.id, info.member);
        self.by_member.insert((member, id));
        *self.counts.entry(member).or_default() += 1;
        self.opened.insert(id, info);
        self.take_early(id, member);
        true
    }

    /// A row of a location closes an origin. It counts only for an origin of that location.
    fn close(&mut self, id: OriginId, by: MemberId) {
        match self.get(id).map(|info| info.member) {
            Some(member) if member == by => {
                self.closed.insert(id);
            }
            None | Some(LOST_MEMBER) if self.early.len() < MAX_ORIGINS => {
                self.early.insert((id, by));
            }
            _ => {}
        }
    }

    /// An origin is opened that rows may have closed before.
    fn take_early(&mut self, id: OriginId, member: MemberId) {
        if self.early.contains(&(id, member)) {
            self.closed.insert(id);
        }
        if member != LOST_MEMBER {
            let ids = [[0; 16], [u8::MAX; 16]].map(|member| (id, MemberId(member)));
            let [first, last] = ids;
            while let Some(entry) = self.early.range(first..=last).next().copied() {
                self.early.remove(&entry);
            }
        }
    }
}

impl FromIterator<OriginEntry> for OriginRegistry {
    fn from_iter<I: IntoIterator<Item = OriginEntry>>(entries: I) -> Self {
        let mut registry = OriginRegistry::default();
        // Nothing is closed before everything is opened: so all rows that close known origins count.
        let mut closings = Vec::new();
        for entry in entries {
            match entry {
                OriginEntry::Opened(info) => {
                    let (member, closes) = (info.member, Arc::clone(&info.closes));
                    if registry.open(info) {
                        closings.extend(closes.iter().map(|id| (*id, member)));
                    }
                }
                OriginEntry::Closed { id, member } => closings.push((id, member)),
            }
        }
        closings.into_iter().for_each(|(id, member)| registry.close(id, member));
        registry
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{THEM, US, id, ids, opened},
        *,
    };

    #[test]
    fn rows_that_close_origins_which_nobody_opened_are_remembered_in_bounds() {
        let opening = OriginEntry::Opened(opened(US, 10, &[]));
        let mut registry: OriginRegistry = [opening].into_iter().collect();
        for number in 0..2 * MAX_ORIGINS as u128 {
            let id = OriginId((number + (1 << 80)).to_be_bytes());
            registry.insert(OriginEntry::Closed { id, member: THEM });
        }
        assert_eq!(registry.early.len(), MAX_ORIGINS);
        registry.insert(OriginEntry::Closed { id: id(10), member: THEM });
        assert!(!registry.is_closed(id(10)), "only its own location closes it");
        registry.insert(OriginEntry::Closed { id: id(10), member: US });
        assert!(registry.is_closed(id(10)), "there is always room for origins that are known");
        registry.insert(OriginEntry::Opened(opened(US, 30, &[])));
        registry.insert(OriginEntry::Opened(opened(US, 40, &[30])));
        assert!(registry.is_closed(id(30)) && registry.early.len() == MAX_ORIGINS);
    }

    #[test]
    fn of_a_store_that_is_opened_every_row_that_closes_a_known_origin_counts() {
        let invented = (1..=MAX_ORIGINS as u128)
            .map(|number| OriginEntry::Closed { id: OriginId(number.to_be_bytes()), member: THEM });
        let closing = OriginEntry::Closed { id: id(10), member: US };
        let openings = [opened(US, 10, &[]), opened(US, 20, &[30]), opened(US, 30, &[])];
        let openings = openings.map(OriginEntry::Opened);
        let registry: OriginRegistry = invented.chain([closing]).chain(openings).collect();
        assert_eq!(ids(registry.open_of(US)), [20]);
    }
}
