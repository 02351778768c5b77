//! The origins of a cluster: their entries in the system namespace, and the registry that is built from
//! these.
//!
//! A process writes under a pair of origins that it opens with its first write. It never continues the pair
//! of a former process, so that a copied or restored directory never gives a number a second time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    hlc::Hlc,
    id::{MemberId, OriginId},
    joined::{FieldNumber, FieldValue, JoinedRow},
    limits::{MAX_CLOSES, MAX_ORIGINS},
    version::{Dot, Version},
};
use crate::codec::{DecodeError, Reader};

/// Which of the two origins of a process a write takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Entries with their value in the row, and deletes.
    Small,
    /// Entries with a large body. A long upload thus never holds up small writes.
    Large,
}

/// An origin, as its opening row describes it. That row is the first write of the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginInfo {
    /// The origin.
    pub id: OriginId,
    /// The location that writes under it.
    pub member: MemberId,
    /// Its place in its pair.
    pub lane: Lane,
    /// The other origin of its pair.
    pub partner: OriginId,
    /// The origins that this one closes: those of the same location that were open when it was opened. At most
    /// [`MAX_CLOSES`].
    pub closes: Arc<[OriginId]>,
    /// The time of the opening, from the row's version. Both origins of a pair have the same.
    pub opened: Hlc,
}

/// An entry about an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginEntry {
    /// Opens an origin: its key is `o` and the id.
    Opened(OriginInfo),
    /// Closes an origin that its successor did not know: its key is `c`, the origin and the location.
    Closed {
        /// The origin.
        id: OriginId,
        /// The location that closes it. It counts only for an origin of this location. It is part of the key, so
        /// that no other location's row can replace this one.
        member: MemberId,
    },
}

/// The location of an origin if it is not known any more which location wrote under it. None has this id.
pub const LOST_MEMBER: MemberId = MemberId([u8::MAX; 16]);

/// The version of the layout of both kinds of entry.
const LAYOUT: u8 = 1;

/// The one field of both kinds of row. Later programs may add others.
const ENTRY: FieldNumber = FieldNumber::new(1).expect("1 is the number of a field");

/// The first byte of the key of an opening row; the id follows.
const OPENED_TAG: u8 = b'o';

/// The first byte of the key of a closing row; the ids of the origin and of the location follow.
const CLOSED_TAG: u8 = b'c';

impl OriginInfo {
    /// Returns the key of the opening row of an origin in the system namespace.
    #[must_use]
    pub fn key(id: OriginId) -> [u8; 17] {
        let mut key = [OPENED_TAG; 17];
        key[1..].copy_from_slice(&id.0);
        key
    }

    /// Returns the origin whose opening row has this key; none if it is another key.
    #[must_use]
    pub fn id_of(key: &[u8]) -> Option<OriginId> {
        let id = key.strip_prefix(&[OPENED_TAG])?;
        id.try_into().ok().map(OriginId)
    }

    /// Returns the other origin of the pair. Both opening rows are written at once and say the same, so that each can
    /// be made of the other.
    pub(crate) fn of_partner(&self) -> OriginInfo {
        let lane = match self.lane {
            Lane::Small => Lane::Large,
            Lane::Large => Lane::Small,
        };
        OriginInfo { id: self.partner, partner: self.id, lane, ..self.clone() }
    }

    /// Returns the entry of an origin if every copy of its opening row and of its partner's is destroyed: as
    /// one of [`LOST_MEMBER`]. It depends on the id alone, so that all locations make the same row.
    pub(crate) fn of_lost(id: OriginId) -> OriginInfo {
        let mut partner = id;
        partner.0[15] ^= 1;
        if partner.0 == [0; 16] {
            partner.0[15] = 2;
        }
        let (member, lane, closes, opened) = (LOST_MEMBER, Lane::Small, Arc::new([]), Hlc(1));
        OriginInfo { id, member, lane, partner, closes, opened }
    }

    /// Returns the opening row.
    ///
    /// # Panics
    /// Never: the row has a field.
    pub(crate) fn row(&self) -> JoinedRow {
        let version = Version { hlc: self.opened, origin: self.id };
        JoinedRow::written(version, 1, [self.field()]).expect("an opening row has a field")
    }

    /// Returns the origins of the pair in the order of their lanes.
    #[must_use]
    pub fn pair(&self) -> [OriginId; 2] {
        match self.lane {
            Lane::Small => [self.id, self.partner],
            Lane::Large => [self.partner, self.id],
        }
    }

    /// Orders the pairs of a location: of two processes that run at once, the one with the greater pair
    /// continues.
    #[must_use]
    pub fn order(&self) -> (Hlc, OriginId) {
        (self.opened, self.id.min(self.partner))
    }

    /// Returns the field of the opening row. It is written once, under the first dot of the origin.
    ///
    /// # Panics
    /// Never: the bound of what an origin closes is below that of a field.
    #[must_use]
    pub fn field(&self) -> (FieldNumber, FieldValue) {
        (ENTRY, FieldValue::new(self.encode()).expect("an opening row is short"))
    }

    /// Encodes the value of that field.
    fn encode(&self) -> Vec<u8> {
        let count = u16::try_from(self.closes.len()).expect("an origin closes few others");
        let mut out = vec![LAYOUT];
        out.extend_from_slice(&self.member.0);
        out.push(match self.lane {
            Lane::Small => 0,
            Lane::Large => 1,
        });
        out.extend_from_slice(&self.partner.0);
        out.extend_from_slice(&count.to_be_bytes());
        self.closes.iter().for_each(|id| out.extend_from_slice(&id.0));
        out
    }

    /// Decodes the value of an opening row.
    fn decode(id: OriginId, value: &[u8], opened: Hlc) -> Result<OriginInfo, DecodeError> {
        let mut reader = Reader::new(value);
        if reader.u8()? != LAYOUT {
            return Err(DecodeError("an origin of an unknown layout"));
        }
        let member = MemberId(reader.id()?);
        let lane = match reader.u8()? {
            0 => Lane::Small,
            1 => Lane::Large,
            _ => return Err(DecodeError("an origin with an unknown place in its pair")),
        };
        let partner = OriginId(reader.id()?);
        let count = usize::from(reader.u16()?);
        if count > MAX_CLOSES {
            return Err(DecodeError("an origin that closes too many others"));
        }
        let mut closes = Vec::new();
        for _ in 0..count {
            closes.push(OriginId(reader.id()?));
        }
        reader.end()?;
        if partner == id || closes.contains(&id) || closes.contains(&partner) {
            return Err(DecodeError("an origin that is its own partner or closes its own pair"));
        }
        let is_zero = |id: &OriginId| id.0 == [0; 16];
        if member.0 == [0; 16] || is_zero(&partner) || closes.iter().any(is_zero) {
            return Err(DecodeError("an origin with an id of zeros"));
        }
        Ok(OriginInfo { id, member, lane, partner, closes: closes.into(), opened })
    }
}

impl OriginEntry {
    /// Returns the key of the row by which a location closes an origin.
    #[must_use]
    pub fn closing_key(id: OriginId, member: MemberId) -> [u8; 33] {
        let mut key = [CLOSED_TAG; 33];
        key[1..17].copy_from_slice(&id.0);
        key[17..].copy_from_slice(&member.0);
        key
    }

    /// Returns the field of a closing row.
    ///
    /// # Panics
    /// Never: the field has one byte.
    #[must_use]
    pub fn closing_field() -> (FieldNumber, FieldValue) {
        (ENTRY, FieldValue::new(vec![LAYOUT]).expect("a closing row is short"))
    }

    /// Whether a key of the system namespace is that of an entry about an origin.
    #[must_use]
    pub fn is_key(key: &[u8]) -> bool {
        matches!((key.first(), key.len()), (Some(&OPENED_TAG), 17) | (Some(&CLOSED_TAG), 33))
    }

    /// Interprets a row about an origin.
    ///
    /// # Errors
    /// If no store writes such a row.
    pub fn of(key: &[u8], row: &JoinedRow) -> Result<OriginEntry, DecodeError> {
        if !OriginEntry::is_key(key) {
            return Err(DecodeError("the key of no origin"));
        }
        let field = row.get(ENTRY).ok_or(DecodeError("a row without the entry of its origin"))?;
        let (value, opened) = (field.value.as_bytes(), field.version.hlc);
        let mut reader = Reader::new(&key[1..]);
        let id = OriginId(reader.id()?);
        if id.0 == [0; 16] {
            return Err(DecodeError("an origin whose id is zeros"));
        }
        if key.first() == Some(&OPENED_TAG) {
            if field.dot() != (Dot { origin: id, seq: 1 }) {
                return Err(DecodeError("an origin is opened by another write than its first"));
            }
            return OriginInfo::decode(id, value, opened).map(OriginEntry::Opened);
        }
        let member = MemberId(reader.id()?);
        if value != [LAYOUT] {
            return Err(DecodeError("a closed origin of an unknown layout"));
        }
        if member.0 == [0; 16] {
            return Err(DecodeError("an origin that an id of zeros closes"));
        }
        Ok(OriginEntry::Closed { id, member })
    }
}

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
mod tests;
