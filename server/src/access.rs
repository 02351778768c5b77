//! What a client may use: the APIs that a listener serves.

pub mod apis;

pub use apis::{ApiName, Apis, UnknownApi};
