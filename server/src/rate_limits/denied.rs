//! The keys that were denied most often, in bounded memory.
//!
//! Space-Saving, as in Metwally, Agrawal and El Abbadi, "Efficient Computation of Frequent and Top-k
//! Elements in Data Streams" (2005): a new key replaces the key with the least count, and continues
//! from that count. So with n watched keys, every key that has more than one in n denials is among
//! them. A count may be too high by the count that the key inherited, which is kept beside it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::metrics::Denied;

/// How many keys are watched for each that is reported.
const WATCHED_FOR_EACH: usize = 8;

/// The longest part of a namespace or key that is kept, in bytes.
const MAX_TEXT_BYTES: usize = 128;

/// Watches the keys that are denied.
#[derive(Debug)]
pub struct DeniedKeys {
    /// How many keys are reported.
    shown: usize,
    /// The keys that are watched.
    watched: Mutex<Watched>,
}

/// The watched keys. A key is found by its name in one step, and replaced after a scan of all.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// The place of each key in `slots`.
    places: HashMap<Box<[u8]>, usize>,
    /// The keys with their counts, in no order.
    slots: Vec<Slot>,
    /// The name that is looked for.
    name: Vec<u8>,
}

/// One watched key.
#[derive(Debug)]
struct Slot {
    /// The namespace and key, joined by [`join`].
    name: Box<[u8]>,
    /// The length of the namespace in `name`.
    namespace_bytes: usize,
    /// Denials, with those of the key that had the slot before.
    count: u64,
    /// Denials among `count` that may be of earlier keys.
    excess: u64,
}

impl DeniedKeys {
    /// Reports up to `shown` keys, and watches eight times as many.
    #[must_use]
    pub fn new(shown: usize) -> DeniedKeys {
        DeniedKeys { shown, watched: Mutex::default() }
    }

    /// Counts a denial. This takes a lock, which is why it is behind a setting.
    pub fn count(&self, namespace: &[u8], key: &[u8]) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.count(self.shown * WATCHED_FOR_EACH, namespace, key);
    }

    /// Returns the keys that were denied most often, the most often denied first.
    #[must_use]
    pub fn top(&self) -> Vec<Denied> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut slots: Vec<&Slot> = watched.slots.iter().collect();
        slots.sort_by(|a, b| (b.count, &a.name).cmp(&(a.count, &b.name)));
        slots.into_iter().take(self.shown).map(Slot::denied).collect()
    }
}

impl Watched {
    /// Counts a denial, among at most `room` keys. A key that is watched costs no allocation.
    pub(super) fn count(&mut self, room: usize, namespace: &[u8], key: &[u8]) {
        let (namespace, key) = (start(namespace), start(key));
        let Watched { places, slots, name } = self;
        join(name, namespace, key);
        if let Some(place) = places.get(&name[..]) {
            slots[*place].count += 1;
            return;
        }
        let name: Box<[u8]> = name.as_slice().into();
        let namespace_bytes = namespace.len();
        if slots.len() < room {
            places.insert(name.clone(), slots.len());
            slots.push(Slot { name, namespace_bytes, count: 1, excess: 0 });
            return;
        }
        if let Some((place, slot)) = slots.iter_mut().enumerate().min_by_key(|(_, slot)| slot.count)
        {
            let excess = slot.count;
            places.remove(&slot.name);
            places.insert(name.clone(), place);
            *slot = Slot { name, namespace_bytes, count: excess + 1, excess };
        }
    }

    /// All watched keys, each with the bytes of its name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&[u8], Denied)> {
        self.slots.iter().map(|slot| (&slot.name[..], slot.denied()))
    }
}

impl Slot {
    /// The key and its denials, for the report.
    fn denied(&self) -> Denied {
        let (namespace, key) = self.name.split_at(self.namespace_bytes);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let key = key.get(1..).unwrap_or_default();
        Denied {
            namespace: text(namespace),
            key: text(key),
            count: self.count,
            excess: self.excess,
        }
    }
}

/// The start of a text, not cut inside a character.
fn start(bytes: &[u8]) -> &[u8] {
    let mut end = bytes.len().min(MAX_TEXT_BYTES);
    let is_inside = |end: usize| bytes.get(end).is_some_and(|byte| byte & 0xc0 == 0x80);
    while end > MAX_TEXT_BYTES - 4 && is_inside(end) {
        end -= 1;
    }
    &bytes[..end]
}

/// Writes a namespace and a key, joined by a byte that no UTF-8 text contains.
fn join(name: &mut Vec<u8>, namespace: &[u8], key: &[u8]) {
    name.clear();
    name.extend_from_slice(namespace);
    name.push(0xff);
    name.extend_from_slice(key);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(denied: &[Denied]) -> Vec<(&str, u64)> {
        denied.iter().map(|denied| (denied.key.as_str(), denied.count)).collect()
    }

    #[test]
    fn the_keys_denied_most_often_are_reported_with_their_counts() {
        let denied = DeniedKeys::new(2);
        for (key, count) in [("a", 3), ("b", 7), ("c", 1), ("d", 5)] {
            (0..count).for_each(|_| denied.count(b"n", key.as_bytes()));
        }
        assert_eq!(keys(&denied.top()), [("b", 7), ("d", 5)]);
    }

    #[test]
    fn a_key_denied_often_is_found_among_very_many_others() {
        let denied = DeniedKeys::new(1);
        for n in 0..10_000u32 {
            denied.count(b"n", format!("random {n}").as_bytes());
            if n % 4 == 0 {
                denied.count(b"n", b"often");
            }
        }
        let top = denied.top();
        assert_eq!(top[0].key, "often");
        assert!((2500..=2500 + top[0].excess).contains(&top[0].count), "{top:?}");
        let watched = denied.watched.lock().unwrap();
        assert_eq!((watched.slots.len(), watched.places.len()), (8, 8));
    }

    #[test]
    fn one_key_in_two_namespaces_is_two_keys() {
        let denied = DeniedKeys::new(4);
        for (namespace, key) in [("a", "bc"), ("ab", "c"), ("", "abc")] {
            denied.count(namespace.as_bytes(), key.as_bytes());
        }
        let mut names: Vec<_> =
            denied.top().into_iter().map(|denied| (denied.namespace, denied.key)).collect();
        names.sort();
        assert_eq!(names.len(), 3);
        assert_eq!(names[0], (String::new(), "abc".into()));
    }

    #[test]
    fn a_long_key_is_cut_and_bytes_that_are_not_text_are_replaced() {
        let denied = DeniedKeys::new(4);
        denied.count(b"n", "\u{20ac}".repeat(2000).as_bytes());
        denied.count(b"n", b"\xff\xfe");
        let top = denied.top();
        assert!(top.iter().any(|denied| denied.key == "\u{20ac}".repeat(42)), "{top:?}");
        assert!(top.iter().any(|denied| denied.key == "\u{fffd}\u{fffd}"), "{top:?}");
    }
}
