#![doc = include_str!("../README.md")]

mod address;
mod bulk;
mod call;
mod client;
mod connect;
mod entry;
mod envelope;
mod error;
mod list;
mod namespace;
mod pinned;
mod retry;
pub mod tls;
mod upload;

pub use address::{Address, AddressError};
pub use bulk::{BulkOutcome, MAX_BULK_ITEMS, Pair, TextEntry};
pub use client::{BuildError, Client, ClientBuilder, NamespaceInfo};
pub use entry::Entry;
pub use envelope::Note;
pub use error::{ConnectError, Error};
pub use list::{List, Listed, Page};
pub use namespace::{Attributes, Expiry, Namespace};
pub use retry::Retry;
pub use upload::Upload;
