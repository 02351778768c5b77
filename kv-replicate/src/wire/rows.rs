//! Requests for rows by name, and their answers.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{
    error::MessageError,
    put, question,
    row::{put_row, take_row},
    take::{self, Decoded},
};
use crate::{
    inspect::{MAX_ASKED_ROWS, Place},
    row::KeyState,
};

/// A row follows.
const HAS_ROW: u8 = 1;
/// The sender can't read its row, or knows that it may lack a later one.
const IS_OWED: u8 = 1 << 1;

/// A count and names.
pub(super) fn put_names(out: &mut BytesMut, names: &[Place]) {
    put::count(out, names.len());
    names.iter().for_each(|name| question::put_place(out, name));
}

/// See [`put_names`].
pub(super) fn take_names(input: &mut Bytes) -> Decoded<Vec<Place>> {
    let count = take::row_count(input, MAX_ASKED_ROWS)?;
    (0..count).map(|_| question::place(input)).collect()
}

/// A count, and for each name flags and the row with its dot, if there is one.
pub(super) fn put_states(out: &mut BytesMut, states: &[KeyState]) {
    put::count(out, states.len());
    for state in states {
        let row = if state.row.is_some() { HAS_ROW } else { 0 };
        out.put_u8(row | if state.is_owed { IS_OWED } else { 0 });
        if let Some(row) = &state.row {
            put::dot(out, row.dot);
            put_row(out, row);
        }
    }
}

/// See [`put_states`].
pub(super) fn take_states(input: &mut Bytes) -> Decoded<Vec<KeyState>> {
    let count = take::row_count(input, MAX_ASKED_ROWS)?;
    (0..count).map(|_| state(input)).collect()
}

/// Flags, and a row if they announce one.
fn state(input: &mut Bytes) -> Decoded<KeyState> {
    let flags = input.try_get_u8()?;
    if flags & !(HAS_ROW | IS_OWED) != 0 {
        return Err(MessageError::Invalid("an answer has unknown flags"));
    }
    let row = (flags & HAS_ROW != 0).then(|| {
        let dot = take::dot(input)?;
        take_row(input, dot)
    });
    Ok(KeyState { row: row.transpose()?, is_owed: flags & IS_OWED != 0 })
}
