//! Origins by their local numbers: rows hold four bytes instead of sixteen.

use std::collections::HashMap;

use crate::{OriginId, codec::DecodeError};

/// The origins that a store has met, numbered from 0 in the order that it met them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    ids: Vec<OriginId>,
    numbers: HashMap<OriginId, u32>,
}

impl Origins {
    /// The id behind a number in a row.
    pub(crate) fn id(&self, number: u32) -> Result<OriginId, DecodeError> {
        self.ids.get(number as usize).copied().ok_or(DecodeError("an unknown origin"))
    }

    /// The number of an origin that was met before.
    pub(crate) fn number(&self, id: OriginId) -> Option<u32> {
        self.numbers.get(&id).copied()
    }

    /// Gives the next number to an origin that was not met before.
    pub(crate) fn add(&mut self, id: OriginId) -> u32 {
        let number = u32::try_from(self.ids.len()).expect("fewer origins than 2^32");
        self.ids.push(id);
        self.numbers.insert(id, number);
        number
    }
}
