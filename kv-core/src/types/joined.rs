//! Joined rows: the rows of the system namespace, each a map of fields that merge one by one.
//!
//! A *last-writer-wins map* (Shapiro, Preguiça, Baquero, Zawirski: "A comprehensive study of Convergent and Commutative
//! Replicated Data Types" (2011), section 3.2.1, a register for each field): of each field the write with the greater
//! version wins. The join needs no knowledge of what a field means. So a store keeps, joins and passes on rows and
//! fields that a newer program writes, and interprets them after an upgrade.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fmt,
};

use bytes::Bytes;

use super::{
    hlc::Hlc,
    id::OriginId,
    limits::{MAX_FIELD_BYTES, MAX_FIELDS},
    version::{Dot, Version},
};
use crate::codec::{DecodeError, Reader};

/// The number of a field of a joined row: 1 to [`MAX_FIELDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldNumber(u8);

impl FieldNumber {
    /// Makes the number of a field; `None` if no field has it.
    #[must_use]
    pub const fn new(number: u8) -> Option<FieldNumber> {
        if number >= 1 && number as usize <= MAX_FIELDS { Some(FieldNumber(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// The value of a field: at most [`MAX_FIELD_BYTES`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldValue(Bytes);

/// The value of a field is too long. Holds its length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a field of a system row has at most {MAX_FIELD_BYTES} bytes; this one has {0}")]
pub struct FieldError(pub usize);

impl FieldValue {
    /// Takes the value of a field.
    ///
    /// # Errors
    /// [`FieldError`] if it has more than [`MAX_FIELD_BYTES`] bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Result<FieldValue, FieldError> {
        let bytes = bytes.into();
        if bytes.len() > MAX_FIELD_BYTES {
            return Err(FieldError(bytes.len()));
        }
        Ok(FieldValue(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// One field of a joined row: its value, and the write that it comes from.
///
/// The order is that of the join: by version. Two writes never share a version, except at stores that share an identity;
/// then the sequence number and the value decide, so that all stores decide alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field {
    /// The version of the write.
    pub version: Version,
    /// The sequence number of the write at the version's origin, from 1.
    pub seq: u64,
    /// What was written.
    pub value: FieldValue,
}

impl Field {
    /// The dot of the write.
    #[must_use]
    pub fn dot(&self) -> Dot {
        Dot { origin: self.version.origin, seq: self.seq }
    }
}

/// A row of the system namespace: at least one field, at most [`MAX_FIELDS`]. With their bound of
/// [`MAX_FIELD_BYTES`] a row has at most 64 KiB however many writers it has.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinedRow(BTreeMap<FieldNumber, Field>);

impl JoinedRow {
    /// The row of one write: its fields share a dot and a version. `None` if it writes no field.
    pub fn written(
        version: Version,
        seq: u64,
        values: impl IntoIterator<Item = (FieldNumber, FieldValue)>,
    ) -> Option<JoinedRow> {
        let field = |(number, value)| (number, Field { version, seq, value });
        let fields: BTreeMap<_, _> = values.into_iter().map(field).collect();
        (!fields.is_empty()).then_some(JoinedRow(fields))
    }

    /// Returns a field, if the row has it.
    #[must_use]
    pub fn get(&self, number: FieldNumber) -> Option<&Field> {
        self.0.get(&number)
    }

    /// The fields, by number.
    pub fn iter(&self) -> impl Iterator<Item = (FieldNumber, &Field)> {
        self.0.iter().map(|(number, field)| (*number, field))
    }

    /// Joins another row of the same key into this one: of each field the later write wins. The join is commutative,
    /// associative and idempotent. Returns whether this row changed.
    pub fn join(&mut self, other: &JoinedRow) -> bool {
        let mut has_changed = false;
        for (number, theirs) in &other.0 {
            match self.0.entry(*number) {
                Entry::Occupied(mut ours) if ours.get() < theirs => {
                    ours.insert(theirs.clone());
                }
                Entry::Occupied(_) => continue,
                Entry::Vacant(place) => {
                    place.insert(theirs.clone());
                }
            }
            has_changed = true;
        }
        has_changed
    }

    /// The dots of all writes that a field of the row comes from. The dot index has a row for each of them.
    #[must_use]
    pub fn dots(&self) -> BTreeSet<Dot> {
        self.0.values().map(Field::dot).collect()
    }

    /// The field that was written last.
    ///
    /// # Panics
    /// Never: a row has a field.
    #[must_use]
    pub fn latest(&self) -> &Field {
        self.0.values().max().expect("a joined row has a field")
    }

    /// The version of the write that has this dot, if a field comes from it.
    #[must_use]
    pub fn version_at(&self, dot: Dot) -> Option<Version> {
        self.0.values().filter(|field| field.dot() == dot).map(|field| field.version).max()
    }

    /// Returns how many bytes [`JoinedRow::encode`] appends if an origin takes 16.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        1 + self.0.values().map(|field| 35 + field.value.0.len()).sum::<usize>()
    }

    /// Appends the row: the number of its fields, then each by rising number. `put_origin` appends an origin: its id, or
    /// its local number.
    ///
    /// # Panics
    /// Never: the types bound the counts.
    pub fn encode(&self, out: &mut Vec<u8>, put_origin: &dyn Fn(&mut Vec<u8>, OriginId)) {
        out.push(u8::try_from(self.0.len()).expect("a joined row has few fields"));
        for (number, field) in &self.0 {
            out.push(number.0);
            out.extend_from_slice(&field.version.hlc.0.to_be_bytes());
            put_origin(out, field.version.origin);
            out.extend_from_slice(&field.seq.to_be_bytes());
            let len = u16::try_from(field.value.0.len()).expect("a field is short");
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(&field.value.0);
        }
    }

    /// Decodes what [`JoinedRow::encode`] appends. `origin` reads an origin.
    ///
    /// # Errors
    /// If the bytes are not a row within its bounds.
    pub fn decode<'a>(
        reader: &mut Reader<'a>,
        origin: &dyn Fn(&mut Reader<'a>) -> Result<OriginId, DecodeError>,
    ) -> Result<JoinedRow, DecodeError> {
        let count = usize::from(reader.u8()?);
        if !(1..=MAX_FIELDS).contains(&count) {
            return Err(DecodeError("a joined row without fields, or with too many"));
        }
        let mut fields = BTreeMap::new();
        let mut before = 0;
        for _ in 0..count {
            let number = FieldNumber::new(reader.u8()?).filter(|number| number.0 > before);
            let number = number.ok_or(DecodeError("a joined row with a wrong field number"))?;
            before = number.0;
            let version = Version { hlc: Hlc(reader.u64()?), origin: origin(reader)? };
            let seq = reader.u64()?;
            if seq == 0 {
                return Err(DecodeError("a joined row with a sequence number below 1"));
            }
            let len = usize::from(reader.u16()?);
            let value = FieldValue::new(Bytes::copy_from_slice(reader.take(len)?))
                .map_err(|_too_long| DecodeError("a joined row with a field over its bound"))?;
            fields.insert(number, Field { version, seq, value });
        }
        Ok(JoinedRow(fields))
    }
}

impl fmt::Debug for JoinedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.0.iter().map(|(number, field)| {
            (
                number.0,
                (field.version, field.seq, field.value.as_bytes().escape_ascii().to_string()),
            )
        });
        f.debug_map().entries(fields).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put_id(out: &mut Vec<u8>, id: OriginId) {
        out.extend_from_slice(&id.0);
    }

    fn encoded(row: &JoinedRow) -> Vec<u8> {
        let mut out = Vec::new();
        row.encode(&mut out, &put_id);
        out
    }

    fn decoded(bytes: &[u8]) -> Result<JoinedRow, DecodeError> {
        let mut reader = Reader::new(bytes);
        let row = JoinedRow::decode(&mut reader, &|reader| reader.id().map(OriginId))?;
        reader.end()?;
        Ok(row)
    }

    /// Few versions, numbers and values, so that rows often share them.
    fn field() -> impl Strategy<Value = Field> {
        (0..4_u64, 0..3_u8, 1..4_u64, proptest::collection::vec(0..3_u8, 0..3)).prop_map(
            |(hlc, origin, seq, value)| Field {
                version: Version { hlc: Hlc(hlc), origin: OriginId([origin; 16]) },
                seq,
                value: FieldValue::new(value).unwrap(),
            },
        )
    }

    fn row() -> impl Strategy<Value = JoinedRow> {
        let number = (1..=u8::try_from(MAX_FIELDS).unwrap()).prop_map(FieldNumber);
        proptest::collection::btree_map(number, field(), 1..6).prop_map(JoinedRow)
    }

    fn join(a: &JoinedRow, b: &JoinedRow) -> JoinedRow {
        let mut joined = a.clone();
        joined.join(b);
        joined
    }

    proptest! {
        #[test]
        fn the_join_is_commutative_associative_and_idempotent(a in row(), b in row(), c in row()) {
            prop_assert_eq!(join(&a, &b), join(&b, &a));
            prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
            prop_assert_eq!(join(&a, &a), a.clone());
            prop_assert_eq!(join(&join(&a, &b), &b), join(&a, &b));
        }

        #[test]
        fn a_join_reports_whether_it_changed_the_row(a in row(), b in row()) {
            let mut joined = a.clone();
            prop_assert_eq!(joined.join(&b), joined != a);
        }

        #[test]
        fn a_join_keeps_of_each_field_the_later_write(a in row(), b in row()) {
            let joined = join(&a, &b);
            for number in (1..=u8::MAX).filter_map(FieldNumber::new) {
                prop_assert_eq!(joined.get(number), a.get(number).max(b.get(number)));
            }
        }

        #[test]
        fn a_row_reads_back_as_it_was_encoded(row in row()) {
            let bytes = encoded(&row);
            prop_assert_eq!(bytes.len(), row.encoded_len());
            prop_assert_eq!(decoded(&bytes), Ok(row));
        }

        #[test]
        fn any_bytes_are_decoded_without_a_panic(bytes: Vec<u8>) {
            if let Ok(row) = decoded(&bytes) {
                prop_assert_eq!(encoded(&row), bytes);
            }
        }
    }

    #[test]
    fn the_largest_row_has_at_most_64_kib() {
        let version = Version { hlc: Hlc(u64::MAX), origin: OriginId([9; 16]) };
        let value = FieldValue::new(vec![7; MAX_FIELD_BYTES]).unwrap();
        let all = (1..=u8::MAX).filter_map(FieldNumber::new).map(|number| (number, value.clone()));
        let row = JoinedRow::written(version, u64::MAX, all).unwrap();
        assert_eq!(row.iter().count(), MAX_FIELDS);
        assert!(row.encoded_len() <= 64 << 10, "{}", row.encoded_len());
        assert_eq!(decoded(&encoded(&row)), Ok(row));
    }

    #[test]
    fn the_bounds_of_numbers_values_and_rows_are_enforced() {
        assert_eq!(FieldNumber::new(0), None);
        assert_eq!(FieldNumber::new(16), None);
        let long = vec![0; MAX_FIELD_BYTES + 1];
        assert_eq!(FieldValue::new(long), Err(FieldError(MAX_FIELD_BYTES + 1)));
        assert!(decoded(&[0]).is_err(), "a row without fields");
        let version = Version { hlc: Hlc(1), origin: OriginId([1; 16]) };
        let field = |number| (FieldNumber::new(number).unwrap(), FieldValue::default());
        let mut bytes = encoded(&JoinedRow::written(version, 1, [field(1), field(2)]).unwrap());
        assert!(decoded(&bytes).is_ok());
        bytes[1] = 3;
        assert!(decoded(&bytes).is_err(), "field numbers that do not rise");
    }

    #[test]
    fn a_row_has_a_dot_for_each_write_and_the_fields_of_one_write_share_it() {
        let version = |hlc| Version { hlc: Hlc(hlc), origin: OriginId([1; 16]) };
        let number = |number| FieldNumber::new(number).unwrap();
        let both = [(number(1), FieldValue::default()), (number(2), FieldValue::default())];
        let mut row = JoinedRow::written(version(5), 1, both).unwrap();
        assert_eq!(row.dots().len(), 1);
        let later = JoinedRow::written(version(6), 2, [(number(2), FieldValue::default())]);
        assert!(row.join(&later.unwrap()));
        let dots: Vec<_> = row.dots().into_iter().map(|dot| dot.seq).collect();
        assert_eq!(dots, [1, 2]);
        assert_eq!(row.latest().seq, 2);
        assert_eq!(row.version_at(Dot { origin: OriginId([1; 16]), seq: 1 }), Some(version(5)));
        let none = Dot { origin: OriginId([1; 16]), seq: 3 };
        assert_eq!(row.version_at(none), None);
    }
}
