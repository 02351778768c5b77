//! The store as its users see it: many readers and writers over one writer thread.

mod batch;
mod examine;
mod handle;
mod iter;
mod local;
mod namespaces;
mod read;
mod replicate;
mod write;

pub use self::{
    batch::WriteBatch,
    handle::{Store, StoreView},
    iter::{Iter, Keys},
};
