//! What must be true: every write that was acknowledged, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::{
    Dot, Member, MemberId, NamespaceId, OriginId, SystemEntry, Version, VersionVector,
    engine::Snapshot,
    view::{FoundState, View},
};
use kv_replicate::{CLOSED, Content, Row};
use waypost_disk_tests::{
    hold,
    violation::{Checked, During},
};

use crate::node::Name;

/// Every write that counts.
#[derive(Debug, Default)]
pub struct Model {
    log: BTreeMap<Dot, Row>,
    names: BTreeMap<Name, Vec<Dot>>,
    dropped: BTreeSet<NamespaceId>,
    /// The members, and whether they were removed.
    members: BTreeMap<MemberId, bool>,
    /// The origins of locations that are gone: what they wrote last may be lost.
    departed: BTreeSet<OriginId>,
    /// How much of it is not.
    secured: VersionVector,
    /// Deletions that are.
    lost: BTreeMap<Name, Vec<Version>>,
    /// Which version may go: deletions, and what expires.
    mortal: BTreeSet<Version>,
    /// Keys under which two stores of one identity wrote, or one that went back: they may be held
    /// differently until they are written anew.
    suspects: BTreeSet<Name>,
}

impl Model {
    /// A write survives: it was acknowledged, or found after a crash.
    ///
    /// # Errors
    /// If its number names another write.
    pub fn note(&mut self, row: &Row) -> Checked {
        if let Some(known) = self.log.get(&row.dot) {
            hold!(known == row, "{:?} names two writes: {known:?} and {row:?}", row.dot);
            return Ok(());
        }
        if row.namespace == NamespaceId::SYSTEM
            && let Content::Value(value) = &row.content
        {
            match SystemEntry::decode(&row.key, value).during("a system entry")? {
                SystemEntry::Namespace(namespace) if namespace.dropped => {
                    self.dropped.insert(namespace.id);
                }
                SystemEntry::Namespace(_) => {}
                SystemEntry::Member(member) => {
                    *self.members.entry(member.id).or_default() |= member.removed;
                }
            }
        }
        if row.content == Content::Deleted || row.expires_at.is_some() {
            self.mortal.insert(row.version());
        }
        self.log.insert(row.dot, row.clone());
        self.names.entry((row.namespace, row.key.to_vec())).or_default().push(row.dot);
        Ok(())
    }

    /// A write of a store that went back, or of one of two with one identity. It may come to some, be lost,
    /// or stand in the way of another of its number.
    pub fn suspect(&mut self, row: &Row) {
        let name = |row: &Row| (row.namespace, row.key.to_vec());
        let known = self.log.get(&row.dot).filter(|known| *known != row);
        self.suspects.extend(known.map(name));
        self.suspects.insert(name(row));
    }

    /// Whether there are such.
    #[must_use]
    pub fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// The keys under which they are.
    #[must_use]
    pub fn suspects(&self) -> BTreeSet<Name> {
        self.suspects.clone()
    }

    /// All of these were written anew: from here on they are judged as all others.
    pub fn clear_suspects(&mut self) {
        self.suspects.clear();
    }

    /// Whether someone is a member, as far as was acknowledged.
    #[must_use]
    pub fn is_member(&self, member: MemberId) -> bool {
        self.members.get(&member) == Some(&false)
    }

    /// A location is gone, or is about to.
    pub fn depart(&mut self, origins: Option<[OriginId; 2]>) {
        self.departed.extend(origins.into_iter().flatten());
    }

    /// What a location that stays counts of those who are gone must not be lost any more.
    pub fn secure(&mut self, vector: &VersionVector) {
        let gone = vector.iter().filter(|dot| self.departed.contains(&dot.origin));
        let secured = gone.filter(|dot| dot.seq < CLOSED).collect();
        self.secured.merge(&secured);
    }

    /// Of what else was written by locations that are gone, only what someone has counts from here on.
    pub fn forget_lost(&mut self, had: &BTreeSet<Dot>) {
        let before = std::mem::take(self);
        (self.departed, self.secured) = (before.departed, before.secured);
        self.suspects = before.suspects;
        for row in before.log.into_values() {
            let is_here = !self.departed.contains(&row.dot.origin) || self.secured.covers(row.dot);
            if is_here || had.contains(&row.dot) {
                self.note(&row).expect("it was noted before");
            } else if row.content == Content::Deleted || row.expires_at.is_some() {
                // Someone may have had it, and dropped it when all did.
                let latest = self.lost.entry((row.namespace, row.key.to_vec())).or_default();
                latest.push(row.version());
            }
        }
    }

    /// Whether a deletion that may be lost, and may not, came to a key after a version.
    fn may_be_deleted(&self, name: &Name, after: Version) -> bool {
        let is_later = |version: &Version| *version > after;
        self.suspects.contains(name)
            || self.lost.get(name).is_some_and(|versions| versions.iter().any(is_later))
            || self.names[name].iter().map(|dot| &self.log[dot]).any(|row| {
                let is_mortal = self.mortal.contains(&row.version());
                is_mortal && self.departed.contains(&row.dot.origin) && is_later(&row.version())
            })
    }

    /// Whether a location has dropped a deletion, later than a version, of one who is no member there and
    /// never was. What strangers brought counts for nobody, so that no vector has it; when who had made
    /// them members has left, and the closing sessions have brought it to all, it goes like any other.
    fn was_dropped_for_a_stranger<S: Snapshot>(
        &self,
        view: &View<S>,
        name: &Name,
        after: Version,
    ) -> bool {
        let members = || view.members().iter().flat_map(|member| member.origins);
        self.names[name].iter().map(|dot| &self.log[dot]).any(|row| {
            row.version() > after
                && self.mortal.contains(&row.version())
                && view.collected().covers(row.dot)
                && members().all(|origin| origin != row.dot.origin)
        })
    }

    /// How many writes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.log.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// The last number of an origin.
    #[must_use]
    pub fn last(&self, origin: OriginId) -> u64 {
        let (first, end) = (Dot { origin, seq: 0 }, Dot { origin, seq: u64::MAX });
        self.log.range(first..=end).next_back().map_or(0, |(dot, _)| dot.seq)
    }

    /// The last number of each origin that is not gone.
    #[must_use]
    pub fn vector(&self) -> VersionVector {
        self.log.keys().filter(|dot| !self.departed.contains(&dot.origin)).copied().collect()
    }

    /// The keys that were ever written.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.names.keys()
    }

    fn winner(&self, name: &Name, counted: impl Fn(Dot) -> bool) -> Option<&Row> {
        let dots = self.names.get(name)?.iter().filter(|dot| counted(**dot));
        dots.map(|dot| &self.log[dot]).max_by_key(|row| row.version())
    }

    /// Whether a deletion, or what expires, came to a key at or after a version.
    fn may_be_gone(&self, name: &Name, since: Version) -> bool {
        let mut versions = self.names[name].iter().map(|dot| self.log[dot].version());
        let lost = self.lost.get(name);
        versions.any(|version| version >= since && self.mortal.contains(&version))
            || self.suspects.contains(name)
            || lost.is_some_and(|lost| lost.iter().any(|version| *version >= since))
    }

    /// A location's vector counts only what is there or was overwritten, and no key went back since
    /// `floor`, which is moved on.
    ///
    /// # Errors
    /// If not.
    pub fn check_location<S: Snapshot>(
        &self,
        view: &View<S>,
        floor: &mut BTreeMap<Name, Version>,
    ) -> Checked {
        for name in self.names.keys() {
            let found = view.row(name.0, &name.1).during("a row")?;
            let version = found.as_ref().map(|found| found.version);
            let is_dropped = view.namespaces().is_dropped(name.0);
            if let Some(before) = floor.get(name).copied() {
                let may_go = is_dropped || self.may_be_gone(name, before);
                match version {
                    Some(now) => {
                        let is_drop = name.0 == NamespaceId::SYSTEM;
                        hold!(
                            now >= before || is_drop || self.suspects.contains(name),
                            "{name:?} went back from {before} to {now}"
                        );
                    }
                    None => hold!(may_go, "{name:?} was at {before} and is gone"),
                }
            }
            if let Some(now) = version {
                floor.insert(name.clone(), now);
            }
            // A store of one identity with another may have overwritten what was there, under a number that
            // counts as known.
            if is_dropped || self.suspects.contains(name) {
                continue;
            }
            let is_counted =
                |dot: Dot| view.vector().covers(dot) && !self.departed.contains(&dot.origin);
            let Some(newest) = self.winner(name, is_counted) else { continue };
            match version {
                Some(now) if now >= newest.version() || name.0 == NamespaceId::SYSTEM => {}
                None if view.collected().covers(newest.dot)
                    && (newest.content == Content::Deleted || newest.expires_at.is_some()) => {}
                None if self.may_be_deleted(name, newest.version()) => {}
                None if self.was_dropped_for_a_stranger(view, name, newest.version()) => {}
                now => hold!(false, "the vector counts {newest:?}, and {name:?} is at {now:?}"),
            }
        }
        Ok(())
    }

    /// All has healed: a location has the winner of each key, and nothing else.
    ///
    /// # Errors
    /// If not.
    pub fn check_converged<S: Snapshot>(
        &self,
        view: &View<S>,
        now_ms: u64,
        skew_ms: u64,
    ) -> Checked {
        for name in self.names.keys() {
            let found = view.row(name.0, &name.1).during("a row")?;
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
                hold!(found.is_some(), "the namespace {id} is not there");
                if is_dropped {
                    continue;
                }
            }
            if self.dropped.contains(&name.0) {
                continue;
            }
            let Some(winner) = self.winner(name, |_| true) else { continue };
            // To a clock that was fast it may have expired before.
            let is_expired = winner.expires_at.is_some_and(|at| at * 1000 <= now_ms + skew_ms);
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
                "{name:?} is at {} and not at {}",
                found.version,
                winner.version()
            );
            hold!(found.dot == winner.dot, "{name:?}: {:?} is not {:?}", found.dot, winner.dot);
            check_content(view, name, &found.state, winner, is_expired)?;
            if found.state != FoundState::ExpiredTombstone {
                hold!(found.metadata == winner.metadata, "{name:?}: other metadata");
            }
            hold!(found.expires_at == winner.expires_at, "{name:?}: another expiry");
        }
        Ok(())
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
            let chunk = view.chunk(*body, 0).during("a chunk")?;
            *len == wanted.len() as u64 && chunk.is_some_and(|chunk| chunk == *wanted)
        }
        (
            FoundState::Large { body, len, digest },
            Content::Large { len: wanted, digest: right },
        ) => {
            for index in 0..u32::try_from(len.div_ceil(65_280)).unwrap_or(u32::MAX) {
                let chunk = view.chunk(*body, index).during("a chunk")?;
                hold!(chunk.is_some(), "{name:?}: chunk {index} is missing");
            }
            len == wanted && digest == right
        }
        _ => false,
    };
    hold!(is_right, "{name:?} holds {state:?} and not {:?}", winner.content);
    Ok(())
}
