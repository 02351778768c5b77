//! One location's storage engine: a key-value store that converges with its peers.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! let store = kv_core::Store::open(directory.path())?;
//! let sessions = store.create_namespace("sessions")?.id;
//! store.put(sessions, "user:1", "hello")?;
//! let entry = store.get(sessions, "user:1")?.expect("it was just put");
//! assert_eq!(entry.body.read()?, "hello");
//! # Ok(())
//! # }
//! ```
//!
//! A [`put`](Store::put) that has returned is on the disk. Reads never wait for writes. Entries have
//! metadata and may expire ([`Attributes`]); values of up to 25 MiB are streamed in
//! ([`Store::upload`]) and out ([`BodyReader`]).
//!
//! # How it is built
//!
//! | layer | what it knows |
//! |---|---|
//! | [`Store`] | threads: a queue, one writer thread with group commit, many readers |
//! | `writer` | the order of commit, sync, rollback, publication and answer: a state machine without thread and clock |
//! | [`commit::Committer`], [`view::View`] | the data: a batch becomes rows, dots and versions; rows become entries. No thread, no clock |
//! | [`engine::Engine`] | byte-ordered tables, atomic commits, snapshots: redb |
//! | [`engine::disk::StorageBackend`] | reads, writes and syncs of one file: the real disk, or a test's |
//!
//! Every write has a [`Version`], (hybrid logical clock, origin), and the larger wins at every
//! location; it has a [`Dot`], (origin, sequence number), and the dot index finds what a peer lacks
//! from any [`VersionVector`]. Beside its entries a location may keep bytes for itself, which no peer
//! gets ([`Store::save_local`]). The crate sends nothing over a network: `kv-replicate` does.

pub mod body;
pub mod changes;
mod check;
pub mod codec;
pub mod commit;
mod crdt;
pub mod engine;
mod entry;
pub mod env;
mod error;
mod hlc;
mod id;
pub mod limits;
mod local;
mod member;
mod namespace;
pub mod operation;
mod options;
mod origins;
mod record;
mod replication;
pub mod scan;
mod schema;
mod store;
mod system;
mod ticket;
mod version;
pub mod view;
#[doc(hidden)]
pub mod writer;

pub use body::{BodyReader, Upload};
pub use check::check_row;
pub use crdt::{Merge, Rank, VersionVector, merge};
pub use engine::{Mode, Status};
pub use entry::{Attributes, Body, BodyId, Entry, ListQuery, Listed, Page};
pub use error::{OpenError, ReadError, WriteError};
pub use hlc::{Clock, Hlc};
pub use id::{NamespaceId, OriginId, ParseIdError};
pub use local::LocalReader;
pub use member::{Member, MemberId, Members};
pub use namespace::{Namespace, Namespaces, derive_id};
pub use operation::{Operation, Outcome, Written};
pub use options::{Durability, Observer, Options};
pub use record::FORMAT_VERSION;
pub use replication::{Replication, TurnOutcome};
pub use schema::Table;
pub use store::{Store, StoreView};
pub use system::SystemEntry;
pub use ticket::{Ticket, TicketFuture};
pub use version::{Dot, Version};
