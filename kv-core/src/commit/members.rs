//! Adding, changing and removing members of the cluster: writes to the system namespace.

use std::sync::Arc;

use bytes::Bytes;

use super::transaction::{NewRow, Transaction};
use crate::{
    NamespaceId, OriginId,
    body::{NewBody, NewBodyKind},
    engine::Snapshot,
    entry::Attributes,
    error::WriteError,
    limits::MAX_MEMBERS,
    member::{Member, MemberId},
};

impl<S: Snapshot> Transaction<'_, S> {
    pub(super) fn put_member(
        &mut self,
        id: MemberId,
        origins: [OriginId; 2],
        name: &str,
        addresses: &[String],
    ) -> Result<Member, WriteError> {
        self.check_free_member(id, origins)?;
        let (name, addresses) = (name.to_owned(), addresses.to_vec());
        let member = Member { id, origins, name, addresses, removed: false };
        member.check().map_err(WriteError::Invalid)?;
        let is_named_so = |other: &&Member| other.id != id && other.name == member.name;
        if let Some(other) = self.state.members.current().find(is_named_so) {
            let text = format!("another location is called {:?}: {}", other.name, other.id);
            return Err(WriteError::Taken(text));
        }
        self.write_member(member)
    }

    /// Whether a location can be, or stay, a member under these origins.
    fn check_free_member(&self, id: MemberId, origins: [OriginId; 2]) -> Result<(), WriteError> {
        let before = self.state.members.get(id);
        if before.is_some_and(|member| member.removed) {
            let text = format!(
                "the location {id} has left the cluster: it must join with a new store and id"
            );
            return Err(WriteError::Taken(text));
        }
        if before.is_some_and(|member| member.origins != origins) {
            let text = format!("the location {id} has another store: it must join under a new id");
            return Err(WriteError::Taken(text));
        }
        if before.is_none() && self.state.members.iter().count() >= MAX_MEMBERS {
            let text = format!("a cluster has had at most {MAX_MEMBERS} locations: make a new one");
            return Err(WriteError::Invalid(text));
        }
        let mut others = self.state.members.iter().filter(|other| other.id != id);
        if let Some(other) =
            others.find(|other| other.origins.iter().any(|origin| origins.contains(origin)))
        {
            let text = format!(
                "the location {} has this store already: one is a copy, and must be emptied",
                other.id
            );
            return Err(WriteError::Taken(text));
        }
        Ok(())
    }

    pub(super) fn remove_member(&mut self, id: MemberId) -> Result<Member, WriteError> {
        match self.state.members.get(id) {
            None => Err(WriteError::Invalid(format!(
                "no location {id} is in this cluster: name one of its members"
            ))),
            Some(member) if member.removed => Ok(member.clone()),
            Some(member) if member.origins == self.state.own => {
                let text = "a location can't remove itself: nobody would hear of it; ask another";
                Err(WriteError::Invalid(text.into()))
            }
            Some(member) => self.write_member(Member { removed: true, ..member.clone() }),
        }
    }

    fn write_member(&mut self, member: Member) -> Result<Member, WriteError> {
        let body = NewBody(NewBodyKind::Inline(Bytes::from(member.encode())));
        let row = NewRow::Value(&body, &Attributes::default());
        self.write_local(NamespaceId::SYSTEM, &Member::key(member.id), &row)?;
        Arc::make_mut(&mut self.state.members).insert(member.clone());
        Ok(member)
    }
}
