//! The expected state: every acknowledged write, and the consequences.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::{
    Dot, FoundState, Member, MemberId, NamespaceId, OriginId, ReadError, SystemEntry, Version,
    VersionVector, engine::Snapshot, view::View,
};
use kv_replicate::{CLOSED, Content, Row};
use waypost_disk_tests::{
    hold,
    violation::{Checked, During},
};

use crate::node::Name;

/// Every write that must be accounted for.
#[derive(Debug, Default)]
pub struct Model {
    log: BTreeMap<Dot, Row>,
    names: BTreeMap<Name, Vec<Dot>>,
    dropped: BTreeSet<NamespaceId>,
    /// The members, and whether each was removed.
    members: BTreeMap<MemberId, bool>,
    /// The origins of departed locations, whose last writes may be lost.
    departed: BTreeSet<OriginId>,
    /// The writes of departed locations that must not be lost.
    secured: VersionVector,
    /// The deletions of departed locations that were lost.
    lost: BTreeMap<Name, Vec<Version>>,
    /// The writes that may disappear, and from when on, in Unix milliseconds: deletions at once, values
    /// when they have expired by true time.
    mortal: BTreeMap<Dot, u64>,
    /// Keys that two stores with one identity wrote, or a store that rolled back. Locations may
    /// hold different values of such a key until it is rewritten.
    suspects: BTreeSet<Name>,
}

impl Model {
    /// Records a write that survives: it was acknowledged, or found after a crash.
    ///
    /// # Errors
    /// If its dot names another write.
    pub fn note(&mut self, row: &Row) -> Checked {
        if let Some(known) = self.log.get(&row.dot) {
            hold!(known == row, "{:?} names two writes: {known:?} and {row:?}", row.dot);
            return Ok(());
        }
        if row.namespace == NamespaceId::SYSTEM
            && let Content::Value(value) = &row.content
        {
            match SystemEntry::decode(&row.key, value).during("decoding a system entry")? {
                SystemEntry::Namespace(namespace) if namespace.dropped => {
                    self.dropped.insert(namespace.id);
                }
                SystemEntry::Namespace(_) => {}
                SystemEntry::Member(member) => {
                    *self.members.entry(member.id).or_default() |= member.removed;
                }
            }
        }
        let prev = row.prev.filter(|_| row.namespace != NamespaceId::SYSTEM);
        hold!(
            prev.is_none_or(|prev| prev < row.version()),
            "{row:?} does not beat what it replaced"
        );
        if let Some(since_ms) = mortal_since(row) {
            self.mortal.insert(row.dot, since_ms);
        }
        self.log.insert(row.dot, row.clone());
        self.names.entry((row.namespace, row.key.to_vec())).or_default().push(row.dot);
        Ok(())
    }

    /// Records a write of a store that rolled back, or of one of two stores with one identity. It
    /// may reach some locations, be lost, or hide another write with the same dot.
    pub fn suspect(&mut self, row: &Row) {
        let name = |row: &Row| (row.namespace, row.key.to_vec());
        let known = self.log.get(&row.dot).filter(|known| *known != row);
        self.suspects.extend(known.map(name));
        self.suspects.insert(name(row));
    }

    /// Records that the last copy of a write may have been destroyed: the key is rewritten at the end.
    pub fn suspect_name(&mut self, name: Name) {
        self.suspects.insert(name);
    }

    /// Whether there are suspect keys.
    #[must_use]
    pub fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// The suspect keys.
    #[must_use]
    pub fn suspects(&self) -> BTreeSet<Name> {
        self.suspects.clone()
    }

    /// Ends the exception for suspect keys, because all of them were rewritten.
    pub fn clear_suspects(&mut self) {
        self.suspects.clear();
    }

    /// Whether a location is a member according to the acknowledged writes.
    #[must_use]
    pub fn is_member(&self, member: MemberId) -> bool {
        self.members.get(&member) == Some(&false)
    }

    /// Records that a location has departed or is about to.
    pub fn depart(&mut self, origins: Option<[OriginId; 2]>) {
        self.departed.extend(origins.into_iter().flatten());
    }

    /// Records the writes of departed locations that a remaining location has: they must not be
    /// lost any more.
    pub fn secure(&mut self, vector: &VersionVector) {
        let gone = vector.iter().filter(|dot| self.departed.contains(&dot.origin));
        let secured = gone.filter(|dot| dot.seq < CLOSED).collect();
        self.secured.merge(&secured);
    }

    /// Forgets the writes of departed locations that no remaining location has.
    pub fn forget_lost(&mut self, had: &BTreeSet<Dot>) {
        let before = std::mem::take(self);
        (self.departed, self.secured) = (before.departed, before.secured);
        self.suspects = before.suspects;
        for row in before.log.into_values() {
            let is_here = !self.departed.contains(&row.dot.origin) || self.secured.covers(row.dot);
            if is_here || had.contains(&row.dot) {
                self.note(&row).expect("the write was recorded before");
            } else if row.content == Content::Deleted || row.expires_at.is_some() {
                // A location may have had the write, and dropped it when all had it.
                let latest = self.lost.entry((row.namespace, row.key.to_vec())).or_default();
                latest.push(row.version());
            }
        }
    }

    /// Whether a deletion that may or may not be lost replaced a version of a key.
    fn may_be_deleted(&self, name: &Name, after: Version) -> bool {
        let is_later = |version: &Version| *version > after;
        self.suspects.contains(name)
            || self.lost.get(name).is_some_and(|versions| versions.iter().any(is_later))
            || self.names[name].iter().map(|dot| &self.log[dot]).any(|row| {
                let is_mortal = self.mortal.contains_key(&row.dot);
                is_mortal && self.departed.contains(&row.dot.origin) && is_later(&row.version())
            })
    }

    /// Whether a location has dropped a deletion, later than `after`, by an origin that is not and
    /// never was a member there. No vector counts what a non-member sent. After the location that
    /// admitted it has departed, and the closing sessions have sent the deletion to all locations,
    /// it is dropped like any other.
    fn was_dropped_for_a_stranger<S: Snapshot>(
        &self,
        view: &View<S>,
        name: &Name,
        after: Version,
    ) -> bool {
        let members = || view.members().iter().flat_map(|member| member.origins);
        self.names[name].iter().map(|dot| &self.log[dot]).any(|row| {
            row.version() > after
                && self.mortal.contains_key(&row.dot)
                && view.collected().covers(row.dot)
                && members().all(|origin| origin != row.dot.origin)
        })
    }

    /// The number of writes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.log.len()
    }

    /// Whether there are no writes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// The last sequence number of an origin.
    #[must_use]
    pub fn last(&self, origin: OriginId) -> u64 {
        let (first, end) = (Dot { origin, seq: 0 }, Dot { origin, seq: u64::MAX });
        self.log.range(first..=end).next_back().map_or(0, |(dot, _)| dot.seq)
    }

    /// The last sequence number of each origin that has not departed.
    #[must_use]
    pub fn vector(&self) -> VersionVector {
        self.log.keys().filter(|dot| !self.departed.contains(&dot.origin)).copied().collect()
    }

    /// All keys that were ever written.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.names.keys()
    }

    fn winner(&self, name: &Name, counted: impl Fn(Dot) -> bool) -> Option<&Row> {
        let dots = self.names.get(name)?.iter().filter(|dot| counted(**dot));
        dots.map(|dot| &self.log[dot]).max_by_key(|row| row.version())
    }

    /// Whether a deletion or an expiry may have removed a key at or after a version.
    fn may_be_gone(&self, name: &Name, since: Version, now_ms: u64) -> bool {
        let mut dots = self.names[name].iter();
        let lost = self.lost.get(name);
        dots.any(|dot| self.log[dot].version() >= since && self.is_over(*dot, now_ms))
            || self.suspects.contains(name)
            || lost.is_some_and(|lost| lost.iter().any(|version| *version >= since))
    }

    /// Whether a write may have disappeared at this time.
    fn is_over(&self, dot: Dot, now_ms: u64) -> bool {
        self.mortal.get(&dot).is_some_and(|since_ms| *since_ms <= now_ms)
    }

    /// Checks that a location's vector counts only writes that exist there or were overwritten, and
    /// that no key has an older version than in `floor`. What expires by `now_ms`, in Unix milliseconds, may be
    /// gone. Updates `floor`.
    ///
    /// # Errors
    /// The violation.
    pub fn check_location<S: Snapshot>(
        &self,
        view: &View<S>,
        floor: &mut BTreeMap<Name, Version>,
        now_ms: u64,
    ) -> Checked {
        for name in self.names.keys() {
            let found = match view.row(name.0, &name.1) {
                // The location knows that it lacks the row, and does not answer that there is none. It must come
                // back.
                Err(ReadError::Damaged { .. }) => continue,
                Ok(_) if view.owed().get(name.0, &name.1).is_some() => continue,
                found => found.during("reading a row")?,
            };
            let version = found.as_ref().map(|found| found.version);
            let is_dropped = view.namespaces().is_dropped(name.0);
            if let Some(before) = floor.get(name).copied() {
                let may_go = is_dropped || self.may_be_gone(name, before, now_ms);
                match version {
                    Some(now) => {
                        let is_drop = name.0 == NamespaceId::SYSTEM;
                        hold!(
                            now >= before || is_drop || self.suspects.contains(name),
                            "{name:?} reverted from {before} to {now}"
                        );
                    }
                    None => hold!(may_go, "{name:?} had the version {before} and is missing"),
                }
            }
            if let Some(now) = version {
                floor.insert(name.clone(), now);
            }
            // Another store with the same identity may have overwritten the value, with a sequence
            // number that counts as known.
            if is_dropped || self.suspects.contains(name) {
                continue;
            }
            let is_counted =
                |dot: Dot| view.vector().covers(dot) && !self.departed.contains(&dot.origin);
            let Some(newest) = self.winner(name, is_counted) else { continue };
            match version {
                Some(now) if now >= newest.version() || name.0 == NamespaceId::SYSTEM => {}
                None if view.collected().covers(newest.dot) && self.is_over(newest.dot, now_ms) => {
                }
                None if self.may_be_deleted(name, newest.version()) => {}
                None if self.was_dropped_for_a_stranger(view, name, newest.version()) => {}
                now => hold!(false, "the vector counts {newest:?}, but {name:?} has {now:?}"),
            }
        }
        Ok(())
    }

    /// Checks a location after the end of all faults: it holds the winner of each key, and nothing
    /// else. What expires by `now_ms`, in Unix milliseconds, may be gone.
    ///
    /// # Errors
    /// The violation.
    pub fn check_converged<S: Snapshot>(&self, view: &View<S>, now_ms: u64) -> Checked {
        hold!(view.owed().is_empty(), "damaged rows have not come back: {:?}", view.owed());
        for name in self.names.keys() {
            let found = view.row(name.0, &name.1).during("reading a row")?;
            if let Some(id) = Member::id_of(&name.1).filter(|_| name.0 == NamespaceId::SYSTEM) {
                let is_removed = view.members().get(id).is_some_and(|member| member.removed);
                hold!(is_removed == self.members[&id], "{id} is removed: {is_removed}");
                if is_removed {
                    continue;
                }
            } else if name.0 == NamespaceId::SYSTEM {
                let mut id = NamespaceId::SYSTEM;
                id.0.copy_from_slice(&name.1);
                let is_dropped = view.namespaces().is_dropped(id);
                hold!(is_dropped == self.dropped.contains(&id), "{id} is dropped: {is_dropped}");
                hold!(found.is_some(), "the namespace {id} is missing");
                if is_dropped {
                    continue;
                }
            }
            if self.dropped.contains(&name.0) {
                continue;
            }
            let Some(winner) = self.winner(name, |_| true) else { continue };
            let is_expired = winner.expires_at.is_some_and(|at| at * 1000 <= now_ms);
            let Some(found) = found else {
                let is_tombstone = winner.content == Content::Deleted || is_expired;
                hold!(
                    is_tombstone || self.may_be_deleted(name, winner.version()),
                    "{name:?} is missing: {winner:?}"
                );
                continue;
            };
            hold!(
                found.version == winner.version(),
                "{name:?} has the version {}, not {}",
                found.version,
                winner.version()
            );
            hold!(found.dot == winner.dot, "{name:?}: {:?} is not {:?}", found.dot, winner.dot);
            check_content(view, name, &found.state, winner, is_expired)?;
            if found.state != FoundState::ExpiredTombstone {
                hold!(found.metadata == winner.metadata, "{name:?}: wrong metadata");
            }
            hold!(found.expires_at == winner.expires_at, "{name:?}: wrong expiry");
        }
        Ok(())
    }
}

/// From when on a row may disappear, in Unix milliseconds; none if it must stay.
fn mortal_since(row: &Row) -> Option<u64> {
    match row.content {
        Content::Deleted => Some(0),
        _ => row.expires_at.map(|at| at * 1000),
    }
}

fn check_content<S: Snapshot>(
    view: &View<S>,
    name: &Name,
    state: &FoundState,
    winner: &Row,
    is_expired: bool,
) -> Checked {
    let is_right = match (state, &winner.content) {
        (FoundState::Tombstone, Content::Deleted) => true,
        (FoundState::ExpiredTombstone, _) => is_expired,
        (FoundState::Inline(value), Content::Value(wanted)) => value == wanted,
        (FoundState::Large { body, len, .. }, Content::Value(wanted)) => {
            let chunk = view.chunk(*body, 0).during("reading a chunk")?;
            *len == wanted.len() as u64 && chunk.is_some_and(|chunk| chunk == *wanted)
        }
        (
            FoundState::Large { body, len, digest },
            Content::Large { len: wanted, digest: right },
        ) => {
            for index in 0..u32::try_from(len.div_ceil(65_280)).unwrap_or(u32::MAX) {
                let chunk = view.chunk(*body, index).during("reading a chunk")?;
                hold!(chunk.is_some(), "{name:?}: chunk {index} is missing");
            }
            len == wanted && digest == right
        }
        _ => false,
    };
    hold!(is_right, "{name:?} holds {state:?}, not {:?}", winner.content);
    Ok(())
}
