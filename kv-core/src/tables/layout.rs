//! A table with a type for its keys and one for its rows.

use std::ops::{Bound, ControlFlow};

use super::seal::{seal, unseal};
use crate::{
    codec::DecodeError,
    engine::{Batch, EngineError, Order, Snapshot, Table},
    error::ReadError,
};

/// The layout of a table, or of one row of it: how its keys and rows become bytes and back.
///
/// The functions of this module seal and unseal; a layout only knows payloads.
pub(crate) trait Layout {
    /// The table of the engine.
    const TABLE: Table;
    /// The key of a row.
    type Key;
    /// The row.
    type Row;

    /// Encodes a key. The order of the encoded keys is the order of the rows in the table.
    fn key(key: &Self::Key) -> Vec<u8>;

    /// Decodes a key. Accepts only what [`Layout::key`] returns.
    fn read_key(bytes: &[u8]) -> Result<Self::Key, DecodeError>;

    /// Encodes a row, without its checksum.
    fn payload(row: &Self::Row) -> Vec<u8>;

    /// Decodes a row whose checksum was checked and removed.
    fn read_payload(bytes: &[u8]) -> Result<Self::Row, DecodeError>;
}

/// Encodes and seals one row: the key and the row as a batch of the engine takes them.
pub(crate) fn encode<T: Layout>(key: &T::Key, row: &T::Row) -> (Vec<u8>, Vec<u8>) {
    let key = T::key(key);
    let row = seal(T::TABLE, &key, T::payload(row));
    (key, row)
}

/// Unseals and decodes one row.
pub(crate) fn decode<T: Layout>(key: &[u8], row: &[u8]) -> Result<(T::Key, T::Row), DecodeError> {
    let payload = unseal(T::TABLE, key, row)?;
    Ok((T::read_key(key)?, T::read_payload(payload)?))
}

/// Adds a row to a batch.
pub(crate) fn put<T: Layout>(batch: &mut Batch, key: &T::Key, row: &T::Row) {
    let (key, row) = encode::<T>(key, row);
    batch.push((T::TABLE, key, Some(row)));
}

/// Adds the deletion of a row to a batch.
pub(crate) fn delete<T: Layout>(batch: &mut Batch, key: &T::Key) {
    batch.push((T::TABLE, T::key(key), None));
}

/// Reads a row.
pub(crate) fn get<T: Layout>(
    snapshot: &impl Snapshot,
    key: &T::Key,
) -> Result<Option<T::Row>, ReadError> {
    let key = T::key(key);
    let Some(row) = snapshot.get(T::TABLE, &key)? else { return Ok(None) };
    let payload = unseal(T::TABLE, &key, &row).and_then(T::read_payload);
    payload.map(Some).map_err(ReadError::damaged(T::TABLE))
}

/// A row on a walk, decoded, with the bytes of its key.
pub(crate) type Visited<'a, T> =
    (&'a [u8], Result<(<T as Layout>::Key, <T as Layout>::Row), DecodeError>);

/// Visits the rows of a table between two encoded keys, in ascending order, until the visitor breaks.
pub(crate) fn visit<T: Layout>(
    snapshot: &impl Snapshot,
    bounds: (Bound<&[u8]>, Bound<&[u8]>),
    visit: &mut dyn FnMut(Visited<'_, T>) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    snapshot.range(T::TABLE, bounds, Order::Ascending, &mut |key, row| {
        visit((key, decode::<T>(key, row)))
    })
}

/// The key of a row, as bytes and decoded.
pub(crate) type FirstKey<T> = (Vec<u8>, Result<<T as Layout>::Key, DecodeError>);

/// Reads the key of the first row of a table whose encoded key is not below `from`.
pub(crate) fn first<T: Layout>(
    snapshot: &impl Snapshot,
    from: &[u8],
) -> Result<Option<FirstKey<T>>, EngineError> {
    let mut found = None;
    let bounds = (Bound::Included(from), Bound::Unbounded);
    snapshot.range(T::TABLE, bounds, Order::Ascending, &mut |key, _| {
        found = Some((key.to_vec(), T::read_key(key)));
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// Reads the key of the last row of a table that is not damaged.
pub(crate) fn last<T: Layout>(snapshot: &impl Snapshot) -> Result<Option<T::Key>, EngineError> {
    let mut found = None;
    let all = (Bound::Unbounded, Bound::Unbounded);
    snapshot.range(
        T::TABLE,
        all,
        Order::Descending,
        &mut |key, row| match decode::<T>(key, row) {
            Ok((key, _)) => {
                found = Some(key);
                ControlFlow::Break(())
            }
            Err(_damaged) => ControlFlow::Continue(()),
        },
    )?;
    Ok(found)
}
