//! Adding, changing and removing members of the cluster: writes to the system namespace.

use std::sync::Arc;

use super::{operation::NewContent, transaction::Transaction};
use crate::{
    body::NewBody,
    engine::Snapshot,
    error::{InvalidWrite, Taken, WriteError},
    types::{Attributes, Key, Member, MemberId, NamespaceId, limits::MAX_MEMBERS},
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
        self.write_member(member)
    }

    /// Checks that a location can become, or stay, a member.
    fn check_free_member(&self, id: MemberId) -> Result<(), WriteError> {
        let before = self.state.members.get(id);
        if before.is_some_and(|member| member.removed) {
            return Err(Taken::MemberLeft(id).into());
        }
        if before.is_none() && self.state.members.iter().count() >= MAX_MEMBERS {
            return Err(InvalidWrite::TooManyMembers.into());
        }
        Ok(())
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
            Some(member) => self.write_member(Member { removed: true, ..member.clone() }),
        }
    }

    /// Writes the entry of a member, and puts it into the registry.
    fn write_member(&mut self, member: Member) -> Result<Member, WriteError> {
        let key = Key::new(Member::key(member.id)).expect("the key of a member has 17 bytes");
        let body = NewBody::inline(member.encode());
        let content = NewContent::Put { body, attributes: Attributes::default() };
        self.write_local(NamespaceId::SYSTEM, key, content)?;
        Arc::make_mut(&mut self.state.members).insert(member.clone());
        Ok(member)
    }
}
