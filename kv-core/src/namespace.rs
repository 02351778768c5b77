//! Namespaces: entries of the system namespace, and the registry that is read from them.

use std::collections::{BTreeMap, HashMap};

use crate::{
    Hlc, NamespaceId, OriginId, Version,
    codec::{DecodeError, Reader, put_text},
    limits::MAX_TITLE_BYTES,
};

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its id: derived from account and title, or given when it was made. Never changes.
    pub id: NamespaceId,
    /// Whose it is; empty for the one account of a location without accounts.
    pub account: String,
    /// What people call it.
    pub title: String,
    /// The write that made it: of two that share a title, the older answers to it.
    pub created: Version,
    /// Dropped for good: its rows go, and its id is refused for ever.
    pub dropped: bool,
}

const LAYOUT: u8 = 1;

impl Namespace {
    /// The value of this namespace's entry in the system namespace.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![LAYOUT, u8::from(self.dropped)];
        out.extend_from_slice(&self.created.hlc.0.to_be_bytes());
        out.extend_from_slice(&self.created.origin.0);
        put_text(&mut out, &self.account);
        put_text(&mut out, &self.title);
        out
    }

    /// Reads the value of an entry of the system namespace.
    ///
    /// # Errors
    /// If it is not one.
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
        let account = reader.text(MAX_TITLE_BYTES)?.to_owned();
        let title = reader.text(MAX_TITLE_BYTES)?.to_owned();
        reader.end()?;
        if is_malformed(&account, &title) {
            return Err(DecodeError("a namespace with a title that can't be"));
        }
        Ok(Namespace { id, account, title, created, dropped })
    }
}

/// The id of the `n`th namespace that had this title in this account: the first 128 bits of
/// BLAKE3 over both texts, each behind its length, and `n`.
///
/// A title made in two places is one namespace, and its data merges.
#[must_use]
pub fn derive_id(account: &str, title: &str, n: u32) -> NamespaceId {
    let mut input = Vec::new();
    put_text(&mut input, account);
    put_text(&mut input, title);
    input.extend_from_slice(&n.to_be_bytes());
    let hash = blake3::hash(&input);
    NamespaceId(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
}

/// Whether no namespace can have this title.
fn is_malformed(account: &str, title: &str) -> bool {
    title.is_empty()
        || title.len() > MAX_TITLE_BYTES
        || title.chars().any(char::is_control)
        || account.len() > MAX_TITLE_BYTES
}

/// Why a title can't be given to a namespace, if so.
pub(crate) fn check_title(account: &str, title: &str) -> Result<(), String> {
    if title.is_empty() || title.len() > MAX_TITLE_BYTES {
        return Err(format!(
            "a title has 1 to {MAX_TITLE_BYTES} bytes; this one has {}",
            title.len()
        ));
    }
    if title.chars().any(char::is_control) {
        return Err("a title has no control characters".into());
    }
    if title.parse::<NamespaceId>().is_ok() {
        return Err("32 hexadecimal digits are an id, and no title: give it as the id".into());
    }
    if account.len() > MAX_TITLE_BYTES {
        return Err(format!("an account has at most {MAX_TITLE_BYTES} bytes"));
    }
    Ok(())
}

/// All namespaces of a store as of one commit.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    all: BTreeMap<NamespaceId, Namespace>,
    titles: HashMap<String, NamespaceId>,
}

impl Namespaces {
    /// The live namespace of this id.
    #[must_use]
    pub fn get(&self, id: NamespaceId) -> Option<&Namespace> {
        self.all.get(&id).filter(|namespace| !namespace.dropped)
    }

    /// The live namespace that a person means: by id (32 hexadecimal digits), else by title. Of two
    /// that share a title, the older.
    #[must_use]
    pub fn resolve(&self, title_or_id: &str) -> Option<&Namespace> {
        let by_id = title_or_id.parse().ok().and_then(|id| self.get(id));
        by_id.or_else(|| self.get(*self.titles.get(title_or_id)?))
    }

    /// The live namespaces, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.all.values().filter(|namespace| !namespace.dropped)
    }

    /// Whether this id was dropped, and is refused for ever.
    #[must_use]
    pub fn is_dropped(&self, id: NamespaceId) -> bool {
        self.all.get(&id).is_some_and(|namespace| namespace.dropped)
    }

    /// Whether a live or dropped namespace has this id.
    pub(crate) fn is_taken(&self, id: NamespaceId) -> bool {
        id == NamespaceId::SYSTEM || self.all.contains_key(&id)
    }

    /// The oldest live namespace with this title in this account.
    pub(crate) fn titled(&self, account: &str, title: &str) -> Option<&Namespace> {
        self.iter()
            .filter(|namespace| namespace.account == account && namespace.title == title)
            .min_by_key(|namespace| namespace.created)
    }

    pub(crate) fn insert(&mut self, namespace: Namespace) {
        self.all.insert(namespace.id, namespace);
        self.index_titles();
    }

    fn index_titles(&mut self) {
        let mut titles: HashMap<String, NamespaceId> = HashMap::new();
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
            account: String::new(),
            title: title.into(),
            created: Version { hlc: Hlc(hlc), origin: OriginId([1; 16]) },
            dropped: false,
        }
    }

    #[test]
    fn a_namespace_reads_back_from_its_entry() {
        let made = Namespace { account: "acc".into(), ..namespace(7, "títle", 5) };
        assert_eq!(Namespace::decode(made.id, &made.encode()), Ok(made));
    }

    #[test]
    fn of_two_that_share_a_title_the_older_answers_and_the_other_by_id() {
        let all: Namespaces = [namespace(1, "t", 9), namespace(2, "t", 3)].into_iter().collect();
        assert_eq!(all.resolve("t").unwrap().id, NamespaceId([2; 16]));
        assert_eq!(
            all.resolve(&NamespaceId([1; 16]).to_string()).unwrap().id,
            NamespaceId([1; 16])
        );
    }

    #[test]
    fn account_and_title_do_not_run_into_each_other() {
        assert_ne!(derive_id("a", "bc", 0), derive_id("ab", "c", 0));
        assert_ne!(derive_id("a", "b", 0), derive_id("a", "b", 1));
    }
}
