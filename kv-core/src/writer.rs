//! The writer: batches, commits, syncs, rolls back, publishes and acknowledges.
//!
//! [`WriterCore`] is the state machine. It has no thread, no channel and no clock: a driver gives it
//! operations and the time, runs the [`Step`]s that are due, and delivers the [`Output`]s. The store's writer
//! thread is one driver; the simulator and the fuzz targets are others, so that what they test is what ships.
//!
//! Group commit as in DeWitt et al., "Implementation Techniques for Main Memory Database Systems"
//! (1984): while one sync runs the next batch gathers, so the batch grows with the load.

mod batch;
mod clock;
mod collector;
mod core;
mod grace;
mod health;
mod outputs;
mod pace;
mod replicating;
mod step;
mod thread;
mod timer;
mod trust;

pub use self::{
    core::WriterCore,
    step::{Answer, Now, Output, Step, WriterConfig},
};
pub(crate) use thread::{Message, Request, SharedWithWriter, Writer};
