//! The entries of the system namespace.

use super::{hlc::Hlc, id::NamespaceId, member::Member, namespace::Namespace, origin::OriginEntry};
use crate::codec::{DecodeError, Reader};

/// An entry of the system namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemEntry {
    /// A namespace: its key is the id.
    Namespace(Namespace),
    /// A member of the cluster: its key is `m` and the id.
    Member(Member),
    /// An origin that was opened or closed: its key begins with `o` or `c`.
    Origin(OriginEntry),
}

impl SystemEntry {
    /// Decodes an entry of the system namespace that was written at `time`.
    ///
    /// # Errors
    /// If no store writes such an entry.
    pub fn decode(key: &[u8], value: &[u8], time: Hlc) -> Result<SystemEntry, DecodeError> {
        if let Some(id) = Member::id_of(key) {
            if id.0 == [0; 16] {
                return Err(DecodeError("a member whose id is zeros"));
            }
            return Member::decode(id, value).map(SystemEntry::Member);
        }
        if OriginEntry::is_key(key) {
            return OriginEntry::decode(key, value, time).map(SystemEntry::Origin);
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
            SystemEntry::Origin(_) => false,
        }
    }
}
