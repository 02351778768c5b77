//! Values: on their way into the store, in the ledger of large bodies, and on their way out.
//!
//! Large bodies are written in chunks before the put that makes them visible, read chunk by chunk without
//! a snapshot, and freed after their last reader.

mod ledger;
mod local;
mod new;
mod reader;

pub(crate) use self::{
    ledger::Bodies,
    new::{NewBodyKind, UploadTicket},
};
pub use self::{
    local::LocalReader,
    new::{NewBody, StagedChunk},
    reader::{Body, BodyReader, ChunkSource, Entry},
};
