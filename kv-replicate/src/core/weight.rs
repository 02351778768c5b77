//! How much memory messages and notices take.

use crate::{
    Row, SalvagedRow,
    notice::Notice,
    wire::{Message, NoBody, Reason},
};

/// About how many bytes a notice takes in memory.
pub(super) fn of_notice(notice: &Notice) -> usize {
    let rows = if let Notice::Salvage { rows, .. } = notice { &rows[..] } else { &[] };
    256 + rows.iter().map(SalvagedRow::weight).sum::<usize>()
}

/// About how many bytes a message takes in memory.
pub(super) fn of_message(message: &Message) -> usize {
    match message {
        Message::Page(page) => {
            let rows: usize = page.rows.iter().map(Row::weight).sum();
            rows + page.damaged.iter().map(|damaged| 128 + damaged.key.len()).sum::<usize>()
        }
        Message::Piece { bytes, .. } => bytes.len(),
        Message::GetRows { names, .. } => 64 + 640 * names.len(),
        Message::Rows { rows, .. } => {
            rows.iter().map(|state| 8 + state.row.as_ref().map_or(0, Row::weight)).sum()
        }
        Message::NoBody { why: NoBody::Replaced(row), .. } => row.weight(),
        Message::Pull(pull) => 64 + 24 * pull.since.iter().count(),
        Message::Refusal { reason: Reason::Gone(vector), .. } => 64 + 24 * vector.iter().count(),
        _ => 640,
    }
}
