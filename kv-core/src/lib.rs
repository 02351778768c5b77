#![doc = include_str!("../README.md")]

mod body;
mod cluster_clock;
#[doc(hidden)]
pub mod codec;
#[doc(hidden)]
pub mod commit;
#[doc(hidden)]
pub mod engine;
pub mod env;
mod error;
mod options;
mod places;
mod published;
mod replication;
mod store;
mod tables;
mod ticket;
mod types;
#[doc(hidden)]
pub mod view;
#[doc(hidden)]
pub mod writer;

pub use body::{Body, BodyReader, Entry, LocalReader};
pub use commit::{Operation, Outcome, Upload, Written};
pub use engine::{Mode, Room, Status};
pub use env::RandomError;
pub use error::{InvalidWrite, OpenError, ReadError, Taken, WriteError};
pub use options::{Durability, Observer, Options};
pub use store::{Iter, Keys, Store, WriteBatch};
pub use tables::FORMAT_VERSION;
pub use ticket::{Ticket, TicketFuture};
pub use types::{
    AccessToken, AccessTokenError, AccessTokenId, AccessTokens, Account, AccountError, Attributes,
    Dot, FeatureInUse, Features, FeaturesInUse, Hlc, Key, KeyError, LimitOverride, LimitOverrides,
    ListQuery, Listed, LocalName, LocalNameError, Member, MemberError, MemberId, Members, Metadata,
    MetadataError, Namespace, NamespaceId, Namespaces, OriginId, OriginInfo, OriginRegistry,
    OverrideError, OverrideRule, OverrideTarget, Owed, OwedKeys, OwedReason, Page, ParseIdError,
    Software, SoftwareError, SoftwareVersion, Title, TitleConflict, TitleError, Version,
    VersionVector, derive_id, limits, visible,
};

// The exports below, and the hidden modules above, are for replication, the simulator and the tests. They may
// change in any release.
#[doc(hidden)]
pub use {
    body::{ChunkSource, NewBody, StagedChunk},
    cluster_clock::ClusterClock,
    engine::{Table, heir::Heir},
    error::advice,
    replication::{Replication, TurnOutcome},
    store::StoreView,
    tables::check_row,
    types::{
        BodyId, Change, Clock, DamagedKey, Field, FieldError, FieldNumber, FieldValue, Found,
        FoundState, JoinedRow, LOST_MEMBER, Lane, Large, Merge, OriginEntry, Present, Rank,
        SystemRow, UNPLACED, merge,
    },
};
