//! Namespaces: their entries in the system namespace, and the registry that is built from these.

use std::collections::{BTreeMap, HashMap};

use super::{
    hlc::Hlc,
    id::{NamespaceId, OriginId},
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
    /// The write that created it. If two namespaces share a title, the older one has it.
    pub created: Version,
    /// It was dropped for good: its rows are removed, and its id is rejected for ever.
    pub dropped: bool,
}

/// The version of the layout of a namespace's entry.
const LAYOUT: u8 = 1;

impl Namespace {
    /// Encodes the value of this namespace's entry in the system namespace.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![LAYOUT, u8::from(self.dropped)];
        out.extend_from_slice(&self.created.hlc.0.to_be_bytes());
        out.extend_from_slice(&self.created.origin.0);
        put_text(&mut out, &self.account);
        put_text(&mut out, &self.title);
        out
    }

    /// Decodes the value of a namespace's entry.
    ///
    /// # Errors
    /// If the bytes are not a namespace that is valid.
    pub fn decode(id: NamespaceId, value: &[u8]) -> Result<Namespace, DecodeError> {
        let mut reader = Reader::new(value);
        if reader.u8()? != LAYOUT {
            return Err(DecodeError("a namespace of an unknown layout"));
        }
        let dropped = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(DecodeError("a namespace with unknown flags")),
        };
        let created = Version { hlc: Hlc(reader.u64()?), origin: OriginId(reader.id()?) };
        let account = Account::new(reader.text(MAX_TITLE_BYTES)?)
            .map_err(|_too_long| DecodeError("a namespace with an invalid account"))?;
        let title = Title::stored(reader.text(MAX_TITLE_BYTES)?)
            .map_err(|_invalid| DecodeError("a namespace with an invalid title"))?;
        reader.end()?;
        Ok(Namespace { id, account, title, created, dropped })
    }
}

/// Derives the id of the `n`th namespace that had this title in this account: the first 128 bits of
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

/// All namespaces of a store as of one commit.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    /// All namespaces, dropped ones included.
    all: BTreeMap<NamespaceId, Namespace>,
    /// The namespaces that are not dropped, by title.
    titles: HashMap<Title, NamespaceId>,
}

impl Namespaces {
    /// Returns the live namespace with this id.
    #[must_use]
    pub fn get(&self, id: NamespaceId) -> Option<&Namespace> {
        self.all.get(&id).filter(|namespace| !namespace.dropped)
    }

    /// Returns the live namespace with this id (32 hexadecimal digits), else with this title. If two
    /// share the title, the older one.
    #[must_use]
    pub fn resolve(&self, title_or_id: &str) -> Option<&Namespace> {
        let by_id = title_or_id.parse().ok().and_then(|id| self.get(id));
        by_id.or_else(|| self.get(*self.titles.get(title_or_id)?))
    }

    /// The live namespaces, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.all.values().filter(|namespace| !namespace.dropped)
    }

    /// Whether this id was dropped, and is rejected for ever.
    #[must_use]
    pub fn is_dropped(&self, id: NamespaceId) -> bool {
        self.all.get(&id).is_some_and(|namespace| namespace.dropped)
    }

    /// Whether a live or dropped namespace has this id.
    pub(crate) fn is_taken(&self, id: NamespaceId) -> bool {
        id == NamespaceId::SYSTEM || self.all.contains_key(&id)
    }

    /// Returns the oldest live namespace with this title in this account.
    #[must_use]
    pub fn titled(&self, account: &Account, title: &Title) -> Option<&Namespace> {
        self.iter()
            .filter(|namespace| namespace.account == *account && namespace.title == *title)
            .min_by_key(|namespace| namespace.created)
    }

    /// Adds a namespace, or replaces the one with its id.
    pub(crate) fn insert(&mut self, namespace: Namespace) {
        self.all.insert(namespace.id, namespace);
        self.index_titles();
    }

    /// Rebuilds the index of titles. Of two namespaces with one title, created concurrently, the older one
    /// has it, at every location.
    fn index_titles(&mut self) {
        let mut titles: HashMap<Title, NamespaceId> = HashMap::new();
        let mut live: Vec<_> = self.iter().collect();
        live.sort_by_key(|namespace| namespace.created);
        for namespace in live {
            titles.entry(namespace.title.clone()).or_insert(namespace.id);
        }
        self.titles = titles;
    }
}

impl FromIterator<Namespace> for Namespaces {
    fn from_iter<I: IntoIterator<Item = Namespace>>(namespaces: I) -> Self {
        let all = namespaces.into_iter().map(|namespace| (namespace.id, namespace)).collect();
        let mut namespaces = Namespaces { all, titles: HashMap::new() };
        namespaces.index_titles();
        namespaces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(id: u8, title: &str, hlc: u64) -> Namespace {
        Namespace {
            id: NamespaceId([id; 16]),
            account: Account::default(),
            title: Title::new(title).unwrap(),
            created: Version { hlc: Hlc(hlc), origin: OriginId([1; 16]) },
            dropped: false,
        }
    }

    #[test]
    fn a_namespace_reads_back_from_its_entry() {
        let made = Namespace { account: Account::new("acc").unwrap(), ..namespace(7, "títle", 5) };
        assert_eq!(Namespace::decode(made.id, &made.encode()), Ok(made));
    }

    #[test]
    fn the_older_of_two_namespaces_with_one_title_has_it_and_the_other_is_found_by_id() {
        let all: Namespaces = [namespace(1, "t", 9), namespace(2, "t", 3)].into_iter().collect();
        assert_eq!(all.resolve("t").unwrap().id, NamespaceId([2; 16]));
        assert_eq!(
            all.resolve(&NamespaceId([1; 16]).to_string()).unwrap().id,
            NamespaceId([1; 16])
        );
    }

    #[test]
    fn an_id_depends_on_where_the_account_ends() {
        assert_ne!(derive_id("a", "bc", 0), derive_id("ab", "c", 0));
        assert_ne!(derive_id("a", "b", 0), derive_id("a", "b", 1));
    }
}
