//! The entries of the system namespace.

use super::{id::NamespaceId, member::Member, namespace::Namespace};
use crate::codec::{DecodeError, Reader};

/// An entry of the system namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemEntry {
    /// A namespace: its key is the id.
    Namespace(Namespace),
    /// A member of the cluster: its key is `m` and the id.
    Member(Member),
}

impl SystemEntry {
    /// Decodes an entry of the system namespace.
    ///
    /// # Errors
    /// If no store writes such an entry.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<SystemEntry, DecodeError> {
        if let Some(id) = Member::id_of(key) {
            return Member::decode(id, value).map(SystemEntry::Member);
        }
        let mut reader = Reader::new(key);
        let id = NamespaceId(reader.id()?);
        reader.end()?;
        if id == NamespaceId::SYSTEM {
            return Err(DecodeError("an entry that describes the system namespace"));
        }
        Namespace::decode(id, value).map(SystemEntry::Namespace)
    }

    /// Whether the entry ends what it names: a dropped namespace, a member that left. Such an entry
    /// beats any other write of it.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            SystemEntry::Namespace(namespace) => namespace.dropped,
            SystemEntry::Member(member) => member.removed,
        }
    }
}
