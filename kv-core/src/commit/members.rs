//! Adding, changing and removing members of the cluster: writes to the system namespace.

use std::sync::Arc;

use super::{operation::NewContent, transaction::Transaction};
use crate::{
    body::NewBody,
    engine::Snapshot,
    error::{InvalidWrite, Taken, WriteError},
    types::{Attributes, Key, Member, MemberId, NamespaceId, OriginId, limits::MAX_MEMBERS},
};

impl<S: Snapshot> Transaction<'_, S> {
    /// Adds a member, or changes its name and addresses. Its id and origins never change.
    pub(super) fn put_member(
        &mut self,
        id: MemberId,
        origins: [OriginId; 2],
        name: String,
        addresses: Vec<String>,
    ) -> Result<Member, WriteError> {
        self.check_free_member(id, origins)?;
        let member = Member::new(id, origins, name, addresses)?;
        let has_name = |other: &&Member| other.id != id && other.name == member.name;
        if let Some(other) = self.state.members.current().find(has_name) {
            return Err(Taken::MemberName { name: other.name.clone(), by: other.id }.into());
        }
        self.write_member(member)
    }

    /// Checks that a location can become, or stay, a member with these origins.
    fn check_free_member(&self, id: MemberId, origins: [OriginId; 2]) -> Result<(), WriteError> {
        let before = self.state.members.get(id);
        if before.is_some_and(|member| member.removed) {
            return Err(Taken::MemberLeft(id).into());
        }
        if before.is_some_and(|member| member.origins != origins) {
            return Err(Taken::MemberStore(id).into());
        }
        if before.is_none() && self.state.members.iter().count() >= MAX_MEMBERS {
            return Err(InvalidWrite::TooManyMembers.into());
        }
        let mut others = self.state.members.iter().filter(|other| other.id != id);
        let has_origin = |other: &&Member| other.origins.iter().any(|own| origins.contains(own));
        match others.find(has_origin) {
            Some(other) => Err(Taken::StoreOf(other.id).into()),
            None => Ok(()),
        }
    }

    /// Removes a member for good. Removing a member a second time changes nothing. A store can't remove
    /// itself.
    pub(super) fn remove_member(&mut self, id: MemberId) -> Result<Member, WriteError> {
        match self.state.members.get(id) {
            None => Err(InvalidWrite::UnknownMember(id).into()),
            Some(member) if member.removed => Ok(member.clone()),
            Some(member) if member.origins == self.state.own => {
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
