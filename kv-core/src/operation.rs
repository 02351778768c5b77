//! What a commit is made of, and what it answers.

use bytes::Bytes;

use crate::{
    Dot, Hlc, NamespaceId, OriginId, Version,
    body::{NewBody, StagedChunk},
    commit::{check_attributes, check_key},
    crdt::VersionVector,
    entry::Attributes,
    error::WriteError,
    local::{check_name, check_parts},
    member::{Member, MemberId},
    namespace::{Namespace, check_title},
};

/// One thing to be done in a commit.
#[derive(Debug)]
#[non_exhaustive]
pub enum Operation {
    /// Puts an entry.
    Put {
        /// Where.
        namespace: NamespaceId,
        /// Under which key, 1 to 512 bytes.
        key: Bytes,
        /// The value, from [`Upload::finish`](crate::body::Upload::finish).
        body: NewBody,
        /// What is said beside the value.
        attributes: Attributes,
    },
    /// Deletes an entry; deleting one that is not there is a write too, for it must also delete
    /// what another location has not yet sent.
    Delete {
        /// Where.
        namespace: NamespaceId,
        /// Which key.
        key: Bytes,
    },
    /// Writes a piece of a large body ahead of the put that makes it visible.
    Stage(StagedChunk),
    /// Makes a namespace.
    CreateNamespace {
        /// Whose; empty where there are no accounts.
        account: String,
        /// Its title, unique in the account.
        title: String,
        /// Its id, if it must have a certain one.
        id: Option<NamespaceId>,
    },
    /// Gives a namespace another title.
    RenameNamespace {
        /// Which.
        id: NamespaceId,
        /// The new title, unique in its account.
        title: String,
    },
    /// Drops a namespace and all its entries, for good.
    DropNamespace {
        /// Which.
        id: NamespaceId,
    },
    /// Makes a location a member of the cluster, or says anew what it is called and where it can be
    /// reached.
    PutMember {
        /// Which.
        id: MemberId,
        /// The origins of its store.
        origins: [OriginId; 2],
        /// What people call it.
        name: String,
        /// Where it can be reached, `host:port` each.
        addresses: Vec<String>,
    },
    /// Takes a location out of the cluster, for good.
    RemoveMember {
        /// Which.
        id: MemberId,
    },
    /// Keeps bytes under a name for this location alone, in the place of what was kept under it:
    /// no entry, no version, and no peer gets it.
    SaveLocal {
        /// Under which name, 1 to [`MAX_LOCAL_NAME_BYTES`](crate::limits::MAX_LOCAL_NAME_BYTES).
        name: String,
        /// The bytes, one part after the other, at most
        /// [`MAX_LOCAL_PARTS`](crate::limits::MAX_LOCAL_PARTS).
        parts: Vec<NewBody>,
    },
    /// Drops what this location keeps under a name, if it does.
    DropLocal {
        /// Which name.
        name: String,
    },
    /// Applies what a peer sent.
    Remote(Remote),
}

/// What a peer sent.
#[derive(Debug)]
pub enum Remote {
    /// The next write of an origin, from its live stream.
    Next(RemoteWrite),
    /// A row of a catch-up session, in any order; the vector is adopted at its end.
    Row(RemoteWrite),
    /// The end of a catch-up session: all that these vectors count is here.
    Adopt {
        /// The version vector of the source's last snapshot.
        vector: VersionVector,
        /// The source's collected vector.
        collected: VersionVector,
    },
}

/// A write that another store made.
#[derive(Debug)]
pub struct RemoteWrite {
    /// Which write.
    pub dot: Dot,
    /// When.
    pub hlc: Hlc,
    /// The version that it replaced where it was made.
    pub prev: Option<Version>,
    /// Where.
    pub namespace: NamespaceId,
    /// Under which key.
    pub key: Bytes,
    /// What it did.
    pub change: RemoteChange,
}

/// What a remote write did.
#[derive(Debug)]
pub enum RemoteChange {
    /// Put an entry.
    Put {
        /// The value, received whole.
        body: NewBody,
        /// What was said beside it.
        attributes: Attributes,
    },
    /// Deleted it.
    Delete,
    /// Put one that has expired since, and whose body is gone at the source.
    Expired {
        /// When, in Unix seconds.
        expires_at: u64,
    },
}

/// What an operation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The put or delete was made.
    Written(Written),
    /// A piece of a body is there.
    Staged,
    /// The namespace as it is now.
    Namespace(Namespace),
    /// The member as it is now.
    Member(Member),
    /// What the location keeps for itself is as it was to be.
    Local,
    /// What became of a remote write.
    Applied(Applied),
}

/// The name and version of a local write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its dot.
    pub dot: Dot,
    /// Its version.
    pub version: Version,
}

/// What became of a remote write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It won and is visible; `concurrent` if the write that it replaced was not known to it.
    Won {
        /// Two writes were made without knowledge of each other.
        concurrent: bool,
    },
    /// A later write is there.
    Lost,
    /// It was here already.
    Known,
    /// Its namespace is dropped: counted, not stored.
    Dropped,
    /// A session's vector was adopted.
    Adopted,
    /// Writes before it are missing, from this number on; nothing was changed.
    Gap {
        /// The first missing sequence number.
        missing: u64,
    },
    /// Another write has this version: two other stores share one identity. Nothing was changed.
    Conflict,
    /// It is, or counts, a write of this store that this store did not make: another has its identity,
    /// or it went back in time. Nothing was changed.
    NotMade,
    /// Not a write that a store could have made (over a bound, say). Nothing was changed.
    Refused(&'static str),
}

impl Operation {
    /// Whether the operation keeps within its bounds: checked before it waits in the queue, so that
    /// what waits there is bounded too.
    pub(crate) fn check(&self) -> Result<(), WriteError> {
        match self {
            Operation::Put { key, attributes, .. } => {
                check_key(key)?;
                check_attributes(attributes)
            }
            Operation::Delete { key, .. } => check_key(key),
            Operation::CreateNamespace { account, title, .. } => {
                check_title(account, title).map_err(WriteError::Invalid)
            }
            Operation::RenameNamespace { title, .. } => {
                check_title("", title).map_err(WriteError::Invalid)
            }
            Operation::SaveLocal { name, parts } => {
                check_name(name)?;
                check_parts(parts)
            }
            Operation::DropLocal { name } => check_name(name),
            Operation::PutMember { id, origins, name, addresses } => {
                let (id, origins, removed) = (*id, *origins, false);
                let (name, addresses) = (name.clone(), addresses.clone());
                let member = Member { id, origins, name, addresses, removed };
                member.check().map_err(WriteError::Invalid)
            }
            Operation::Stage(_)
            | Operation::DropNamespace { .. }
            | Operation::RemoveMember { .. }
            | Operation::Remote(_) => Ok(()),
        }
    }

    /// About how many bytes of values the operation holds in memory.
    pub(crate) fn body_bytes(&self) -> usize {
        let body = match self {
            Operation::Put { body, .. } => body,
            Operation::Stage(chunk) => return chunk.bytes.len(),
            Operation::SaveLocal { parts, .. } => {
                return parts.iter().map(NewBody::bytes_in_memory).sum();
            }
            Operation::Remote(Remote::Next(write) | Remote::Row(write)) => match &write.change {
                RemoteChange::Put { body, .. } => body,
                RemoteChange::Delete | RemoteChange::Expired { .. } => return 0,
            },
            _ => return 0,
        };
        body.bytes_in_memory()
    }
}
