//! Titles that two namespaces have, and the alarms about them.

use std::sync::{Arc, Mutex, PoisonError};

use kv_core::{NamespaceId, Namespaces};

use super::{alarm::Alarm, kind::AlarmKind};

/// Two namespaces with one title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TitleTwice {
    /// The title.
    pub title: String,
    /// The namespace that the title names.
    pub older: NamespaceId,
    /// The other one.
    pub newer: NamespaceId,
}

/// The titles that two namespaces have, found again only after a namespace has changed: there may be very many.
#[derive(Debug, Default)]
pub struct TitleCache(Mutex<Option<(Arc<Namespaces>, Vec<TitleTwice>)>>);

impl TitleCache {
    /// Returns the titles that two of these namespaces have.
    pub(super) fn of(&self, namespaces: &Arc<Namespaces>) -> Vec<TitleTwice> {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, found)) = &*cache
            && Arc::ptr_eq(known, namespaces)
        {
            return found.clone();
        }
        let conflicts = namespaces.conflicts();
        let found: Vec<_> = (conflicts.iter())
            .map(|conflict| TitleTwice {
                title: conflict.older.title.to_string(),
                older: conflict.older.id,
                newer: conflict.newer.id,
            })
            .collect();
        *cache = Some((Arc::clone(namespaces), found.clone()));
        found
    }
}

/// An alarm for each namespace whose title another one has, with the command that repairs it.
pub(super) fn alarms(titles: &[TitleTwice]) -> Vec<Alarm> {
    let alarm = |TitleTwice { title, older, newer }: &TitleTwice| {
        let text = format!(
            "two namespaces have the title {title:?}: {older} (which the title names) and {newer}. Rename one, or \
             move the entries of the second into the first: waypost namespace merge {newer} {older}"
        );
        Alarm::here(AlarmKind::TitleConflict, text)
    };
    titles.iter().map(alarm).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_namespaces_with_one_title_are_an_alarm_that_names_both_and_the_repair() {
        let directory = tempfile::tempdir().unwrap();
        let store = kv_core::Store::open(directory.path()).unwrap();
        let older = store.create_namespace("a").unwrap().id;
        let newer = store.create_namespace("b").unwrap().id;
        let cache = TitleCache::default();
        assert_eq!(cache.of(&store.namespaces()), []);
        let title = kv_core::Title::new("a").unwrap();
        let titled = kv_core::Namespace::titled(&kv_core::Account::default(), &title);
        // As a write of another location would do it.
        let (key, fields) = (kv_core::Namespace::key(newer), vec![titled]);
        let write = kv_core::Operation::WriteFields { key, fields };
        store.submit(write).unwrap().wait().unwrap();
        let found = cache.of(&store.namespaces());
        assert_eq!(cache.of(&store.namespaces()), found, "it is cached");
        let [alarm] = &alarms(&found)[..] else { panic!("one alarm") };
        let repair = format!("waypost namespace merge {newer} {older}");
        let begin = "two namespaces have the title \"a\": ";
        assert!(alarm.text.starts_with(begin) && alarm.text.ends_with(&repair), "{alarm:?}");
    }
}
