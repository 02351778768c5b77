//! How the locations of a store converge.
//!
//! [`Core`] is the protocol and nothing else: it is told what happened and what time it is, and says what
//! to send, what to ask of the store, and when to be called again. It has no clock, no socket, no thread
//! and no randomness, so that a simulator can drive it through virtual days, and a driver over QUIC
//! through real ones.
//!
//! # How it works
//!
//! | part | does |
//! |---|---|
//! | live | new writes go to each peer from a ring in memory; a receiver applies the next number of an origin, and asks again after a gap |
//! | heads | each says what it has, what it holds durably, and up to which time it is complete |
//! | catch-up | who lacks more than a ring holds takes all rows that its vector lacks, of any origin, from any peer |
//! | bodies | large values are fetched by who lacks them, beside all else |
//! | verifying | on demand, two compare all that they hold, by digests of ranges |
//! | stability | tombstones go when every member is complete up to their time |
//!
//! The merge itself, the vectors and the dot index are in `kv-core`.

mod backlog;
mod core;
pub mod inspect;
mod link;
#[cfg(feature = "quic")]
pub mod quic;
pub mod read;
pub mod replicator;
mod row;
mod verdict;
mod wire;
mod work;

pub use self::core::{
    Config, Core,
    members::CLOSED,
    status::{PeerState, SessionProgress},
};
pub use kv_core::MemberId;
pub use row::{Content, Row};
pub use verdict::{Difference, Ending, Verdict};
pub use wire::{MAX_MESSAGE_BYTES, WIRE_VERSION, check_message, reencode_message};
pub use work::{
    Batch, Channel, Event, How, Notice, Now, StoreState, ToApply, Transmit, Unread, Work,
};
