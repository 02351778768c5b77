//! Operations: the parts of a commit, and their outcomes.

use std::sync::Arc;

use super::applied::Applied;
use crate::{
    body::{NewBody, StagedChunk},
    types::{
        Account, Attributes, DamagedKey, Dot, FieldNumber, FieldValue, Hlc, JoinedRow, Key,
        LocalName, Member, MemberId, Namespace, NamespaceId, OriginId, Software, Title, Version,
        VersionVector,
    },
    view::{MetDamage, Repair, Repaired},
};

/// One part of a commit.
#[derive(Debug)]
#[non_exhaustive]
pub enum Operation {
    /// Puts an entry.
    Put {
        /// The namespace.
        namespace: NamespaceId,
        /// The key.
        key: Key,
        /// The value, from [`Upload::finish`](crate::Upload::finish).
        body: NewBody,
        /// Metadata and expiry.
        attributes: Attributes,
    },
    /// Puts an entry, unless its key has a write that is not older than a version: then nothing is changed. It copies an
    /// entry from elsewhere, of that version.
    PutOver {
        /// The namespace.
        namespace: NamespaceId,
        /// The key.
        key: Key,
        /// The value, from [`Upload::finish`](crate::Upload::finish).
        body: NewBody,
        /// Metadata and expiry.
        attributes: Attributes,
        /// The version that the key's write must be older than.
        over: Version,
    },
    /// Deletes an entry. Deleting a missing entry is a write too, because it must also delete an entry
    /// that another location has not sent yet.
    Delete {
        /// The namespace.
        namespace: NamespaceId,
        /// The key.
        key: Key,
    },
    /// Puts and deletes several entries, all or none, in order. Every body is inline or staged.
    Batch(Vec<BatchWrite>),
    /// Writes a chunk of a large body ahead of the put that makes it visible.
    Stage(StagedChunk),
    /// Creates a namespace.
    CreateNamespace {
        /// The account that it belongs to; empty where there are no accounts.
        account: Account,
        /// Its title, unique in the account.
        title: Title,
        /// Its id, if it must have a certain one.
        id: Option<NamespaceId>,
    },
    /// Gives a namespace another title.
    RenameNamespace {
        /// The namespace.
        id: NamespaceId,
        /// The new title, unique in its account.
        title: Title,
    },
    /// Drops a namespace with all its entries. It may be created again, and is empty then.
    DropNamespace {
        /// The namespace.
        id: NamespaceId,
    },
    /// Makes a location a member of the cluster, or changes its name and addresses.
    PutMember {
        /// The location.
        id: MemberId,
        /// Its name for people.
        name: String,
        /// Its addresses, `host:port` each.
        addresses: Vec<String>,
    },
    /// Records the program that a member runs.
    PutSoftware {
        /// The member.
        id: MemberId,
        /// Its program.
        software: Software,
    },
    /// Removes a location from the cluster for good.
    RemoveMember {
        /// The location.
        id: MemberId,
    },
    /// Stores bytes under a name for this location alone, in place of the bytes that were there. No peer
    /// gets them.
    SaveLocal {
        /// The name.
        name: LocalName,
        /// The bytes, one part after the other, at most
        /// [`MAX_LOCAL_PARTS`](crate::limits::MAX_LOCAL_PARTS).
        parts: Vec<NewBody>,
    },
    /// Drops the bytes that this location keeps under a name, if there are any.
    DropLocal {
        /// The name.
        name: LocalName,
    },
    /// Records the damage that readers met.
    Owe(Vec<MetDamage>),
    /// Makes the repairs of an examination that are still needed.
    Repair(Vec<Repair>),
    /// Writes fields of a row of the system namespace, under one dot and one version. The row's other fields stay. At
    /// least one field; of a number that is named twice the last value counts.
    WriteFields {
        /// The key of the row.
        key: Key,
        /// The fields.
        fields: Vec<(FieldNumber, FieldValue)>,
    },
    /// Applies a message of a peer.
    Remote(Remote),
}

/// One write of a batch.
#[derive(Debug)]
pub struct BatchWrite {
    /// The namespace.
    pub namespace: NamespaceId,
    /// The key.
    pub key: Key,
    /// The change to the key.
    pub content: NewContent,
}

/// The part of a peer's message that changes the store.
#[derive(Debug)]
pub enum Remote {
    /// The next write of an origin, from its live stream.
    Next(RemoteWrite),
    /// A row of a catch-up session, in any order; the vector is adopted at its end.
    Row(RemoteWrite),
    /// A row that a peer holds under its key, whether the vector counts it or not. It is applied if it is greater than
    /// the row that is here, if that can't be read, or, of one version, if it is a value and the row here is its
    /// expired tombstone.
    Found(RemoteWrite),
    /// The next write of an origin, without its row: its key holds that write already, or a later one.
    Skip(SkippedWrite),
    /// The end of a catch-up session: all writes that these vectors count are here.
    Adopt {
        /// The version vector of the source's last snapshot.
        vector: VersionVector,
        /// The source's collected vector.
        collected: VersionVector,
        /// A time that no tombstone which the source has collected is later than:
        /// [`View::collected_upto`](crate::view::View::collected_upto). Other peers may still hold some of these, and no
        /// later write here may lose to them.
        floor: Hlc,
        /// The keys of writes that the vector counts and that the source could not read.
        damaged: Vec<DamagedKey>,
    },
    /// No member has a row of this owed key, and one of them counts all that was known when it was first asked for. A value
    /// here that is one of these writes was deleted there, and the tombstone was collected: this store lacks the
    /// deletion, because it was restored from an older image, and the source that it caught up from could not read it.
    Ended {
        /// The namespace.
        namespace: NamespaceId,
        /// The key.
        key: Key,
        /// The writes that the member counts.
        counted: Arc<VersionVector>,
    },
    /// Every current member has answered for this key, and the greatest row was applied: it is not owed any more.
    Settled {
        /// The namespace.
        namespace: NamespaceId,
        /// The key.
        key: Key,
        /// No member has a row: one that is here and can't be read is removed.
        is_nothing: bool,
        /// No member can read its row: every copy is destroyed. If there is no earlier one either, the key stays owed, so
        /// that it is reported until it is put again.
        is_destroyed: bool,
    },
    /// The store lacks deletions that a peer has collected: from here on it rebuilds.
    Rebuild,
    /// While the store rebuilds: the source counts this write and has no row of the key, so that the row is
    /// removed, if it still is this write.
    DropRow {
        /// The namespace, which is not the system namespace.
        namespace: NamespaceId,
        /// The key.
        key: Key,
        /// The write that the key must still hold.
        dot: Dot,
    },
    /// While the store rebuilds: rows are removed in this commit that the source neither counts nor has, because a
    /// deletion that it has collected may be later. They may have replaced others that the source does not count. So
    /// nothing counts here from now on that the source does not count: what a peer has of it comes back from there. If
    /// that concerns the origins that this process writes under, it opens others with its next write.
    Uncount {
        /// The writes that the source counts.
        vector: VersionVector,
    },
    /// More is counted of an origin than its process has made: a member has lied. Nothing but its opening row is counted
    /// from now on, so that a session brings the rest. The rows that are here stay.
    Disown {
        /// The origin, which is not one that this process writes under.
        origin: OriginId,
        /// How many writes its process has made.
        made: u64,
    },
    /// The end of a rebuild: the vectors of the source are adopted as by [`Remote::Adopt`], and the store no longer
    /// rebuilds.
    Rebuilt {
        /// The version vector of the source's last snapshot.
        vector: VersionVector,
        /// The source's collected vector.
        collected: VersionVector,
        /// The time as in [`Remote::Adopt`].
        floor: Hlc,
        /// The keys of writes that the vector counts and that the source could not read.
        damaged: Vec<DamagedKey>,
    },
}

/// A write that another store made.
#[derive(Debug)]
pub struct RemoteWrite {
    /// Its name.
    pub dot: Dot,
    /// Its time.
    pub hlc: Hlc,
    /// The version that it replaced at the location that made it.
    pub prev: Option<Version>,
    /// The namespace.
    pub namespace: NamespaceId,
    /// The key.
    pub key: Key,
    /// The change to the key.
    pub change: NewContent,
}

/// A write that another store made, and that is counted without its row.
#[derive(Debug)]
pub struct SkippedWrite {
    /// Its name.
    pub dot: Dot,
    /// Its time.
    pub hlc: Hlc,
    /// The namespace.
    pub namespace: NamespaceId,
    /// The key.
    pub key: Key,
}

/// The change that a write makes to its key, local or remote.
#[derive(Debug)]
pub enum NewContent {
    /// It puts a value.
    Put {
        /// The value.
        body: NewBody,
        /// Metadata and expiry.
        attributes: Attributes,
    },
    /// It deletes the key.
    Delete,
    /// It put a value that has expired since, and whose body is gone at the source.
    Expired {
        /// The time of expiry, in Unix seconds.
        expires_at: u64,
    },
    /// It wrote fields of a row of the system namespace. This is the whole row as the sender has it.
    Joined(Arc<JoinedRow>),
}

/// The outcome of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The put or delete was committed.
    Written(Written),
    /// The key has a write that is not older: nothing was changed.
    Kept,
    /// The batch was committed: its writes in their order.
    Batch(Vec<Written>),
    /// A chunk of a body was staged.
    Staged,
    /// The namespace as it is now.
    Namespace(Namespace),
    /// The member as it is now.
    Member(Member),
    /// The bytes that the location keeps for itself were stored or dropped.
    Local,
    /// The damage was recorded, if it was still there.
    Owed,
    /// These repairs were made. The others were not needed any more.
    Repaired(Repaired),
    /// The outcome of a remote write.
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

impl Operation {
    /// Returns about how many bytes the operation holds in memory while it waits.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        match self {
            Operation::Batch(writes) => writes.iter().map(BatchWrite::bytes_in_memory).sum(),
            // By design no other operation needs more than one place of the queue.
            _ => 0,
        }
    }

    /// Whether the operation writes values. A disk that was full takes only others: deletes, and the small rows of
    /// namespaces and of the cluster.
    pub(super) fn has_values(&self) -> bool {
        let is_put = |content: &NewContent| matches!(content, NewContent::Put { .. });
        match self {
            Operation::Put { .. }
            | Operation::PutOver { .. }
            | Operation::Stage(_)
            | Operation::SaveLocal { .. } => true,
            Operation::Batch(writes) => writes.iter().any(|write| is_put(&write.content)),
            Operation::Remote(Remote::Next(write) | Remote::Row(write) | Remote::Found(write)) => {
                is_put(&write.change)
            }
            _ => false,
        }
    }

    /// Returns how much the operation counts of what one commit may hold, about its bytes of values.
    pub(crate) fn body_bytes(&self) -> usize {
        match self {
            Operation::Put { body, .. } | Operation::PutOver { body, .. } => body.bytes_in_memory(),
            Operation::Stage(chunk) => chunk.bytes.len(),
            Operation::SaveLocal { parts, .. } => parts.iter().map(NewBody::bytes_in_memory).sum(),
            Operation::Batch(writes) => writes.iter().map(BatchWrite::weight).sum(),
            Operation::Remote(Remote::Next(write) | Remote::Row(write) | Remote::Found(write)) => {
                write.change.bytes_in_memory()
            }
            _ => 0,
        }
    }
}

impl NewContent {
    /// Returns about how many bytes the value and the metadata take in memory.
    fn bytes_in_memory(&self) -> usize {
        match self {
            NewContent::Put { body, attributes } => {
                let metadata = attributes.metadata.as_ref().map_or(0, |text| text.len());
                body.bytes_in_memory() + metadata
            }
            NewContent::Delete | NewContent::Expired { .. } => 0,
            NewContent::Joined(row) => row.encoded_len(),
        }
    }
}

impl BatchWrite {
    /// Returns about how many bytes the write takes in memory.
    fn bytes_in_memory(&self) -> usize {
        const OVERHEAD_BYTES: usize = 128;
        OVERHEAD_BYTES + self.key.len() + self.content.bytes_in_memory()
    }

    /// Returns how much a write of a batch counts of what one commit may hold: at least a page of the
    /// engine, so that a commit of many small writes is short too.
    fn weight(&self) -> usize {
        const PAGE_BYTES: usize = 4096;
        self.content.bytes_in_memory().max(PAGE_BYTES)
    }
}
