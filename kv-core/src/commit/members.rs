//! Adding, changing and removing members of the cluster: writes to the system namespace.

use super::transaction::Transaction;
use crate::{
    engine::Snapshot,
    error::{InvalidWrite, Taken, WriteError},
    types::{FieldNumber, FieldValue, Key, Member, MemberId, Software, limits::MAX_MEMBERS},
};

impl<S: Snapshot> Transaction<'_, S> {
    /// Adds a member, or changes its name and addresses. Its id never changes.
    pub(super) fn put_member(
        &mut self,
        id: MemberId,
        name: String,
        addresses: Vec<String>,
    ) -> Result<Member, WriteError> {
        self.check_free_member(id)?;
        let member = Member::new(id, name, addresses)?;
        let has_name = |other: &&Member| other.id != id && other.name == member.name;
        if let Some(other) = self.state.members.current().find(has_name) {
            return Err(Taken::MemberName { name: other.name.clone(), by: other.id }.into());
        }
        self.write_member(id, member.info())
    }

    /// Checks that a location can become, or stay, a member.
    fn check_free_member(&self, id: MemberId) -> Result<(), WriteError> {
        let before = self.state.members.get(id);
        if before.is_some_and(|member| member.removed) {
            return Err(Taken::MemberLeft(id).into());
        }
        if before.is_none() && self.state.members.current().count() >= MAX_MEMBERS {
            return Err(InvalidWrite::TooManyMembers.into());
        }
        Ok(())
    }

    /// Records the program that a member runs. The same program a second time changes nothing.
    pub(super) fn put_software(
        &mut self,
        id: MemberId,
        software: Software,
    ) -> Result<Member, WriteError> {
        match self.state.members.get(id) {
            None => Err(InvalidWrite::UnknownMember(id).into()),
            Some(member) if member.removed => Err(Taken::MemberLeft(id).into()),
            Some(member) if member.software.as_ref() == Some(&software) => Ok(member.clone()),
            Some(_) => self.write_member(id, Member::runs(&software)),
        }
    }

    /// Removes a member for good. Removing a member a second time changes nothing. A store can't remove
    /// itself.
    pub(super) fn remove_member(&mut self, id: MemberId) -> Result<Member, WriteError> {
        match self.state.members.get(id) {
            None => Err(InvalidWrite::UnknownMember(id).into()),
            Some(member) if member.removed => Ok(member.clone()),
            Some(member) if member.id == self.state.member => {
                Err(InvalidWrite::RemovesItself.into())
            }
            Some(_) => self.write_member(id, Member::removal()),
        }
    }

    /// Writes a field of the row of a member, and returns the member as it is now.
    fn write_member(
        &mut self,
        id: MemberId,
        field: (FieldNumber, FieldValue),
    ) -> Result<Member, WriteError> {
        let key = Key::new(Member::key(id)).expect("the key of a member has 17 bytes");
        self.write_fields(key, [field], None)?;
        let member = self.state.members.get(id).cloned();
        member.ok_or(WriteError::Invalid(InvalidWrite::UnknownMember(id)))
    }
}
