//! The registry of a store's namespaces.
//!
//! A commit that changes one namespace works on a copy of the registry, and every view keeps its own. So it consists of
//! trees whose copies share all nodes but those on the way to a change: a change costs the logarithm of the number of
//! namespaces, and a copy costs nothing.

use rpds::{RedBlackTreeMapSync as Map, RedBlackTreeSetSync as Set};

use super::{
    id::NamespaceId,
    joined::JoinedRow,
    name::{Account, Title},
    namespace::Namespace,
    version::Version,
};

/// Two namespaces of one account with one title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TitleConflict<'a> {
    /// The one that the title names.
    pub older: &'a Namespace,
    /// The one that is found by its id only.
    pub newer: &'a Namespace,
}

/// All namespaces of a store as of one commit. Copies are cheap.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    /// All namespaces that were created, dropped ones included.
    all: Map<NamespaceId, Namespace>,
    /// The last drop of each id that was dropped, whether the rest of its row is understood or not.
    drops: Map<NamespaceId, Version>,
    /// The namespaces that exist, by title.
    titles: Map<Title, Ages>,
    /// The namespaces that exist, by account and title.
    owned: Map<(Account, Title), Ages>,
    /// The accounts and titles that several namespaces have.
    shared: Set<(Account, Title)>,
    /// How many namespaces exist.
    len: usize,
}

/// The age of a namespace, and its id: an order that is the same at every location.
type Age = (Version, NamespaceId);

/// Namespaces with one title, the oldest first. Almost always it is one.
#[derive(Clone, Debug)]
enum Ages {
    One(Age),
    Several(Set<Age>),
}

impl Ages {
    /// The oldest one.
    fn oldest(&self) -> Option<&Age> {
        match self {
            Ages::One(age) => Some(age),
            Ages::Several(ages) => ages.first(),
        }
    }

    /// Those that are not the oldest.
    fn newer(&self) -> impl Iterator<Item = &Age> {
        let ages = match self {
            Ages::One(_) => None,
            Ages::Several(ages) => Some(ages.iter().skip(1)),
        };
        ages.into_iter().flatten()
    }

    /// Adds one.
    fn add(self, age: Age) -> Ages {
        match self {
            Ages::One(other) => Ages::Several([other, age].into_iter().collect()),
            Ages::Several(ages) => Ages::Several(ages.insert(age)),
        }
    }

    /// Removes one. Returns what is left.
    fn remove(&self, age: &Age) -> Option<Ages> {
        let Ages::Several(ages) = self else { return None };
        let left = ages.remove(age);
        match left.size() {
            0 => None,
            1 => left.first().copied().map(Ages::One),
            _ => Some(Ages::Several(left)),
        }
    }
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
        by_id.or_else(|| self.oldest(self.titles.get(title_or_id)))
    }

    /// The oldest of some namespaces.
    fn oldest(&self, ages: Option<&Ages>) -> Option<&Namespace> {
        let (_, id) = ages?.oldest()?;
        self.get(*id)
    }

    /// The namespaces that exist, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.all.values().filter(|namespace| namespace.exists())
    }

    /// The namespaces that exist and whose ids are greater than this one, by id. Reaching the first one costs the
    /// logarithm of the number of namespaces.
    pub fn after(&self, id: NamespaceId) -> impl Iterator<Item = &Namespace> {
        let rest = self.all.range((std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded));
        rest.map(|(_, namespace)| namespace).filter(|namespace| namespace.exists())
    }

    /// How many namespaces exist.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no namespace exists.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
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
        self.oldest(self.owned.get(&(account.clone(), title.clone())))
    }

    /// The namespaces whose title another, older one of their account has, by age. Two locations that could not reach
    /// each other made them, under ids that were given by hand or with a new title.
    #[must_use]
    pub fn conflicts(&self) -> Vec<TitleConflict<'_>> {
        let mut conflicts = Vec::new();
        for ages in self.shared.iter().filter_map(|owned| self.owned.get(owned)) {
            let Some(older) = self.oldest(Some(ages)) else { continue };
            let newer = ages.newer().filter_map(|(_, id)| self.get(*id));
            conflicts.extend(newer.map(|newer| TitleConflict { older, newer }));
        }
        conflicts.sort_by_key(|both| both.newer.age());
        conflicts
    }

    /// Takes in the row of a namespace, in place of an earlier state of it.
    pub(crate) fn insert(&mut self, id: NamespaceId, row: &JoinedRow) {
        if let Some(before) = self.get(id).cloned() {
            self.unlist(&before);
        }
        match Namespace::of(id, row) {
            Some(namespace) => {
                if namespace.exists() {
                    self.list(&namespace);
                }
                self.all.insert_mut(id, namespace);
            }
            None => drop(self.all.remove_mut(&id)),
        }
        if let Some(dropped) = Namespace::drop_of(row) {
            self.drops.insert_mut(id, dropped);
        }
    }

    /// Adds a namespace that exists to the indexes by title.
    fn list(&mut self, namespace: &Namespace) {
        let Namespace { account, title, .. } = namespace;
        let age = namespace.age();
        let with = |ages: Option<&Ages>| ages.cloned().map_or(Ages::One(age), |ages| ages.add(age));
        let titled = with(self.titles.get(title));
        self.titles.insert_mut(title.clone(), titled);
        let owner = (account.clone(), title.clone());
        let owned = with(self.owned.get(&owner));
        if matches!(owned, Ages::Several(_)) {
            self.shared.insert_mut(owner.clone());
        }
        self.owned.insert_mut(owner, owned);
        self.len += 1;
    }

    /// Removes a namespace from the indexes by title.
    fn unlist(&mut self, namespace: &Namespace) {
        let Namespace { account, title, .. } = namespace;
        let age = namespace.age();
        match self.titles.get(title).and_then(|ages| ages.remove(&age)) {
            Some(left) => self.titles.insert_mut(title.clone(), left),
            None => drop(self.titles.remove_mut(title)),
        }
        let owner = (account.clone(), title.clone());
        let left = self.owned.get(&owner).and_then(|ages| ages.remove(&age));
        if !matches!(left, Some(Ages::Several(_))) {
            self.shared.remove_mut(&owner);
        }
        match left {
            Some(left) => self.owned.insert_mut(owner, left),
            None => drop(self.owned.remove_mut(&owner)),
        }
        self.len -= 1;
    }
}

impl<'a> FromIterator<(NamespaceId, &'a JoinedRow)> for Namespaces {
    fn from_iter<I: IntoIterator<Item = (NamespaceId, &'a JoinedRow)>>(rows: I) -> Self {
        let mut namespaces = Namespaces::default();
        rows.into_iter().for_each(|(id, row)| namespaces.insert(id, row));
        namespaces
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use proptest::prelude::*;

    use super::*;
    use crate::types::namespace::tests::{ID, joined, row, version};

    fn created_in(account: &str, hlc: u64, title: &str) -> JoinedRow {
        let (account, title) = (Account::new(account).unwrap(), Title::new(title).unwrap());
        row(hlc, &[Namespace::titled(&account, &title), Namespace::creation()])
    }

    fn created(hlc: u64, title: &str) -> JoinedRow {
        created_in("", hlc, title)
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

    /// What a registry must answer, computed from all of its namespaces.
    fn check(all: &Namespaces, rows: &BTreeMap<u8, JoinedRow>) -> Result<(), TestCaseError> {
        let known = rows.iter().filter_map(|(id, row)| Namespace::of(NamespaceId([*id; 16]), row));
        let live: Vec<_> = known.filter(Namespace::exists).collect();
        prop_assert_eq!(all.iter().cloned().collect::<Vec<_>>(), live.clone());
        prop_assert_eq!(all.len(), live.len());
        let after = NamespaceId([3; 16]);
        let rest: Vec<_> = live.iter().filter(|one| one.id > after).collect();
        prop_assert_eq!(all.after(after).collect::<Vec<_>>(), rest);
        let mut by_age = live.clone();
        by_age.sort_by_key(Namespace::age);
        let mut oldest: BTreeMap<_, &Namespace> = BTreeMap::new();
        let mut conflicts = Vec::new();
        for one in &by_age {
            let first = by_age.iter().find(|other| other.title == one.title);
            prop_assert_eq!(all.resolve(&one.title), first);
            match oldest.get(&(&one.account, &one.title)) {
                Some(older) => conflicts.push(TitleConflict { older, newer: one }),
                None => drop(oldest.insert((&one.account, &one.title), one)),
            }
        }
        for ((account, title), older) in &oldest {
            prop_assert_eq!(all.titled(account, title), Some(*older));
        }
        prop_assert_eq!(all.conflicts(), conflicts);
        let titles: HashSet<_> = by_age.iter().map(|one| &one.title).collect();
        prop_assert_eq!(all.titles.size(), titles.len());
        prop_assert_eq!(all.owned.size(), oldest.len());
        Ok(())
    }

    proptest! {
        #[test]
        fn a_registry_that_changed_row_by_row_answers_like_one_that_is_searched(
            changes in proptest::collection::vec((1..6u8, 0..3u8, 0..3usize, 0..2usize), 1..60),
        ) {
            let (mut all, mut rows) = (Namespaces::default(), BTreeMap::<u8, JoinedRow>::new());
            for (at, (id, kind, title, account)) in changes.into_iter().enumerate() {
                let hlc = at as u64 + 1;
                let (account, title) = (["", "a"][account], ["t", "u", "v"][title]);
                let change = match kind {
                    0 => created_in(account, hlc, title),
                    1 => row(hlc, &[Namespace::titled(
                        &Account::new(account).unwrap(),
                        &Title::new(title).unwrap(),
                    )]),
                    _ => row(hlc, &[Namespace::drop()]),
                };
                let row = rows.entry(id).or_insert_with(|| change.clone());
                row.join(&change);
                let before = all.clone();
                let kept: Vec<_> = before.iter().cloned().collect();
                all.insert(NamespaceId([id; 16]), row);
                prop_assert_eq!(before.iter().cloned().collect::<Vec<_>>(), kept, "a copy changed");
                check(&all, &rows)?;
            }
        }
    }
}
