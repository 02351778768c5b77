//! What the APIs of keys and values share: keys, queries, lists, cursors, expirations, metadata, values,
//! uploads, bulk gets, permissions.
//!
//! The binding API and the REST API differ in paths, headers and the form of errors, but not in what a key, an
//! expiration or a value may be. The modules that only convert bytes to meaning and back are functions of their
//! arguments alone.

pub mod bulk_get;
pub mod cursor;
pub mod error;
pub mod expiry;
pub mod invalid;
pub mod key;
pub mod list;
pub mod metadata;
pub mod permission;
pub mod query;
pub mod text;
pub mod upload;
pub mod value;

pub use error::KvError;
pub use invalid::{Invalid, Rule};
pub use list::ListRequest;
