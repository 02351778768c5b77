//! The expected state: every acknowledged write, and the consequences.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::{
    Dot, FoundState, Member, MemberId, NamespaceId, OriginEntry, OriginId, SystemEntry, Version,
    VersionVector, engine::Snapshot, view::View,
};
use kv_replicate::{Content, Row};
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
    /// The locations that write under each origin.
    owners: BTreeMap<OriginId, MemberId>,
    /// Departed locations, whose last writes may be lost.
    departed: BTreeSet<MemberId>,
    /// Writes that were on one disk only, which was replaced or is gone. That disk may come back.
    doubtful: BTreeSet<Dot>,
    /// The writes of departed locations that must not be lost.
    secured: VersionVector,
    /// The deletions of departed locations that were lost.
    lost: BTreeMap<Name, Vec<Version>>,
    /// The versions that may disappear: deletions and expiring values.
    mortal: BTreeSet<Version>,
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
            match SystemEntry::decode(&row.key, value, row.hlc).during("decoding a system entry")? {
                SystemEntry::Namespace(namespace) if namespace.dropped => {
                    self.dropped.insert(namespace.id);
                }
                SystemEntry::Namespace(_) => {}
                SystemEntry::Member(member) => {
                    *self.members.entry(member.id).or_default() |= member.removed;
                }
                SystemEntry::Origin(_) => {}
            }
        }
        if row.content == Content::Deleted || row.expires_at.is_some() {
            self.mortal.insert(row.version());
        }
        self.log.insert(row.dot, row.clone());
        self.names.entry((row.namespace, row.key.to_vec())).or_default().push(row.dot);
        Ok(())
    }

    /// Records which location writes under an origin.
    pub fn belongs(&mut self, origin: OriginId, member: MemberId) {
        self.owners.insert(origin, member);
    }

    /// Records a write that may be lost, or not: it is on a disk that was replaced, and was not acknowledged.
    ///
    /// # Errors
    /// If its dot names another write.
    pub fn doubt(&mut self, row: &Row) -> Checked {
        if !self.log.contains_key(&row.dot) {
            self.note(row)?;
            self.doubtful.insert(row.dot);
        }
        Ok(())
    }

    /// Records that the writes that one vector counts and another does not may be lost.
    pub fn doubt_beyond(&mut self, held: &VersionVector, left: &VersionVector) {
        let is_lost = |dot: &&Dot| held.covers(**dot) && !left.covers(**dot);
        let lost: Vec<_> = self.log.keys().filter(is_lost).copied().collect();
        self.doubtful.extend(lost);
    }

    /// Records that a location dropped a write that nobody else had received, and handed it to its owner.
    pub fn salvage(&mut self, dot: Dot) {
        self.doubtful.insert(dot);
    }

    /// Whether a write may be lost, because the only disk that had it was replaced or is gone.
    #[must_use]
    pub fn is_doubtful(&self, dot: Dot) -> bool {
        self.doubtful.contains(&dot)
    }

    /// Whether a write may be lost: it is doubtful, or of a departed location.
    fn may_be_lost(&self, dot: Dot) -> bool {
        let owner = self.owners.get(&dot.origin);
        self.is_doubtful(dot) || owner.is_some_and(|owner| self.departed.contains(owner))
    }

    /// Whether a location is a member according to the acknowledged writes.
    #[must_use]
    pub fn is_member(&self, member: MemberId) -> bool {
        self.members.get(&member) == Some(&false)
    }

    /// Records that a location has departed or is about to.
    pub fn depart(&mut self, member: MemberId) {
        self.departed.insert(member);
    }

    /// Records the writes that a remaining location has: they must not be lost any more.
    pub fn secure(&mut self, vector: &VersionVector) {
        self.secured.merge(vector);
    }

    /// Forgets the writes of departed locations that no remaining location has.
    pub fn forget_lost(&mut self, had: &BTreeSet<Dot>) {
        let before = std::mem::take(self);
        (self.departed, self.secured) = (before.departed, before.secured);
        (self.owners, self.doubtful) = (before.owners, before.doubtful);
        for row in before.log.into_values() {
            let is_here = !self.may_be_lost(row.dot) || self.secured.covers(row.dot);
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
        self.lost.get(name).is_some_and(|versions| versions.iter().any(is_later))
            || self.names[name].iter().map(|dot| &self.log[dot]).any(|row| {
                let is_mortal = self.mortal.contains(&row.version());
                is_mortal && self.may_be_lost(row.dot) && is_later(&row.version())
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
        let is_member = |origin| {
            let owner = view.registry().get(origin).map(|info| info.member);
            owner.is_some_and(|owner| view.members().get(owner).is_some())
        };
        self.names[name].iter().map(|dot| &self.log[dot]).any(|row| {
            row.version() > after
                && self.mortal.contains(&row.version())
                && view.collected().covers(row.dot)
                && !is_member(row.dot.origin)
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

    /// The last sequence number of each origin, as far as its writes must not be lost.
    #[must_use]
    pub fn vector(&self) -> VersionVector {
        self.log.keys().filter(|dot| !self.may_be_lost(**dot)).copied().collect()
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
    fn may_be_gone(&self, name: &Name, since: Version) -> bool {
        let mut versions = self.names[name].iter().map(|dot| self.log[dot].version());
        let lost = self.lost.get(name);
        let is_doubtful = |dot: &Dot| self.is_doubtful(*dot) && self.log[dot].version() == since;
        versions.any(|version| version >= since && self.mortal.contains(&version))
            || self.names[name].iter().any(is_doubtful)
            || lost.is_some_and(|lost| lost.iter().any(|version| *version >= since))
    }

    /// Checks that a location's vector counts only writes that exist there or were overwritten, and
    /// that no key has an older version than in `floor`. Updates `floor`.
    ///
    /// # Errors
    /// The violation.
    pub fn check_location<S: Snapshot>(
        &self,
        view: &View<S>,
        floor: &mut BTreeMap<Name, Version>,
    ) -> Checked {
        for name in self.names.keys() {
            let found = view.row(name.0, &name.1).during("reading a row")?;
            let version = found.as_ref().map(|found| found.version);
            let is_dropped = view.namespaces().is_dropped(name.0);
            if let Some(before) = floor.get(name).copied() {
                let may_go = is_dropped || self.may_be_gone(name, before);
                match version {
                    Some(now) => {
                        let is_drop = name.0 == NamespaceId::SYSTEM;
                        let counted = |dot: &&Dot| view.vector().covers(**dot);
                        hold!(
                            now >= before || is_drop,
                            "{name:?} reverted from {before} to {now}; of its writes it counts {:?}",
                            self.names[name].iter().filter(counted).collect::<Vec<_>>()
                        );
                    }
                    None => hold!(may_go, "{name:?} had the version {before} and is missing"),
                }
            }
            if let Some(now) = version {
                floor.insert(name.clone(), now);
            }
            if is_dropped {
                continue;
            }
            let is_counted = |dot: Dot| view.vector().covers(dot) && !self.may_be_lost(dot);
            let Some(newest) = self.winner(name, is_counted) else { continue };
            match version {
                Some(now) if now >= newest.version() || name.0 == NamespaceId::SYSTEM => {}
                None if view.collected().covers(newest.dot)
                    && (newest.content == Content::Deleted || newest.expires_at.is_some()) => {}
                None if self.may_be_deleted(name, newest.version()) => {}
                None if self.was_dropped_for_a_stranger(view, name, newest.version()) => {}
                now => hold!(false, "the vector counts {newest:?}, but {name:?} has {now:?}"),
            }
        }
        Ok(())
    }

    /// Checks a location after the end of all faults: it holds the winner of each key, and nothing
    /// else.
    ///
    /// # Errors
    /// The violation.
    pub fn check_converged<S: Snapshot>(
        &self,
        view: &View<S>,
        now_ms: u64,
        skew_ms: u64,
    ) -> Checked {
        for name in self.names.keys() {
            let found = view.row(name.0, &name.1).during("reading a row")?;
            if let Some(id) = Member::id_of(&name.1).filter(|_| name.0 == NamespaceId::SYSTEM) {
                let is_removed = view.members().get(id).is_some_and(|member| member.removed);
                hold!(is_removed == self.members[&id], "{id} is removed: {is_removed}");
                if is_removed {
                    continue;
                }
            } else if name.0 == NamespaceId::SYSTEM && !OriginEntry::is_key(&name.1) {
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
            // A clock that was ahead may have expired it earlier.
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
