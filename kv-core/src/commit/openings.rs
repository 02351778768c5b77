//! Opening rows that can't be read.
//!
//! An opening row is the first write of its origin, and without it a store does not know whose origin it is. It is
//! written once, so that a damaged one can often be made again: a running process knows its content, and the rows of
//! the two origins of a pair have the same content. If neither helps, the row is owed like any other, and the origin is
//! counted without it: a location that catches up from here must get the rest of the origin's writes.
//!
//! If every copy of both rows of a pair is destroyed, the origin counts as one of
//! [`LOST_MEMBER`](crate::types::LOST_MEMBER): all of its writes stay, and nothing waits for its process.

use super::{applied::Applied, state::State, transaction::Transaction};
use crate::{
    engine::Snapshot,
    error::WriteError,
    tables::EntryKey,
    types::{
        Dot, Key, LOST_MEMBER, MemberId, NamespaceId, OriginId, OriginInfo, OwedReason,
        limits::{MAX_LOST_ORIGINS, MAX_MEMBER_ORIGINS, MAX_ORIGINS},
    },
    view::{Damage, Met},
};

impl State {
    /// Whether an origin is one that a store has opened: its opening row is here, or is owed and was counted.
    pub(super) fn knows_origin(&self, origin: OriginId) -> bool {
        self.registry.contains(origin) || self.vector.get(origin) > 0
    }

    /// How many origins are counted although their opening rows are not here.
    fn unopened(&self) -> usize {
        let dots = self.vector.iter();
        dots.filter(|dot| !self.registry.contains(dot.origin)).count()
    }

    /// Whether there is room for the origins that are counted without their opening rows, beside this many others. The former
    /// are not counted one by one, because a store that joins reads many opening rows: nearly every origin that is known
    /// is counted.
    fn has_room_beside(&self, others: usize) -> bool {
        others + self.vector.len().saturating_sub(self.registry.len()) <= MAX_ORIGINS
    }

    /// How many places are kept free for the current members other than this one. Half of all places is shared among the
    /// members, so that no member can use up those of the others, whatever names it invents. The other half is for members
    /// that need more, and for members that have left.
    fn kept_for_others(&self, member: MemberId) -> usize {
        let share = MAX_ORIGINS / 2 / self.members.current().count().max(1);
        let others = self.members.current().filter(|other| other.id != member);
        others.map(|other| share.saturating_sub(self.registry.count_of(other.id))).sum()
    }

    /// Whether there is room for more origins of a location.
    pub(super) fn has_room(&self, member: MemberId, more: usize) -> bool {
        self.has_room_beside(self.registry.len() + more + self.kept_for_others(member))
            && self.registry.count_of(member) + more <= MAX_MEMBER_ORIGINS
    }

    /// Whether there is room for the opening row of an origin of a location. One that is counted already takes no more.
    pub(super) fn has_room_to_open(&self, id: OriginId, member: MemberId) -> bool {
        let is_counted = self.vector.get(id) > 0;
        is_counted && self.registry.count_of(member) < MAX_MEMBER_ORIGINS
            || self.has_room(member, 1)
    }

    /// Whether another origin may be counted whose opening row is not here.
    fn has_room_for_unopened(&self) -> bool {
        let unopened = self.unopened();
        unopened + self.registry.count_of(LOST_MEMBER) < MAX_LOST_ORIGINS
            && self.registry.len() + unopened < MAX_ORIGINS
    }

    /// Notes the opening rows that could not be read when the store was loaded, so that the writer makes them again.
    pub(super) fn note_unread_openings(&self, damage: &Damage) {
        for key in self.owed.from(NamespaceId::SYSTEM, b"") {
            if OriginInfo::id_of(key).is_some() {
                damage.note(EntryKey::new(NamespaceId::SYSTEM, key), Met::Row);
            }
        }
    }
}

/// Returns the origin whose opening row is the row of this key.
pub(super) fn opened_by(entry: &EntryKey) -> Option<OriginId> {
    let (namespace, name) = entry.split();
    OriginInfo::id_of(name).filter(|_| namespace == NamespaceId::SYSTEM)
}

impl<S: Snapshot> Transaction<'_, S> {
    /// Rewrites the damaged opening row of an origin, if its content is known, or if no other
    /// location can know. In a cluster it stays owed: a later program may have written other fields of it.
    pub(super) fn restore_opening(&mut self, entry: &EntryKey) {
        let Some(id) = opened_by(entry) else { return };
        let (namespace, name) = entry.split();
        let owed = self.state.owed.get(namespace, name);
        if owed.is_none_or(|owed| owed.reason != OwedReason::Row) {
            return;
        }
        let has_others = self.has_others();
        if !self.lacks_opening(entry) {
            if !has_others {
                self.drop_misnamed(entry);
            }
            return;
        }
        let info = match self.state.registry.get(id).cloned() {
            Some(info) => info,
            None if has_others => return,
            None => OriginInfo::of_lost(id),
        };
        self.write_opening(entry, &info);
        if !has_others {
            self.repay(entry);
        }
    }

    /// Removes a damaged row under the key of the opening row of an origin that nothing was ever counted of: a bit of its
    /// key has flipped.
    fn drop_misnamed(&mut self, entry: &EntryKey) {
        self.delete_unread(entry);
        self.repay(entry);
    }

    /// Whether a key is that of the opening row of an origin that is counted. It is never deleted.
    pub(super) fn lacks_opening(&self, entry: &EntryKey) -> bool {
        opened_by(entry).is_some_and(|id| self.state.vector.get(id) > 0)
    }

    /// Writes an opening row.
    fn write_opening(&mut self, entry: &EntryKey, info: &OriginInfo) {
        self.put_joined(entry.clone(), None, &info.row());
        tracing::warn!(origin = %info.id, "the opening row of an origin is damaged: it is written again");
    }

    /// Counts the opening row of an origin that the source of a session could not read, and that is owed from here on: so
    /// the rest of the origin's writes are applied. Returns whether it may be counted.
    pub(super) fn count_unopened(&mut self, origin: OriginId) -> bool {
        if self.state.knows_origin(origin) {
            return true;
        }
        if !self.state.has_room_for_unopened() {
            tracing::error!(
                "the opening rows of more than {MAX_LOST_ORIGINS} origins can't be read anywhere: replace the disk of \
                 the location that this one catches up from"
            );
            return false;
        }
        self.state.vector.raise(origin, 1);
        true
    }

    /// Ends that an opening row is owed which no location can read. Returns none if the key is not that of an opening
    /// row.
    pub(super) fn settle_destroyed_opening(
        &mut self,
        namespace: NamespaceId,
        key: &Key,
    ) -> Option<Result<Applied, WriteError>> {
        let entry = EntryKey::new(namespace, key);
        let id = opened_by(&entry)?;
        if !self.state.vector.covers(Dot { origin: id, seq: 1 }) {
            return None;
        }
        let info = self.state.registry.get(id).cloned().unwrap_or_else(|| OriginInfo::of_lost(id));
        self.write_opening(&entry, &info);
        self.repay(&entry);
        Some(Ok(Applied::Known))
    }

    /// Checks that an opening row opens an origin that is not known, or repeats what is known of it. The row of an origin
    /// whose member is lost may come beside the true one. It must be exactly the row that every store makes in that case: its
    /// time never wins, so that no member can take an origin away from another one.
    ///
    /// # Errors
    /// The outcome of the row. If there is no room for it, its sender has done nothing wrong.
    pub(super) fn check_opening(&self, info: &OriginInfo) -> Result<(), Applied> {
        match self.state.registry.get(info.id) {
            Some(known) if known == info => Ok(()),
            _ if info.member == LOST_MEMBER && *info != OriginInfo::of_lost(info.id) => {
                Err(Applied::Refused("an origin of a member that no location is"))
            }
            Some(known) if [known.member, info.member].contains(&LOST_MEMBER) => Ok(()),
            Some(_) => Err(Applied::Refused("an origin is opened a second time")),
            None => {
                let has_room = self.state.has_room_to_open(info.id, info.member);
                has_room.then_some(()).ok_or(Applied::Ignored)
            }
        }
    }
}
