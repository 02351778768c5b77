//! The expected state: every acknowledged write, and the consequences.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::{
    Dot, Found, FoundState, JoinedRow, Member, MemberId, Namespace, NamespaceId, OriginId,
    ReadError, SystemRow, Version, VersionVector, engine::Snapshot, view::View,
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
    /// The rows of the system namespace: the join of all writes, each of which shows its whole row.
    joined: BTreeMap<Name, JoinedRow>,
    /// The members, and whether each was removed.
    members: BTreeMap<MemberId, bool>,
    /// The locations that write under each origin.
    owners: BTreeMap<OriginId, MemberId>,
    /// Departed locations, whose last writes may be lost.
    departed: BTreeSet<MemberId>,
    /// Writes that were on one disk only, which was replaced or is gone. That disk may come back.
    doubtful: BTreeSet<Dot>,
    /// Writes that a rebuild has handed to the owner, and those that they had replaced.
    salvaged: BTreeSet<Dot>,
    /// The origins whose count at a location was lowered by a rebuild that salvaged something.
    lowered: BTreeSet<OriginId>,
    /// Writes whose copies may all be destroyed, by damage and by the loss of the disk with the other copy. Vectors
    /// may count them all the same.
    destroyed: BTreeSet<Dot>,
    /// The latest version of a key that was destroyed and that no remaining location has. A location that had it may owe
    /// the key until the others have answered, and then has an earlier one.
    forgotten: BTreeMap<Name, Version>,
    /// The keys with a damaged row at some location.
    damaged: BTreeSet<Name>,
    /// The writes of departed locations that must not be lost.
    secured: VersionVector,
    /// The deletions of departed locations that were lost, and the writes that were salvaged.
    lost: BTreeMap<Name, Vec<Version>>,
    /// Writes of which nobody knows any more that a deletion replaced them, and the deletion.
    forgotten_alone: BTreeSet<Dot>,
    /// The writes that may disappear, and from when on, in Unix milliseconds: deletions at once, values
    /// when they have expired by true time.
    mortal: BTreeMap<Dot, u64>,
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
        if let Content::Joined(fields) = &row.content {
            if let SystemRow::Member(member) = SystemRow::of(&row.key, fields) {
                *self.members.entry(member.id).or_default() |= member.removed;
            }
            let name = (row.namespace, row.key.to_vec());
            self.joined
                .entry(name)
                .and_modify(|joined| {
                    joined.join(fields);
                })
                .or_insert_with(|| fields.as_ref().clone());
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

    /// Records that the writes that one vector counts and another does not may be lost, and those of the origins that
    /// only the other one limits.
    pub fn doubt_beyond(
        &mut self,
        (held, lowered): (&VersionVector, &BTreeSet<OriginId>),
        left: &VersionVector,
    ) {
        let was_held = |dot: &Dot| held.covers(*dot) || lowered.contains(&dot.origin);
        let is_lost = |dot: &&Dot| was_held(dot) && !left.covers(**dot);
        let lost: Vec<_> = self.log.keys().filter(is_lost).copied().collect();
        self.doubtful.extend(lost);
    }

    /// Records that a row of a key was damaged at some location.
    pub fn damage(&mut self, name: Name) {
        self.damaged.insert(name);
    }

    /// Whether a row of a key was damaged at some location.
    #[must_use]
    pub fn is_damaged(&self, name: &Name) -> bool {
        self.damaged.contains(name)
    }

    /// Records that every copy of the writes of a key so far may be destroyed.
    pub fn doubt_copies(&mut self, name: &Name) {
        self.destroyed.extend(self.names.get(name).into_iter().flatten());
    }

    /// Whether every copy of a write of a key may be destroyed.
    #[must_use]
    pub fn is_destroyed(&self, name: &Name) -> bool {
        let mut dots = self.names.get(name).into_iter().flatten();
        dots.any(|dot| self.destroyed.contains(dot))
    }

    /// Whether every copy of a write of a key may be destroyed, of this version or a later one.
    fn may_be_destroyed(&self, name: &Name, since: Version) -> bool {
        let mut dots = self.names[name].iter().filter(|dot| self.destroyed.contains(*dot));
        dots.any(|dot| self.log[dot].version() >= since)
            || self.forgotten.get(name).is_some_and(|version| *version >= since)
    }

    /// Records that a rebuild has lowered what a location counts of an origin: some of its writes were salvaged, and the
    /// later ones may be held and not counted.
    pub fn lower(&mut self, origin: OriginId) {
        self.lowered.insert(origin);
    }

    /// Whether a write that its owner gets, with its whole value, is as it was made, as far as it was recorded.
    #[must_use]
    pub fn agrees(&self, row: &Row) -> bool {
        let Some(known) = self.log.get(&row.dot) else { return true };
        if row.content == Content::Expired && known.expires_at.is_some() {
            // The value is gone since it has expired.
            let (content, metadata) = (Content::Expired, None);
            return *row == Row { content, metadata, ..known.clone() };
        }
        let content = match (&row.content, &known.content) {
            (Content::Value(value), Content::Large { len, digest })
                if value.len() as u64 == *len && blake3::hash(value).as_bytes() == digest =>
            {
                known.content.clone()
            }
            // A row of the system namespace is the join of several writes.
            (Content::Joined(_), Content::Joined(_)) => known.content.clone(),
            (content, _) => content.clone(),
        };
        *known == Row { content, ..row.clone() }
    }

    /// Records that a location dropped a write that no other one had received, and handed it to its owner. What that
    /// location had replaced by it may not have been received by any other one either.
    pub fn salvage(&mut self, dot: Dot) {
        let mut next = Some(dot);
        while let Some(dot) = next {
            self.doubtful.insert(dot);
            self.salvaged.insert(dot);
            next = self.replaced_by(dot);
        }
    }

    /// The write that another one replaced where it was made.
    fn replaced_by(&self, dot: Dot) -> Option<Dot> {
        let row = self.log.get(&dot)?;
        let mut others = self.names[&(row.namespace, row.key.to_vec())].iter();
        others.find(|other| row.prev == Some(self.log[other].version())).copied()
    }

    /// The location that writes under an origin.
    #[must_use]
    pub fn owner(&self, origin: OriginId) -> Option<MemberId> {
        self.owners.get(&origin).copied()
    }

    /// Whether a write may be lost, because the only disk that had it was replaced or is gone.
    #[must_use]
    pub fn is_doubtful(&self, dot: Dot) -> bool {
        self.doubtful.contains(&dot)
    }

    /// Whether a write may be lost: it is doubtful, destroyed, or of a departed location.
    #[must_use]
    pub fn may_be_lost(&self, dot: Dot) -> bool {
        let owner = self.owners.get(&dot.origin);
        let is_destroyed = self.destroyed.contains(&dot);
        self.is_doubtful(dot)
            || is_destroyed
            || owner.is_some_and(|owner| self.departed.contains(owner))
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
        (self.destroyed, self.damaged) = (before.destroyed, before.damaged);
        (self.salvaged, self.forgotten) = (before.salvaged, before.forgotten);
        (self.lowered, self.forgotten_alone) = (before.lowered, before.forgotten_alone);
        for row in before.log.into_values() {
            let is_gone = self.destroyed.contains(&row.dot) || self.salvaged.contains(&row.dot);
            let is_counted = self.secured.covers(row.dot) && !is_gone;
            let is_here = !self.may_be_lost(row.dot) || is_counted;
            if is_here || had.contains(&row.dot) {
                self.note(&row).expect("the write was recorded before");
                continue;
            }
            if self.destroyed.contains(&row.dot) {
                let name = (row.namespace, row.key.to_vec());
                let latest = self.forgotten.entry(name).or_insert(row.version());
                *latest = row.version().max(*latest);
            }
            let was_salvaged = self.salvaged.contains(&row.dot);
            if row.content == Content::Deleted || row.expires_at.is_some() || was_salvaged {
                // A location may have had the write, and dropped it when all had it. What it replaced is gone too.
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
                let is_mortal = self.mortal.contains_key(&row.dot);
                is_mortal && self.may_be_lost(row.dot) && is_later(&row.version())
            })
    }

    /// Whether a location has dropped a deletion, later than `after`, by an origin that is not and
    /// never was a member there. No vector counts what a non-member sent. After the location that
    /// admitted it has departed, and the closing sessions have sent the deletion to all locations,
    /// it is dropped like any other.
    fn was_dropped_for_a_non_member<S: Snapshot>(
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
                && self.mortal.contains_key(&row.dot)
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

    /// The last sequence number of each origin, as far as its writes must be counted. `open` are the origins of the
    /// processes that run. Of another one that a rebuild counts less of, writes may be held without being counted.
    #[must_use]
    pub fn vector(&self, open: &BTreeSet<OriginId>) -> VersionVector {
        let is_counted = |dot: &&Dot| {
            let has_ended = self.lowered.contains(&dot.origin) && !open.contains(&dot.origin);
            !self.may_be_lost(**dot) && !has_ended
        };
        self.log.keys().filter(is_counted).copied().collect()
    }

    /// All keys that were ever written.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.names.keys()
    }

    fn winner(&self, name: &Name, counted: impl Fn(Dot) -> bool) -> Option<&Row> {
        let dots = self.names.get(name)?.iter().filter(|dot| counted(**dot));
        let is_known = |dot: &Dot| !self.forgotten_alone.contains(dot);
        dots.map(|dot| &self.log[dot]).max_by_key(|row| (is_known(&row.dot), row.version()))
    }

    /// Records what a location without others has deleted and forgotten: it waits for nobody. Where its clock was ahead
    /// and is set back, a later write of the key has an earlier version than the deletion, of which nobody knows any more.
    pub fn forget_alone<S: Snapshot>(
        &mut self,
        view: &View<S>,
        floor: &mut BTreeMap<Name, Version>,
        now_ms: u64,
    ) {
        let is_counted = |dot: Dot| view.vector().covers(dot) && !self.may_be_lost(dot);
        let mut forgotten = Vec::new();
        for name in self.names.keys().filter(|name| name.0 != NamespaceId::SYSTEM) {
            let Some(newest) = self.winner(name, is_counted) else { continue };
            let is_over = self.is_over(newest.dot, now_ms) && view.collected().covers(newest.dot);
            if !is_over || view.owed().get(name.0, &name.1).is_some() {
                continue;
            }
            if matches!(view.row(name.0, &name.1), Ok(None)) {
                floor.remove(name);
                let dots = self.names[name].iter();
                let older = dots.filter(|dot| self.log[*dot].version() <= newest.version());
                forgotten.extend(older.copied());
            }
        }
        self.forgotten_alone.extend(forgotten);
    }

    /// Whether a deletion or an expiry may have removed a key at or after a version.
    fn may_be_gone(&self, name: &Name, since: Version, now_ms: u64) -> bool {
        let mut dots = self.names[name].iter();
        let lost = self.lost.get(name);
        let is_doubtful = |dot: &Dot| self.is_doubtful(*dot) && self.log[dot].version() == since;
        dots.any(|dot| self.log[dot].version() >= since && self.is_over(*dot, now_ms))
            || self.may_be_destroyed(name, since)
            || self.names[name].iter().any(is_doubtful)
            || lost.is_some_and(|lost| lost.iter().any(|version| *version >= since))
    }

    /// Whether a write may have disappeared at this time.
    fn is_over(&self, dot: Dot, now_ms: u64) -> bool {
        self.mortal.get(&dot).is_some_and(|since_ms| *since_ms <= now_ms)
    }

    /// Checks that a location's vector counts only writes that exist there or were overwritten, and
    /// that no key has an older version than in `floor`. What expires by `now_ms`, in Unix milliseconds, may be
    /// gone, and so may what this location has handed to its owner, by key, with what that replaced. Updates `floor`.
    ///
    /// # Errors
    /// The violation.
    pub fn check_location<S: Snapshot>(
        &self,
        view: &View<S>,
        (floor, salvaged): (&mut BTreeMap<Name, Version>, &BTreeMap<Name, Version>),
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
            let is_dead = |version| view.namespaces().is_dead(name.0, version);
            if let Some(before) = floor.get(name).copied() {
                let is_handed_over = salvaged.get(name).is_some_and(|last| *last >= before);
                match version {
                    Some(now) => {
                        let counted = |dot: &&Dot| view.vector().covers(**dot);
                        hold!(
                            now >= before || self.may_be_destroyed(name, before) || is_handed_over,
                            "{name:?} reverted from {before} to {now}; of its writes it counts {:?}",
                            self.names[name].iter().filter(counted).collect::<Vec<_>>()
                        );
                    }
                    None => hold!(
                        is_dead(before) || self.may_be_gone(name, before, now_ms) || is_handed_over,
                        "{name:?} had the version {before} and is missing"
                    ),
                }
            }
            if let Some(now) = version {
                floor.insert(name.clone(), now);
            }
            let is_counted = |dot: Dot| view.vector().covers(dot) && !self.may_be_lost(dot);
            if name.0 == NamespaceId::SYSTEM {
                self.check_fields(name, found.as_ref(), is_counted)?;
                continue;
            }
            let Some(newest) = self.winner(name, is_counted) else { continue };
            match version {
                _ if is_dead(newest.version()) => {}
                Some(now) if now >= newest.version() => {}
                None if view.collected().covers(newest.dot) && self.is_over(newest.dot, now_ms) => {
                }
                // Its tombstone was damaged here, and all others have collected theirs: no location knows its name any
                // more.
                None if self.damaged.contains(name) && self.is_over(newest.dot, now_ms) => {}
                None if self.may_be_deleted(name, newest.version()) => {}
                None if self.was_dropped_for_a_non_member(view, name, newest.version()) => {}
                now => hold!(false, "the vector counts {newest:?}, but {name:?} has {now:?}"),
            }
        }
        Ok(())
    }

    /// Checks that a row of the system namespace has each field of each counted write, or a later one.
    fn check_fields(
        &self,
        name: &Name,
        found: Option<&Found>,
        counted: impl Fn(Dot) -> bool,
    ) -> Checked {
        for row in self.names[name].iter().filter(|dot| counted(**dot)).map(|dot| &self.log[dot]) {
            let Content::Joined(fields) = &row.content else { continue };
            for (number, field) in fields.iter().filter(|(_, field)| field.dot() == row.dot) {
                let has = found.and_then(|found| found.joined()?.get(number));
                hold!(
                    has.is_some_and(|has| has >= field),
                    "the vector counts {row:?}, but {name:?} has {found:?}"
                );
            }
        }
        Ok(())
    }

    /// The last drop of a namespace, by all writes.
    #[must_use]
    pub fn dropped_at(&self, id: NamespaceId) -> Option<Version> {
        let row = self.joined.get(&(NamespaceId::SYSTEM, id.0.to_vec()))?;
        Namespace::drop_of(row)
    }

    /// Whether a namespace exists, by all writes.
    fn exists(&self, id: NamespaceId) -> bool {
        let row = self.joined.get(&(NamespaceId::SYSTEM, id.0.to_vec()));
        row.and_then(|row| Namespace::of(id, row)).is_some_and(|namespace| namespace.exists())
    }

    /// Checks a row of the system namespace after the end of all faults: it is the join of all writes.
    fn check_system<S: Snapshot>(
        &self,
        view: &View<S>,
        name: &Name,
        found: Option<&Found>,
    ) -> Checked {
        if let Some(id) = Member::id_of(&name.1) {
            let is_removed = view.members().get(id).is_some_and(|member| member.removed);
            hold!(is_removed == self.members[&id], "{id} is removed: {is_removed}");
        }
        if let Some(id) = Namespace::id_of(&name.1) {
            let exists = view.namespaces().get(id).is_some();
            hold!(exists == self.exists(id), "the namespace {id} exists: {exists}");
        }
        let wanted = self.joined.get(name);
        let has = found.and_then(Found::joined).map(AsRef::as_ref);
        hold!(has == wanted, "{name:?} has {has:?}, not {wanted:?}");
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
            if name.0 == NamespaceId::SYSTEM {
                self.check_system(view, name, found.as_ref())?;
                continue;
            }
            let Some(winner) = self.winner(name, |_| true) else { continue };
            // A put older than a concurrent drop is dead: no reader may get it.
            if self.dropped_at(name.0).is_some_and(|dropped| winner.version() <= dropped) {
                let is_dead =
                    found.is_none_or(|found| view.namespaces().is_dead(name.0, found.version));
                hold!(is_dead, "{name:?} lives, and the drop is later: {winner:?}");
                continue;
            }
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
            let is_value = !found.is_tombstone() && !is_expired;
            // A location that left for good may have sent a large value, and not the namespace, which it had created
            // just before.
            let is_created = self.joined.contains_key(&(NamespaceId::SYSTEM, name.0.0.to_vec()));
            hold!(
                !is_value || !is_created || view.namespaces().get(name.0).is_some(),
                "{name:?} is later than the last drop, and its namespace does not exist"
            );
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
