//! Errors, one enum for each family of calls. Each variant documents what happened to the data and whether a
//! retry helps.

use crate::{
    codec::DecodeError,
    engine::{EngineError, Table, disk::DirectoryError},
    types::{
        AccountError, FeatureInUse, KeyError, LocalNameError, MemberError, MemberId, MetadataError,
        NamespaceId, SoftwareVersion, Title, TitleError,
        limits::{
            END_OF_TIME, MAX_BATCH_BYTES, MAX_BATCH_WRITES, MAX_LOCAL_PARTS, MAX_MEMBER_ORIGINS,
            MAX_MEMBERS, MAX_ORIGINS, MAX_OVERRIDE_TEXT, MAX_OVERRIDES, MAX_VALUE_BYTES,
        },
    },
};

/// Why a store did not open. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another handle in this one, has the directory open.
    #[error("{0} is in use by another process: stop it, or name another data directory")]
    Locked(String),
    /// The directory or a file in it can't be created, read or locked.
    #[error("{path}: {source}{}", advice(source))]
    Directory {
        /// The path that could not be opened.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A newer program wrote this store, or began to migrate it.
    #[error(
        "this store has format {found}, and this program reads format {known}: start {}, or a newer version",
        program_of(by.as_ref())
    )]
    Format {
        /// The format on disk.
        found: u32,
        /// The format that this program reads.
        known: u32,
        /// The version of the program that gave the store its format, if that can be read.
        by: Option<SoftwareVersion>,
    },
    /// The store is older than the migrations of this program reach.
    #[error(
        "this store has format {found}, and this program reads and migrates formats from {oldest} on: open it once with \
         an older version that migrates it; there is none for format 1, which was never released: begin with an empty \
         data directory"
    )]
    OldFormat {
        /// The format on disk.
        found: u32,
        /// The oldest format that this program migrates.
        oldest: u32,
    },
    /// The cluster of this store uses features that this program does not have.
    #[error(
        "the cluster of this store uses {}, and this program, version {program}, does not have that: start the version \
         that is named, or a newer one",
        listed(lacking)
    )]
    Features {
        /// The version of this program.
        program: SoftwareVersion,
        /// The features that it lacks.
        lacking: Vec<FeatureInUse>,
    },
    /// The file is not a store, or it is damaged where opening must read.
    #[error("this is not a store, or it is damaged: {0}")]
    Corrupt(String),
    /// The store belongs to another location than the one that was named.
    #[error(
        "this store belongs to location {found}, and location {expected} was to be opened: name the data \
         directory of that location, or empty this one to begin a new store"
    )]
    Member {
        /// The location that the store belongs to.
        found: MemberId,
        /// The location that was named, see [`Options::member`](crate::Options::member).
        expected: MemberId,
    },
    /// The engine did not open.
    #[error(transparent)]
    Engine(EngineError),
    /// The system gave no random bytes for the store's identity.
    #[error("no randomness for the store's identity: {0}")]
    Random(#[from] RandomError),
}

/// What to do about a path that can't be used, to be appended to the error; empty if nothing is known.
#[must_use]
pub fn advice(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{NotADirectory, PermissionDenied, ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        NotADirectory => "; name a directory, or move the file away",
        PermissionDenied => {
            "; make the user of this process the owner of the directory (chown), or name another one"
        }
        ReadOnlyFilesystem => "; mount the file system for writing, or name another directory",
        StorageFull => "; free some space on this disk",
        _ => "",
    }
}

/// Names the program that is needed.
fn program_of(by: Option<&SoftwareVersion>) -> String {
    by.map_or_else(|| "the program that wrote it".into(), |version| format!("version {version}"))
}

/// Lists features and the versions that have them.
fn listed(features: &[FeatureInUse]) -> String {
    let one = |feature: &FeatureInUse| format!("{} (version {})", feature.name, feature.since);
    features.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl From<DirectoryError> for OpenError {
    fn from(error: DirectoryError) -> OpenError {
        match error {
            DirectoryError::Locked(path) => OpenError::Locked(path),
            DirectoryError::Io { path, source } => OpenError::Directory { path, source },
        }
    }
}

/// The system gave no random bytes. The value is its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RandomError(pub String);

/// Why a read failed. Reads change nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The namespace does not exist, or was dropped.
    #[error("no namespace {0}")]
    UnknownNamespace(NamespaceId),
    /// A row is damaged, here or at the location from which this store caught up. Other keys are not affected.
    /// The store records the key. In a cluster the entry is fetched from the other locations, usually
    /// within seconds. A put or delete of the key repairs it too.
    #[error(
        "this entry is damaged on the disk of this location ({table:?}: {reason}): it is fetched from the other \
         locations, if there are any; a put or a delete of the key repairs it too"
    )]
    Damaged {
        /// The table of the row.
        table: Table,
        /// The mistake in it.
        reason: DecodeError,
    },
    /// A large body is not the one that was written. What [`ReadError::Damaged`] says holds for it too.
    #[error(
        "this value is damaged on the disk of this location ({0}): it is fetched from the other locations, if \
         there are any; a put or a delete of the key repairs it too"
    )]
    DamagedBody(&'static str),
    /// The changes since a version vector are incomplete: a tombstone that it lacks was collected. List
    /// the namespace instead.
    #[error("the changes since this point were collected: list the namespace instead")]
    Gone,
    /// The engine can't read. After a disk failure a retry may help.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl ReadError {
    /// Makes the error of a row that can't be decoded.
    pub(crate) fn damaged(table: Table) -> impl FnOnce(DecodeError) -> ReadError {
        move |reason| ReadError::Damaged { table, reason }
    }
}

/// Why a write was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The namespace does not exist, or was dropped. Nothing was changed.
    #[error("no namespace {0}")]
    UnknownNamespace(NamespaceId),
    /// The write breaks a rule or a bound. Nothing was changed; the same write is rejected again.
    #[error(transparent)]
    Invalid(#[from] InvalidWrite),
    /// The name or id is in use. Nothing was changed.
    #[error(transparent)]
    Taken(#[from] Taken),
    /// Too many writes are waiting. Nothing was changed; retry shortly.
    #[error("too many writes are waiting: try again shortly")]
    QueueFull,
    /// The disk is full. Nothing was changed; retry when there is space. Deletes and drops of namespaces make some: a
    /// reserve of the disk is kept for them.
    #[error(
        "the disk is full: nothing was written; delete entries or namespaces, or free some space on this disk, and try \
         again"
    )]
    DiskFull,
    /// The store takes no writes; the reason. Nothing was changed.
    #[error("nothing was written: {0}")]
    ReadOnly(String),
    /// The disk failed before the write was durable; the reason. Nothing was changed.
    #[error("nothing was written: {0}")]
    Failed(String),
    /// The disk failed while the write was made durable; the reason. The write may or may not survive.
    /// Read it back, or repeat it.
    #[error("the disk failed and the outcome is not known: {0}")]
    OutcomeUnknown(String),
    /// This location's clock shows the year 2200 or later, or the key was written by one that did. Nothing was
    /// changed; retry when the clock is right.
    #[error(
        "nothing was written: the clock shows the year 2200 or later, or wrote this key when it did: set \
         the clock of this machine"
    )]
    EndOfTime,
    /// The store was closed before this write. Nothing was changed.
    #[error("the store is closed")]
    Closed,
    /// Another process runs on a copy of this store's directory and started later. Nothing was changed. Only a
    /// restart ends this: then this process is the later one.
    #[error(
        "another process runs as location {0} on a copy of this data directory and started later than this \
         one, so nothing was written: stop one of the two; if this one is to continue, stop the other and \
         restart this one"
    )]
    Superseded(MemberId),
    /// The cluster, or this location, has started as often as it can. Nothing was changed.
    #[error(
        "a cluster knows at most {MAX_ORIGINS} origins, {MAX_MEMBER_ORIGINS} of one location, and each start \
         of a location opens two, so nothing was written: make a new cluster, or let this location join again \
         with an empty data directory"
    )]
    TooManyOrigins,
}

/// The rule or bound that a write breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidWrite {
    /// See [`Key`](crate::Key).
    #[error(transparent)]
    Key(#[from] KeyError),
    /// See [`Metadata`](crate::Metadata).
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The value is longer than [`MAX_VALUE_BYTES`].
    #[error("a value has at most {MAX_VALUE_BYTES} bytes")]
    Value,
    /// The entry expires at [`END_OF_TIME`] or later.
    #[error("an entry expires before the year 2200 (Unix second {END_OF_TIME})")]
    Expiry,
    /// The batch has more than [`MAX_BATCH_WRITES`] writes.
    #[error("a batch has at most {MAX_BATCH_WRITES} writes: use several batches")]
    BatchWrites,
    /// The batch is larger than [`MAX_BATCH_BYTES`].
    #[error(
        "a batch has at most {MAX_BATCH_BYTES} bytes of keys, metadata and short values: use several \
         batches"
    )]
    BatchBytes,
    /// See [`Title`].
    #[error(transparent)]
    Title(#[from] TitleError),
    /// See [`Account`](crate::Account).
    #[error(transparent)]
    Account(#[from] AccountError),
    /// See [`LocalName`](crate::LocalName).
    #[error(transparent)]
    LocalName(#[from] LocalNameError),
    /// There are more than [`MAX_LOCAL_PARTS`] parts under one local name.
    #[error(
        "a location keeps at most {} bytes under one name",
        MAX_LOCAL_PARTS as u64 * MAX_VALUE_BYTES
    )]
    LocalParts,
    /// There are as many overrides of rate limits as there may be.
    #[error(
        "there are as many overrides of rate limits as there may be ({MAX_OVERRIDES}, or {} MiB of names and keys): \
         delete some, or let them expire",
        MAX_OVERRIDE_TEXT >> 20
    )]
    Overrides,
    /// The write to a row of the system namespace names no field.
    #[error("a write to a system row names no field: name at least one")]
    NoFields,
    /// The member can't be described so.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The cluster has [`MAX_MEMBERS`] members that have not left.
    #[error(
        "a cluster has at most {MAX_MEMBERS} locations: remove one that is gone for good first"
    )]
    TooManyMembers,
    /// No member has this id.
    #[error("no location {0} is in this cluster: name one of its members")]
    UnknownMember(MemberId),
    /// A location can't remove itself, because no other member would learn of it.
    #[error(
        "a location can't remove itself, because its peers would not learn of it: remove it at another"
    )]
    RemovesItself,
}

/// The name or id that is in use, and by which namespace or location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Taken {
    /// A namespace of the account has this title.
    #[error("a namespace titled {title:?} exists already: {by}")]
    Title {
        /// The title.
        title: Title,
        /// The namespace that has it.
        by: NamespaceId,
    },
    /// A namespace has this id.
    #[error("a namespace with the id {0} exists already")]
    Id(NamespaceId),
    /// Another location has this name.
    #[error("another location is called {name:?}: {by}")]
    MemberName {
        /// The name.
        name: String,
        /// The location that has it.
        by: MemberId,
    },
    /// The location has left the cluster, and its id can't be used again.
    #[error("the location {0} has left the cluster: it must join with a new store and id")]
    MemberLeft(MemberId),
}

macro_rules! invalid {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for WriteError {
            fn from(error: $error) -> WriteError {
                WriteError::Invalid(error.into())
            }
        }
    )*};
}

invalid!(KeyError, MetadataError, TitleError, AccountError, LocalNameError, MemberError);
