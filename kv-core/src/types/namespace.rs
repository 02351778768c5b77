//! Namespaces: their rows in the system namespace, and the registry that is built from these.
//!
//! A namespace exists if it was created later than it was dropped. An entry whose version is not later than the drop is
//! dead: nobody reads it, and garbage collection removes it. Later entries live. So a namespace that was dropped may be
//! created again, with the same id and empty.

use std::collections::{BTreeMap, HashMap};

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
        (id != NamespaceId::SYSTEM).then_some(id)
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

/// Two namespaces of one account with one title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TitleConflict<'a> {
    /// The one that the title names.
    pub older: &'a Namespace,
    /// The one that is found by its id only.
    pub newer: &'a Namespace,
}

/// All namespaces of a store as of one commit.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    /// All namespaces that were created, dropped ones included.
    all: BTreeMap<NamespaceId, Namespace>,
    /// The last drop of each id that was dropped, whether the rest of its row is understood or not.
    drops: BTreeMap<NamespaceId, Version>,
    /// The namespaces that exist, by title.
    titles: HashMap<Title, NamespaceId>,
}

impl Namespaces {
    /// Returns the namespace with this id, if it exists.
    #[must_use]
    pub fn get(&self, id: NamespaceId) -> Option<&Namespace> {
        self.all.get(&id).filter(|namespace| namespace.exists())
    }

    /// Returns the namespace that exists with this id (32 hexadecimal digits), else with this title. If two share the
    /// title, the older one.
    #[must_use]
    pub fn resolve(&self, title_or_id: &str) -> Option<&Namespace> {
        let by_id = title_or_id.parse().ok().and_then(|id| self.get(id));
        by_id.or_else(|| self.get(*self.titles.get(title_or_id)?))
    }

    /// The namespaces that exist, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.all.values().filter(|namespace| namespace.exists())
    }

    /// Returns a namespace that was created, whether it exists or was dropped.
    #[must_use]
    pub fn known(&self, id: NamespaceId) -> Option<&Namespace> {
        self.all.get(&id)
    }

    /// The write that dropped this id last, also if it was created again since. Entries that are not later are dead.
    #[must_use]
    pub fn dropped_at(&self, id: NamespaceId) -> Option<Version> {
        self.drops.get(&id).copied()
    }

    /// Whether an entry of a namespace is dead: its version is not later than the drop of the namespace.
    #[must_use]
    pub fn is_dead(&self, id: NamespaceId, version: Version) -> bool {
        self.dropped_at(id).is_some_and(|dropped| version <= dropped)
    }

    /// Whether this id was dropped and not created again since.
    #[must_use]
    pub fn is_dropped(&self, id: NamespaceId) -> bool {
        self.drops.contains_key(&id) && self.get(id).is_none()
    }

    /// Returns the oldest namespace that exists with this title in this account.
    #[must_use]
    pub fn titled(&self, account: &Account, title: &Title) -> Option<&Namespace> {
        self.iter()
            .filter(|namespace| namespace.account == *account && namespace.title == *title)
            .min_by_key(|namespace| namespace.age())
    }

    /// The namespaces whose title another, older one of their account has, by age. Two locations that could not reach each
    /// other made them, under ids that were given by hand or with a new title.
    #[must_use]
    pub fn conflicts(&self) -> Vec<TitleConflict<'_>> {
        let mut by_age: Vec<_> = self.iter().collect();
        by_age.sort_by_key(|namespace| namespace.age());
        let mut oldest: HashMap<(&Account, &Title), &Namespace> = HashMap::new();
        let mut conflicts = Vec::new();
        for newer in by_age {
            match oldest.get(&(&newer.account, &newer.title)) {
                Some(older) => conflicts.push(TitleConflict { older, newer }),
                None => drop(oldest.insert((&newer.account, &newer.title), newer)),
            }
        }
        conflicts
    }

    /// Takes in the row of a namespace, in place of an earlier state of it.
    pub(crate) fn insert(&mut self, id: NamespaceId, row: &JoinedRow) {
        self.add(id, row);
        self.index_titles();
    }

    /// Takes in a row, and leaves the index of titles as it is.
    fn add(&mut self, id: NamespaceId, row: &JoinedRow) {
        match Namespace::of(id, row) {
            Some(namespace) => drop(self.all.insert(id, namespace)),
            None => drop(self.all.remove(&id)),
        }
        if let Some(dropped) = Namespace::drop_of(row) {
            self.drops.insert(id, dropped);
        }
    }

    /// Rebuilds the index of titles. Of two namespaces with one title, created concurrently, the older one
    /// has it, at every location.
    fn index_titles(&mut self) {
        let mut titles: HashMap<Title, NamespaceId> = HashMap::new();
        let mut live: Vec<_> = self.iter().collect();
        live.sort_by_key(|namespace| namespace.age());
        for namespace in live {
            titles.entry(namespace.title.clone()).or_insert(namespace.id);
        }
        self.titles = titles;
    }
}

impl Namespace {
    /// Orders namespaces by age, the same at every location.
    fn age(&self) -> (Version, NamespaceId) {
        (self.created, self.id)
    }
}

impl<'a> FromIterator<(NamespaceId, &'a JoinedRow)> for Namespaces {
    fn from_iter<I: IntoIterator<Item = (NamespaceId, &'a JoinedRow)>>(rows: I) -> Self {
        let mut namespaces = Namespaces::default();
        rows.into_iter().for_each(|(id, row)| namespaces.add(id, row));
        namespaces.index_titles();
        namespaces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Hlc, OriginId};

    fn version(hlc: u64) -> Version {
        Version { hlc: Hlc(hlc), origin: OriginId([1; 16]) }
    }

    fn titled(title: &str) -> (FieldNumber, FieldValue) {
        Namespace::titled(&Account::default(), &Title::new(title).unwrap())
    }

    fn row(hlc: u64, fields: &[(FieldNumber, FieldValue)]) -> JoinedRow {
        JoinedRow::written(version(hlc), hlc, fields.to_vec()).unwrap()
    }

    fn created(hlc: u64, title: &str) -> JoinedRow {
        row(hlc, &[titled(title), Namespace::creation()])
    }

    fn joined(rows: &[JoinedRow]) -> JoinedRow {
        let mut joined = rows[0].clone();
        for row in rows {
            joined.join(row);
        }
        joined
    }

    const ID: NamespaceId = NamespaceId([7; 16]);

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
    fn entries_that_are_not_later_than_the_drop_are_dead_also_after_another_creation() {
        let rows = [created(5, "t"), row(6, &[Namespace::drop()]), created(9, "t")];
        let all: Namespaces = [(ID, &joined(&rows))].into_iter().collect();
        assert!(all.get(ID).is_some() && !all.is_dropped(ID));
        assert!(all.is_dead(ID, version(4)) && all.is_dead(ID, version(6)));
        assert!(!all.is_dead(ID, version(7)));
        assert!(!all.is_dead(NamespaceId([8; 16]), version(1)));
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
    fn the_older_of_two_namespaces_with_one_title_has_it_and_the_other_is_found_by_id() {
        let ids = [1, 2, 3].map(|id| NamespaceId([id; 16]));
        let rows = [created(9, "t"), created(3, "t"), created(4, "u")];
        let all: Namespaces = ids.into_iter().zip(&rows).collect();
        assert_eq!(all.resolve("t").unwrap().id, ids[1]);
        assert_eq!(all.resolve(&ids[0].to_string()).unwrap().id, ids[0]);
        let conflicts: Vec<_> =
            all.conflicts().iter().map(|both| (both.older.id, both.newer.id)).collect();
        assert_eq!(conflicts, [(ids[1], ids[0])]);
    }

    #[test]
    fn an_id_depends_on_where_the_account_ends() {
        assert_ne!(derive_id("a", "bc", 0), derive_id("ab", "c", 0));
        assert_ne!(derive_id("a", "b", 0), derive_id("a", "b", 1));
    }
}
