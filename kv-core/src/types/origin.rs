//! The origins of a cluster: their entries in the system namespace.
//!
//! A process writes under a pair of origins that it opens with its first write. It never continues the pair
//! of a former process, so that a copied or restored directory never gives a number a second time.

use std::sync::Arc;

use super::{
    hlc::Hlc,
    id::{MemberId, OriginId},
    joined::{FieldNumber, FieldValue, JoinedRow},
    limits::MAX_CLOSES,
    version::{Dot, Version},
};
use crate::codec::{DecodeError, Reader};

mod registry;

pub use registry::OriginRegistry;

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

#[cfg(test)]
mod tests;
