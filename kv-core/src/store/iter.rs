//! Iterators over the entries of a namespace.

use std::{
    collections::VecDeque,
    fmt,
    ops::{Bound, ControlFlow, RangeBounds},
};

use super::{handle::Store, read::LIST_STRETCH};
use crate::{
    body::Entry,
    engine::{Order, after_prefix},
    error::ReadError,
    types::{Found, FoundState, Key, Listed, NamespaceId, limits::MAX_LIST_LIMIT},
    view::{Stretch, StretchEnd},
};

/// The most bytes of inline values that an iterator reads ahead.
const PAGE_BYTES: usize = 256 << 10;

/// The most entries that an iterator reads ahead without their values.
const PAGE_KEYS: usize = MAX_LIST_LIMIT;

/// The most entries that an iterator reads ahead with their values.
const PAGE_ENTRIES: usize = 128;

impl Store {
    /// Iterates over all entries of a namespace by key.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let store = kv_core::Store::open(directory.path())?;
    /// let fruit = store.namespace("fruit")?.id;
    /// store.put(fruit, "apple", "red")?;
    /// store.put(fruit, "banana", "yellow")?;
    /// for entry in store.iter(fruit).rev() {
    ///     let (key, entry) = entry?;
    ///     println!("{key:?}: {:?}", entry.body.read()?);
    /// }
    /// let keys: Vec<_> = store.prefix(fruit, "b").keys().map(|item| item.map(|it| it.key)).collect();
    /// assert_eq!(keys.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn iter(&self, namespace: NamespaceId) -> Iter {
        self.walk(namespace, (Bound::Unbounded, Bound::Unbounded))
    }

    /// Iterates over the entries of a namespace whose keys start with `prefix`.
    #[must_use]
    pub fn prefix(&self, namespace: NamespaceId, prefix: impl AsRef<[u8]>) -> Iter {
        let prefix = prefix.as_ref();
        let upper = after_prefix(prefix).map_or(Bound::Unbounded, Bound::Excluded);
        self.walk(namespace, (Bound::Included(prefix.to_vec()), upper))
    }

    /// Iterates over the entries of a namespace whose keys are in a range, for example `"a".."m"`. A range
    /// that ends before it starts is empty.
    #[must_use]
    pub fn range<K: AsRef<[u8]>>(
        &self,
        namespace: NamespaceId,
        range: impl RangeBounds<K>,
    ) -> Iter {
        let owned = |bound: Bound<&K>| bound.map(|key| key.as_ref().to_vec());
        self.walk(namespace, (owned(range.start_bound()), owned(range.end_bound())))
    }

    /// Iterates between two bounds. It reads nothing before the first entry is requested.
    fn walk(
        &self,
        namespace: NamespaceId,
        (lower, upper): (Bound<Vec<u8>>, Bound<Vec<u8>>),
    ) -> Iter {
        let (front, back) = (VecDeque::new(), VecDeque::new());
        let walk =
            Walk { store: self.clone(), namespace, lower, upper, front, back, is_read: false };
        Iter(walk)
    }
}

/// Iterates over entries by key, from both ends.
///
/// The iterator reads pages of at most 128 entries, each from the newest view at that moment, so that a
/// slow consumer holds no view of the store. Each page is consistent; the whole is not one snapshot. An
/// entry that exists and does not change from start to end is returned exactly once; an entry that is put,
/// changed or deleted meanwhile may be returned as it was before or after, or, if it is new or deleted,
/// not at all. No key is returned twice, and keys are in order. Deleted and expired keys are skipped.
///
/// A damaged row is returned as one error, and the iterator continues after it. After any other error,
/// among them [`ReadError::UnknownNamespace`], it ends.
pub struct Iter(Walk<Found>);

/// Iterates over keys without values, from both ends. See [`Iter`]; a page has at most 1000 keys.
pub struct Keys(Walk<Listed>);

/// The state of an iterator: pages read from both ends, and the range between them.
struct Walk<T> {
    store: Store,
    namespace: NamespaceId,
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
    /// Entries that were read from the front, by key.
    front: VecDeque<Item<T>>,
    /// Entries that were read from the back, by key in descending order.
    back: VecDeque<Item<T>>,
    /// Nothing is left between `lower` and `upper`.
    is_read: bool,
}

type Item<T> = Result<(Key, T), ReadError>;

impl Iter {
    /// Leaves out the values: the iterator then reads much less.
    #[must_use]
    pub fn keys(self) -> Keys {
        let Walk { store, namespace, lower, upper, front, back, is_read } = self.0;
        let listed = |items: VecDeque<Item<Found>>| {
            items.into_iter().map(|item| item.map(|(key, found)| (key.clone(), list(key, found))))
        };
        let (front, back) = (listed(front).collect(), listed(back).collect());
        Keys(Walk { store, namespace, lower, upper, front, back, is_read })
    }

    /// Opens an entry that was read ahead. If its body was freed since, reads the entry again.
    fn open(&self, key: Key, found: Found) -> Option<Result<(Key, Entry), ReadError>> {
        let walk = &self.0;
        let name = (walk.namespace, key.as_bytes());
        let opened = match walk.store.seen(walk.store.entry(name, found)) {
            Ok(None) => walk.store.get(walk.namespace, &key),
            opened => opened,
        };
        opened.map(|entry| entry.map(|entry| (key, entry))).transpose()
    }
}

/// Returns an entry without its value.
fn list<V>(key: Key, found: Found<V>) -> Listed {
    let Found { version, metadata, expires_at, .. } = found;
    Listed { key, version, metadata, expires_at }
}

/// The page that one view gives: entries that are put into a buffer until it is full.
trait Page: Sized {
    /// Reads entries between two keys into `items`.
    fn read(
        walk: &Walk<Self>,
        stretch: Stretch,
        items: &mut VecDeque<Item<Self>>,
    ) -> Result<StretchEnd, ReadError>;
}

impl Page for Found {
    fn read(
        walk: &Walk<Found>,
        stretch: Stretch,
        items: &mut VecDeque<Item<Found>>,
    ) -> Result<StretchEnd, ReadError> {
        let mut bytes = 0;
        walk.store.view().walk_entries(walk.namespace, walk.bounds(), stretch, &mut |key, found| {
            if let FoundState::Inline(value) = &found.state {
                bytes += value.len();
            }
            items.push_back(Ok((key, found)));
            is_full(items.len() >= PAGE_ENTRIES || bytes >= PAGE_BYTES)
        })
    }
}

impl Page for Listed {
    fn read(
        walk: &Walk<Listed>,
        stretch: Stretch,
        items: &mut VecDeque<Item<Listed>>,
    ) -> Result<StretchEnd, ReadError> {
        walk.store.view().walk_heads(walk.namespace, walk.bounds(), stretch, &mut |key, head| {
            items.push_back(Ok((key.clone(), list(key, head))));
            is_full(items.len() >= PAGE_KEYS)
        })
    }
}

/// Ends a visit when the page is full.
fn is_full(is_full: bool) -> ControlFlow<()> {
    if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

impl<T: Page> Walk<T> {
    /// Returns the bounds of what was not read yet.
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.lower.as_ref().map(Vec::as_slice), self.upper.as_ref().map(Vec::as_slice))
    }

    /// Returns the next entry from the front, and reads another page if none is buffered. If both ends have
    /// met, takes what the other end has read.
    fn next(&mut self) -> Option<Item<T>> {
        while self.front.is_empty() && !self.is_read {
            let mut items = VecDeque::new();
            let at = self.read_page(Order::Ascending, &mut items);
            self.front = items;
            if let Some(key) = at {
                self.lower = Bound::Excluded(key);
            }
        }
        self.front.pop_front().or_else(|| self.back.pop_back())
    }

    /// Returns the next entry from the back, see [`Walk::next`].
    fn next_back(&mut self) -> Option<Item<T>> {
        while self.back.is_empty() && !self.is_read {
            let mut items = VecDeque::new();
            let at = self.read_page(Order::Descending, &mut items);
            self.back = items;
            if let Some(key) = at {
                self.upper = Bound::Excluded(key);
            }
        }
        self.back.pop_front().or_else(|| self.front.pop_back())
    }

    /// Reads the next entries in one direction. Returns the key that the next page continues after.
    fn read_page(&mut self, order: Order, items: &mut VecDeque<Item<T>>) -> Option<Vec<u8>> {
        let now_ms = self.store.now_ms();
        let stretch = Stretch { order, max_rows: LIST_STRETCH, now_ms };
        let end = self.store.seen(T::read(self, stretch, items));
        match end {
            Ok(StretchEnd::Complete) => self.is_read = true,
            Ok(StretchEnd::Broken) => {
                let last = items.back().and_then(|item| item.as_ref().ok());
                return last.map(|(key, _)| key.to_vec());
            }
            Ok(StretchEnd::At(key)) => return Some(key),
            Ok(StretchEnd::Damaged(key, error)) => {
                items.push_back(Err(error));
                return Some(key);
            }
            Err(error) => {
                self.is_read = true;
                items.push_back(Err(error));
            }
        }
        None
    }
}

impl Iterator for Iter {
    type Item = Result<(Key, Entry), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let item = match self.0.next()? {
                Ok((key, found)) => self.open(key, found),
                Err(error) => Some(Err(error)),
            };
            if item.is_some() {
                return item;
            }
        }
    }
}

impl DoubleEndedIterator for Iter {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            let item = match self.0.next_back()? {
                Ok((key, found)) => self.open(key, found),
                Err(error) => Some(Err(error)),
            };
            if item.is_some() {
                return item;
            }
        }
    }
}

impl Iterator for Keys {
    type Item = Result<Listed, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|item| item.map(|(_, listed)| listed))
    }
}

impl DoubleEndedIterator for Keys {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(|item| item.map(|(_, listed)| listed))
    }
}

impl fmt::Debug for Iter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("namespace", &self.0.namespace).finish_non_exhaustive()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("namespace", &self.0.namespace).finish_non_exhaustive()
    }
}
