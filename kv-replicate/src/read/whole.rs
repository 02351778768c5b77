//! Rows with their whole values, for the owner.

use kv_core::{Change, Dot, Large, ReadError, engine::Snapshot, limits::CHUNK_BYTES, view::View};

use crate::{Content, Row, SalvagedRow, ValuePart, inspect::Place};

/// The rows that are read at once have about as many bytes of values, or one more row.
const MAX_BYTES: usize = 32 << 20;

/// Rows with their whole values, and where they are.
#[derive(Debug, Default)]
pub(super) struct Whole {
    /// The rows.
    pub(super) rows: Vec<SalvagedRow>,
    /// Their places, and the writes that they hold.
    pub(super) places: Vec<(Place, Dot)>,
}

/// Reads the first of the rows that still hold these writes, with their bodies, however large these are. What is left out
/// must be requested again: there was no room for it, or the disk can't be read now.
pub(super) fn read_whole<S: Snapshot>(view: &View<S>, wanted: Vec<(Place, Dot)>) -> Whole {
    let (mut whole, mut bytes) = (Whole::default(), 0);
    for (place, dot) in wanted {
        let row = match read(view, &place, dot) {
            Ok(Some(row)) => row,
            // It is owed, or holds another write by now.
            Ok(None) | Err(ReadError::Damaged { .. }) => continue,
            Err(_the_disk_failed) => break,
        };
        bytes += row.weight();
        whole.rows.push(row);
        whole.places.push((place, dot));
        if bytes > MAX_BYTES {
            break;
        }
    }
    whole
}

/// Reads a row that holds a write.
fn read<S: Snapshot>(
    view: &View<S>,
    place: &Place,
    dot: Dot,
) -> Result<Option<SalvagedRow>, ReadError> {
    let Some(found) = view.row(place.namespace, &place.key)?.filter(|found| found.dot == dot)
    else {
        return Ok(None);
    };
    let large = found.large();
    let change = Change { namespace: place.namespace, key: place.key.clone(), found };
    let (mut row, mut parts) = (Row::from(change), Vec::new());
    if let Some(large) = large {
        let body = read_body(view, &large)?;
        if body.is_whole {
            let chunks: Vec<_> = body.parts.into_iter().map(|part| part.bytes).collect();
            row.content = Content::Value(chunks.concat().into());
        } else {
            parts = body.parts;
        }
    }
    Ok(Some(SalvagedRow { row, parts }))
}

/// The chunks of a body that can be read.
struct Body {
    /// Whether these are all.
    is_whole: bool,
    /// The chunks.
    parts: Vec<ValuePart>,
}

/// Reads a body.
fn read_body<S: Snapshot>(view: &View<S>, large: &Large) -> Result<Body, ReadError> {
    let mut body = Body { is_whole: true, parts: Vec::new() };
    for index in 0..u32::try_from(large.len.div_ceil(CHUNK_BYTES as u64)).unwrap_or(u32::MAX) {
        match view.chunk(large.body, index) {
            Ok(Some(bytes)) => {
                let offset = u64::from(index) * CHUNK_BYTES as u64;
                body.parts.push(ValuePart { offset, bytes });
            }
            Ok(None) | Err(ReadError::Damaged { .. }) => body.is_whole = false,
            Err(error) => return Err(error),
        }
    }
    Ok(body)
}
