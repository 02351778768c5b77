//! Overrides of rate limits: what is in their entries, and the registry that is built from these.
//!
//! An override is an entry of the namespace [`NamespaceId::OVERRIDES`]. So it replicates, expires and is collected like
//! any other entry. Each store also holds all of them in memory, because every decision on a limit looks for one.

use std::sync::Arc;

use bytes::Bytes;
use rpds::RedBlackTreeMapSync as Map;

use super::{key::Key, limits::MAX_OVERRIDE_BYTES};
use crate::codec::{DecodeError, Reader};

/// What an override applies to, beside its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OverrideTarget<'a> {
    /// The limit with this name.
    Limit(&'a [u8]),
    /// All limits whose counters are in this namespace of limits.
    Namespace(&'a [u8]),
}

/// What applies in place of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverrideRule {
    /// Another count. The period and the algorithm are those of the limit.
    Count(u32),
    /// Nothing is allowed.
    Deny,
    /// Everything is allowed, and nothing is counted.
    Unlimited,
}

/// An override of a rate limit for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitOverride {
    /// The kind of target, then its name.
    target: Box<[u8]>,
    /// The key that it is for.
    pub key: Box<[u8]>,
    /// What applies in place of the limit.
    pub rule: OverrideRule,
    /// The time from which it does not apply any more, in Unix seconds.
    pub expires_at: Option<u64>,
}

/// The names of an override are too long. Holds the bytes that the name and the key have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name of the limit and the key of an override have at most {MAX_OVERRIDE_BYTES} bytes together; these have {0}"
)]
pub struct OverrideError(pub usize);

/// The version of the layout of an entry.
const LAYOUT: u8 = 1;
/// The kind of a target that is the name of a limit.
const LIMIT: u8 = b'l';
/// The kind of a target that is a namespace of limits.
const NAMESPACE: u8 = b'n';

impl<'a> OverrideTarget<'a> {
    /// The name of the limit or of the namespace.
    #[must_use]
    pub fn name(self) -> &'a [u8] {
        let (OverrideTarget::Limit(name) | OverrideTarget::Namespace(name)) = self;
        name
    }

    fn tagged(self) -> Box<[u8]> {
        let tag = match self {
            OverrideTarget::Limit(_) => LIMIT,
            OverrideTarget::Namespace(_) => NAMESPACE,
        };
        [&[tag], self.name()].concat().into()
    }

    /// Returns the key of the entry of an override.
    ///
    /// # Panics
    /// Never: a hash has the length of a key.
    #[must_use]
    pub fn entry_key(self, key: &[u8]) -> Key {
        let target = self.tagged();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(target.len() as u64).to_be_bytes()).update(&target).update(key);
        Key::new(hasher.finalize().as_bytes()).expect("a hash has 32 bytes")
    }
}

impl LimitOverride {
    /// Makes an override.
    ///
    /// # Errors
    /// [`OverrideError`] if the texts are too long.
    pub fn new(
        target: OverrideTarget<'_>,
        key: &[u8],
        rule: OverrideRule,
        expires_at: Option<u64>,
    ) -> Result<LimitOverride, OverrideError> {
        let bytes = target.name().len() + key.len();
        if bytes > MAX_OVERRIDE_BYTES {
            return Err(OverrideError(bytes));
        }
        Ok(LimitOverride { target: target.tagged(), key: key.into(), rule, expires_at })
    }

    /// What it applies to, beside its key.
    #[must_use]
    pub fn target(&self) -> OverrideTarget<'_> {
        match self.target.split_first() {
            Some((&LIMIT, name)) => OverrideTarget::Limit(name),
            Some((_, name)) => OverrideTarget::Namespace(name),
            None => OverrideTarget::Namespace(&[]),
        }
    }

    /// Whether it still applies at a time in Unix milliseconds.
    #[must_use]
    pub fn is_current(&self, now_ms: u64) -> bool {
        self.expires_at.is_none_or(|at| at.saturating_mul(1000) > now_ms)
    }

    /// The key of its entry.
    #[must_use]
    pub fn entry_key(&self) -> Key {
        self.target().entry_key(&self.key)
    }

    /// The value of its entry.
    ///
    /// # Panics
    /// Never: the texts are short.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![LAYOUT];
        for text in [&self.target, &self.key] {
            let len = u16::try_from(text.len()).expect("the texts of an override are short");
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(text);
        }
        match self.rule {
            OverrideRule::Count(count) => {
                out.push(0);
                out.extend_from_slice(&count.to_be_bytes());
            }
            OverrideRule::Deny => out.push(1),
            OverrideRule::Unlimited => out.push(2),
        }
        out
    }

    /// Decodes the value of an entry. `None` if it is not the override that its key names, or if a newer program wrote
    /// it: it is kept and passed on, and does not apply here.
    #[must_use]
    pub fn decode(key: &[u8], value: &[u8], expires_at: Option<u64>) -> Option<LimitOverride> {
        let decoded = decode(value, expires_at).ok()?;
        (decoded.entry_key().as_bytes() == key).then_some(decoded)
    }

    /// The bytes of its texts.
    fn bytes(&self) -> usize {
        self.target.len() + self.key.len()
    }
}

fn decode(value: &[u8], expires_at: Option<u64>) -> Result<LimitOverride, DecodeError> {
    let mut reader = Reader::new(value);
    if reader.u8()? != LAYOUT {
        return Err(DecodeError("an override of an unknown layout"));
    }
    let mut text = || {
        let len = usize::from(reader.u16()?);
        reader.take(len).map(Box::<[u8]>::from)
    };
    let (target, key) = (text()?, text()?);
    if !matches!(target.first(), Some(&(LIMIT | NAMESPACE)))
        || target.len() - 1 + key.len() > MAX_OVERRIDE_BYTES
    {
        return Err(DecodeError("an override with an invalid name"));
    }
    let rule = match reader.u8()? {
        0 => OverrideRule::Count(reader.u32()?),
        1 => OverrideRule::Deny,
        2 => OverrideRule::Unlimited,
        _ => return Err(DecodeError("an override with an unknown rule")),
    };
    reader.end()?;
    Ok(LimitOverride { target, key, rule, expires_at })
}

/// The overrides of one target, by key.
type ByKey = Map<Box<[u8]>, Arc<LimitOverride>>;

/// All overrides of a store as of one commit, those included that have expired and are not freed yet. Copies are cheap:
/// a change costs the logarithm of their number.
#[derive(Clone, Debug, Default)]
pub struct LimitOverrides {
    /// Those of a limit, by its name.
    limits: Map<Box<[u8]>, ByKey>,
    /// Those of a namespace of limits, by its name.
    namespaces: Map<Box<[u8]>, ByKey>,
    /// All of them, by the keys of their entries.
    entries: Map<Bytes, Arc<LimitOverride>>,
    /// The bytes of all texts.
    bytes: usize,
}

impl LimitOverrides {
    /// Whether there are none.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.size()
    }

    /// The bytes of their names and keys.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the override of a target for a key. It may have expired.
    #[must_use]
    pub fn get(&self, target: OverrideTarget<'_>, key: &[u8]) -> Option<&Arc<LimitOverride>> {
        self.of(target)?.get(key)
    }

    /// Whether an entry has this key.
    pub(crate) fn has_entry(&self, key: &[u8]) -> bool {
        self.entries.contains_key(key)
    }

    /// The overrides of a target whose keys come after this one, by key. `None` stands for the start.
    pub fn after<'a>(
        &'a self,
        target: OverrideTarget<'_>,
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = &'a Arc<LimitOverride>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let lower = after.map_or(Unbounded, Excluded);
        let of = self.of(target).map(|of| of.range::<[u8], _>((lower, Unbounded)));
        of.into_iter().flatten().map(|(_, one)| one)
    }

    /// The targets that have overrides, with how many.
    pub fn targets(&self) -> impl Iterator<Item = (OverrideTarget<'_>, usize)> {
        let limits = self.limits.iter().map(|(name, of)| (OverrideTarget::Limit(name), of.size()));
        let namespaces =
            self.namespaces.iter().map(|(name, of)| (OverrideTarget::Namespace(name), of.size()));
        limits.chain(namespaces)
    }

    fn of(&self, target: OverrideTarget<'_>) -> Option<&ByKey> {
        match target {
            OverrideTarget::Limit(name) => self.limits.get(name),
            OverrideTarget::Namespace(name) => self.namespaces.get(name),
        }
    }

    /// Adds an override, in place of the one that its entry had.
    pub(crate) fn insert(&mut self, entry: &[u8], one: LimitOverride) {
        self.remove(entry);
        let one = Arc::new(one);
        self.bytes += one.bytes();
        self.entries.insert_mut(Bytes::copy_from_slice(entry), Arc::clone(&one));
        let (name, targets) = match one.target() {
            OverrideTarget::Limit(name) => (name, &mut self.limits),
            OverrideTarget::Namespace(name) => (name, &mut self.namespaces),
        };
        let mut of = targets.get(name).cloned().unwrap_or_default();
        of.insert_mut(one.key.clone(), Arc::clone(&one));
        targets.insert_mut(name.into(), of);
    }

    /// Removes the override of an entry, if there is one.
    pub(crate) fn remove(&mut self, entry: &[u8]) {
        let Some(one) = self.entries.get(entry).cloned() else { return };
        self.entries.remove_mut(entry);
        self.bytes -= one.bytes();
        let (name, targets) = match one.target() {
            OverrideTarget::Limit(name) => (name, &mut self.limits),
            OverrideTarget::Namespace(name) => (name, &mut self.namespaces),
        };
        let Some(mut of) = targets.get(name).cloned() else { return };
        of.remove_mut(&one.key);
        if of.is_empty() {
            targets.remove_mut(name);
        } else {
            targets.insert_mut(name.into(), of);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(target: OverrideTarget<'_>, key: &[u8], rule: OverrideRule) -> LimitOverride {
        LimitOverride::new(target, key, rule, Some(5)).unwrap()
    }

    #[test]
    fn an_override_reads_back_under_its_own_key_only() {
        let rules = [OverrideRule::Count(7), OverrideRule::Deny, OverrideRule::Unlimited];
        let long = vec![b'k'; MAX_OVERRIDE_BYTES - 1];
        for (target, rule) in
            [OverrideTarget::Limit(b"a"), OverrideTarget::Namespace(b"a")].into_iter().zip(rules)
        {
            for key in [&b""[..], b"ip:1", b"\xff\0", &long] {
                let one = one(target, key, rule);
                let entry = one.entry_key();
                let read = LimitOverride::decode(&entry, &one.encode(), Some(5));
                assert_eq!(read, Some(one.clone()));
                assert_eq!(LimitOverride::decode(b"other", &one.encode(), None), None);
            }
        }
        let error = LimitOverride::new(OverrideTarget::Limit(b"ab"), &long, rules[1], None);
        assert_eq!(error, Err(OverrideError(MAX_OVERRIDE_BYTES + 1)));
    }

    #[test]
    fn an_override_applies_until_the_second_of_its_expiry() {
        let deny = one(OverrideTarget::Limit(b"a"), b"k", OverrideRule::Deny);
        assert!(deny.is_current(4_999) && !deny.is_current(5_000));
        assert!(LimitOverride { expires_at: None, ..deny }.is_current(u64::MAX));
    }

    #[test]
    fn a_limit_and_a_namespace_of_one_name_have_their_own_overrides() {
        let mut all = LimitOverrides::default();
        for (target, count) in
            [(OverrideTarget::Limit(b"a"), 1), (OverrideTarget::Namespace(b"a"), 2)]
        {
            let one = one(target, b"k", OverrideRule::Count(count));
            all.insert(&one.entry_key(), one);
        }
        let rule = |target| all.get(target, b"k").map(|one| one.rule);
        assert_eq!(rule(OverrideTarget::Limit(b"a")), Some(OverrideRule::Count(1)));
        assert_eq!(rule(OverrideTarget::Namespace(b"a")), Some(OverrideRule::Count(2)));
        assert_eq!(all.targets().count(), 2);
        assert!(all.after(OverrideTarget::Limit(b"a"), Some(b"k")).next().is_none());
        assert_eq!(all.after(OverrideTarget::Limit(b"a"), Some(b"j")).count(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_without_a_panic(bytes: Vec<u8>, has_layout: bool) {
            let mut bytes = bytes;
            if has_layout {
                bytes.insert(0, LAYOUT);
            }
            if let Ok(read) = decode(&bytes, None) {
                prop_assert_eq!(read.encode(), bytes);
            }
        }

        #[test]
        fn a_registry_that_changed_has_what_was_inserted_and_not_removed(
            changes in proptest::collection::vec((0..3u8, 0..4u8, 0..3u32), 1..60),
        ) {
            let mut all = LimitOverrides::default();
            let mut model = std::collections::BTreeMap::new();
            for (name, key, count) in changes {
                let target = OverrideTarget::Limit(std::slice::from_ref(&name));
                let entry = target.entry_key(&[key]);
                if count == 0 {
                    all.remove(&entry);
                    model.remove(&(name, key));
                } else {
                    all.insert(&entry, one(target, &[key], OverrideRule::Count(count)));
                    model.insert((name, key), count);
                }
            }
            prop_assert_eq!((all.len(), all.bytes()), (model.len(), model.len() * 3));
            for name in 0..3u8 {
                let target = OverrideTarget::Limit(std::slice::from_ref(&name));
                let listed: Vec<_> = all.after(target, None).map(|one| (one.key[0], one.rule)).collect();
                let wanted: Vec<_> = model.iter().filter(|((of, _), _)| *of == name)
                    .map(|((_, key), count)| (*key, OverrideRule::Count(*count))).collect();
                prop_assert_eq!(listed, wanted);
            }
        }
    }
}
