//! What an entry of the system namespace says.

use crate::{
    NamespaceId,
    codec::{DecodeError, Reader},
    member::Member,
    namespace::Namespace,
};

/// What an entry of the system namespace says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemEntry {
    /// A namespace: its key is the id.
    Namespace(Namespace),
    /// A member of the cluster: its key is `m` and the id.
    Member(Member),
}

impl SystemEntry {
    /// Reads an entry of the system namespace.
    ///
    /// # Errors
    /// If no store writes such a one.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<SystemEntry, DecodeError> {
        if let Some(id) = Member::id_of(key) {
            return Member::decode(id, value).map(SystemEntry::Member);
        }
        let mut reader = Reader::new(key);
        let id = NamespaceId(reader.id()?);
        reader.end()?;
        if id == NamespaceId::SYSTEM {
            return Err(DecodeError("the system namespace is not among the others"));
        }
        Namespace::decode(id, value).map(SystemEntry::Namespace)
    }

    /// Whether it says the end of what it names, which beats any other write of this entry: a
    /// namespace that was dropped, a member that left.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            SystemEntry::Namespace(namespace) => namespace.dropped,
            SystemEntry::Member(member) => member.removed,
        }
    }
}
