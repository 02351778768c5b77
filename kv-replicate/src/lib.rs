//! Replication between the locations of a key-value store.
//!
//! [`Core`] is the protocol and nothing else. Its owner reports events and the time; it returns messages
//! to send, work for the store, and the time at which it wants to be called again. It has no clock, no
//! socket, no thread and no randomness, so that a simulator can drive it through virtual days, and a driver
//! over QUIC (`quic`, behind the feature of that name) through real ones.
//!
//! # How it works
//!
//! | part | does |
//! |---|---|
//! | live | sends new writes to each peer from a backlog in memory; a receiver applies the next sequence number of an origin, and requests the rest after a gap |
//! | progress | reports what a location has, what it holds durably, and up to which time it has everything |
//! | catch-up | a location that lacks more than a backlog holds takes all rows that its version vector lacks, of any origin, from any peer |
//! | bodies | a location fetches large values that it lacks, beside everything else |
//! | verifying | on demand, two locations compare all that they hold, by digests of ranges |
//! | stability | tombstones are dropped once every member has everything up to their time |
//!
//! The merge itself, the version vectors and the dot index are in `kv-core`.
//!
//! # Example
//!
#![doc = concat!("```\n", include_str!("../examples/two_stores.rs"), "```")]

mod clock;
mod condition;
mod core;
mod drive;
mod halt;
pub mod inspect;
mod notice;
#[cfg(feature = "quic")]
pub mod quic;
pub mod read;
pub mod replicator;
mod row;
mod verdict;
mod wire;
mod work;

pub use self::core::{
    CLAIM, Config, Core, FAR_AHEAD, PINNED_BYTES, PeerState, SessionProgress, Skipped, StableState,
};
pub use clock::ClockState;
pub use condition::{Condition, MAX_CONDITIONS};
pub use drive::drive;
pub use halt::HaltReason;
pub use kv_core::MemberId;
pub use notice::Notice;
pub use row::{Content, KeyState, Row, SalvagedRow, ValuePart};
pub use verdict::{Difference, Ending, Reason, Unsettled, Verdict, Verification, Waits};
pub use wire::{
    MAX_MESSAGE_BYTES, MAX_USAGE_BYTES, MessageError, OLDEST_WIRE_VERSION, WIRE_VERSION,
    check_message, reencode_message, software,
};
pub use work::{
    Batch, Channel, Event, FoundBody, How, MAX_BATCH_BYTES, Now, Settled, StoreState, ToApply,
    Transmit, Unread, Work,
};
