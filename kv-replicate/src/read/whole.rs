//! Rows with their whole values, for the owner.

use kv_core::{Change, Dot, engine::Snapshot, limits::CHUNK_BYTES, view::View};

use crate::{Content, Row, inspect::Place};

/// Reads the rows that still hold these writes, with their bodies, however large these are. One that can't be read is
/// left out.
pub(super) fn read_whole<S: Snapshot>(view: &View<S>, rows: &[(Place, Dot)]) -> Vec<Row> {
    let read = |(place, dot): &(Place, Dot)| {
        let found = view.row(place.namespace, &place.key).ok()??;
        let large = found.large();
        let change = Change { namespace: place.namespace, key: place.key.clone(), found };
        let mut row = Some(Row::from(change)).filter(|row| row.dot == *dot)?;
        if let Some(large) = large {
            let chunks = u32::try_from(large.len.div_ceil(CHUNK_BYTES as u64)).ok()?;
            let mut value = Vec::new();
            for index in 0..chunks {
                value.extend_from_slice(&view.chunk(large.body, index).ok()??);
            }
            row.content = Content::Value(value.into());
        }
        Some(row)
    };
    rows.iter().filter_map(read).collect()
}
