//! A namespace, and its row in the system namespace.
//!
//! A namespace exists if it was created later than it was dropped. An entry whose version is not later than the drop is
//! dead: nobody reads it, and garbage collection removes it. Later entries live. So a namespace that was dropped may be
//! created again, with the same id and empty.

use super::{
    id::NamespaceId,
    joined::{FieldNumber, FieldValue, JoinedRow},
    key::Key,
    limits::MAX_TITLE_BYTES,
    name::{Account, Title},
    version::Version,
};
use crate::codec::{DecodeError, Reader, put_text};

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its id: derived from account and title, or given when it was created. It never changes.
    pub id: NamespaceId,
    /// The account that it belongs to; empty at a location without accounts.
    pub account: Account,
    /// Its name for people.
    pub title: Title,
    /// The last write that created it. If two namespaces share a title, the older one has it.
    pub created: Version,
    /// The last write that dropped it, if there was one. Entries that are not later are dead.
    pub dropped_at: Option<Version>,
}

/// The field of account and title.
const TITLE: FieldNumber = FieldNumber::new(1).expect("a field number");
/// The field of the creation: its version is all that counts.
const CREATED: FieldNumber = FieldNumber::new(2).expect("a field number");
/// The field of the drop: its version is all that counts.
const DROPPED: FieldNumber = FieldNumber::new(3).expect("a field number");

/// The version of the layout of the field of account and title.
const LAYOUT: u8 = 1;

impl Namespace {
    /// Whether the namespace exists: it was created later than it was dropped.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.dropped_at.is_none_or(|dropped| dropped < self.created)
    }

    /// Returns the key of a namespace's row in the system namespace.
    ///
    /// # Panics
    /// Never: an id has the length of a key.
    #[must_use]
    pub fn key(id: NamespaceId) -> Key {
        Key::new(id.0).expect("an id has 16 bytes")
    }

    /// Returns the namespace that a key of the system namespace names, or `None` if it names something else.
    #[must_use]
    pub fn id_of(key: &[u8]) -> Option<NamespaceId> {
        let id = NamespaceId(key.try_into().ok()?);
        (!id.is_built_in()).then_some(id)
    }

    /// The field that gives a namespace its account and its title.
    ///
    /// # Panics
    /// Never: the types bound the texts.
    #[must_use]
    pub fn titled(account: &Account, title: &Title) -> (FieldNumber, FieldValue) {
        let mut out = vec![LAYOUT];
        put_text(&mut out, account);
        put_text(&mut out, title);
        (TITLE, FieldValue::new(out).expect("two texts are short"))
    }

    /// The field that creates a namespace.
    #[must_use]
    pub fn creation() -> (FieldNumber, FieldValue) {
        (CREATED, FieldValue::default())
    }

    /// The field that drops a namespace.
    #[must_use]
    pub fn drop() -> (FieldNumber, FieldValue) {
        (DROPPED, FieldValue::default())
    }

    /// The write that dropped the namespace of a row last.
    #[must_use]
    pub fn drop_of(row: &JoinedRow) -> Option<Version> {
        row.get(DROPPED).map(|field| field.version)
    }

    /// Interprets the row of a namespace. Returns `None` if it has no creation, or no title that this program
    /// understands: a newer one may have written it.
    #[must_use]
    pub fn of(id: NamespaceId, row: &JoinedRow) -> Option<Namespace> {
        let created = row.get(CREATED)?.version;
        let (account, title) = decode_title(row.get(TITLE)?.value.as_bytes()).ok()?;
        Some(Namespace { id, account, title, created, dropped_at: Namespace::drop_of(row) })
    }
}

/// Decodes the field of account and title.
fn decode_title(value: &[u8]) -> Result<(Account, Title), DecodeError> {
    let mut reader = Reader::new(value);
    if reader.u8()? != LAYOUT {
        return Err(DecodeError("a namespace of an unknown layout"));
    }
    let account = Account::new(reader.text(MAX_TITLE_BYTES)?)
        .map_err(|_too_long| DecodeError("a namespace with an invalid account"))?;
    let title = Title::stored(reader.text(MAX_TITLE_BYTES)?)
        .map_err(|_invalid| DecodeError("a namespace with an invalid title"))?;
    reader.end()?;
    Ok((account, title))
}

/// Derives the id of the `n`th namespace of this title in this account: the first 128 bits of
/// BLAKE3 over both texts, each after its length, and `n`.
///
/// A title that two locations create independently is thus one namespace, and its data merges.
#[must_use]
pub fn derive_id(account: &str, title: &str, n: u32) -> NamespaceId {
    let mut input = Vec::new();
    put_text(&mut input, account);
    put_text(&mut input, title);
    input.extend_from_slice(&n.to_be_bytes());
    let hash = blake3::hash(&input);
    NamespaceId(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
}

impl Namespace {
    /// Orders namespaces by age, the same at every location.
    pub(super) fn age(&self) -> (Version, NamespaceId) {
        (self.created, self.id)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::types::{Hlc, Namespaces, OriginId};

    pub(in crate::types) fn version(hlc: u64) -> Version {
        Version { hlc: Hlc(hlc), origin: OriginId([1; 16]) }
    }

    fn titled(title: &str) -> (FieldNumber, FieldValue) {
        Namespace::titled(&Account::default(), &Title::new(title).unwrap())
    }

    pub(in crate::types) fn row(hlc: u64, fields: &[(FieldNumber, FieldValue)]) -> JoinedRow {
        JoinedRow::written(version(hlc), hlc, fields.to_vec()).unwrap()
    }

    fn created(hlc: u64, title: &str) -> JoinedRow {
        row(hlc, &[titled(title), Namespace::creation()])
    }

    pub(in crate::types) fn joined(rows: &[JoinedRow]) -> JoinedRow {
        let mut joined = rows[0].clone();
        for row in rows {
            joined.join(row);
        }
        joined
    }

    pub(in crate::types) const ID: NamespaceId = NamespaceId([7; 16]);

    #[test]
    fn a_namespace_exists_if_it_was_created_later_than_it_was_dropped() {
        let (create, dropped) = (created(5, "t\u{ed}tle"), row(6, &[Namespace::drop()]));
        let again = row(9, &[Namespace::creation()]);
        let states = [
            (vec![&create], Some(true)),
            (vec![&create, &dropped], Some(false)),
            (vec![&create, &dropped, &again], Some(true)),
            (vec![&dropped], None),
        ];
        for (rows, exists) in states {
            let rows: Vec<_> = rows.into_iter().cloned().collect();
            let namespace = Namespace::of(ID, &joined(&rows));
            assert_eq!(namespace.map(|namespace| namespace.exists()), exists, "{rows:?}");
        }
    }

    #[test]
    fn a_row_that_is_not_understood_is_not_a_namespace_and_its_drop_counts() {
        let newer = (TITLE, FieldValue::new(vec![9, 1, 2, 3]).unwrap());
        let row = joined(&[row(5, &[newer, Namespace::creation()]), row(6, &[Namespace::drop()])]);
        assert_eq!(Namespace::of(ID, &row), None);
        let all: Namespaces = [(ID, &row)].into_iter().collect();
        assert_eq!(all.get(ID), None);
        assert!(all.is_dropped(ID) && all.is_dead(ID, version(6)));
    }

    #[test]
    fn an_id_depends_on_where_the_account_ends() {
        assert_ne!(derive_id("a", "bc", 0), derive_id("ab", "c", 0));
        assert_ne!(derive_id("a", "b", 0), derive_id("a", "b", 1));
    }
}
