//! Local numbers of origins: rows hold 4 bytes instead of 16.

use std::collections::HashMap;

use crate::{codec::DecodeError, types::OriginId};

/// The origins that a store has met, numbered from 0 in that order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    /// The ids, by local number.
    ids: Vec<OriginId>,
    /// The local numbers, by id.
    numbers: HashMap<OriginId, u32>,
}

impl Origins {
    /// Returns the id of a number in a row.
    pub(crate) fn id(&self, number: u32) -> Result<OriginId, DecodeError> {
        self.ids.get(number as usize).copied().ok_or(DecodeError("an unknown origin"))
    }

    /// Returns the number of an origin, or `None` if the store has not met it.
    pub(crate) fn number(&self, id: OriginId) -> Option<u32> {
        self.numbers.get(&id).copied()
    }

    /// Iterates over the origins with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (OriginId, u32)> + '_ {
        self.ids.iter().copied().zip(0..)
    }

    /// Returns how many origins the store has met.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Gives the next number to an origin that the store has not met before.
    pub(crate) fn add(&mut self, id: OriginId) -> u32 {
        let number = u32::try_from(self.ids.len()).expect("fewer origins than 2^32");
        self.ids.push(id);
        self.numbers.insert(id, number);
        number
    }
}
