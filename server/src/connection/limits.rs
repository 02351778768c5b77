//! The bounds of connections; what happens at each is in the table of [`connection`](super).

use std::{num::NonZeroU32, time::Duration};

/// The bounds of connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time for the head of a request, from its first byte; for the first request, from the connection.
    pub header: Duration,
    /// Time between two requests.
    pub idle: Duration,
    /// Time between two pieces of a request's body.
    pub body: Duration,
    /// Time between two pieces of a response that its client reads.
    pub response: Duration,
    /// Connections at a time.
    pub connections: NonZeroU32,
    /// Bytes of a request's head, at least 8 KiB.
    pub header_bytes: u32,
}
