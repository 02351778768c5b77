//! Identity and bounds of a core.

use kv_core::Software;

use crate::MemberId;

/// The most bytes of rows and of their large bodies that are read from one view which is pinned for a round of a
/// session. It bounds, with the time that a view stays pinned, by how much the file grows meanwhile.
pub const PINNED_BYTES: u64 = 64 << 20;

/// The identity of a core, and its bounds.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's id. Peers of other clusters are rejected.
    pub cluster: [u8; 16],
    /// This location's member id.
    pub member: MemberId,
    /// A random number that differs at each start of the process. Not 0.
    pub incarnation: u64,
    /// The program, as it is reported to peers: [`software`](crate::software) describes this one.
    pub software: Software,
    /// How many bytes of new writes of each origin are kept in memory for peers. 8 MiB is a good value.
    pub backlog_bytes: usize,
    /// The most rows of a catch-up session that are read at a time; [`MAX_BATCH_BYTES`] usually ends a batch
    /// earlier. 4,096 is a good value: about ten milliseconds of reading.
    ///
    /// [`MAX_BATCH_BYTES`]: crate::work::MAX_BATCH_BYTES
    pub batch_rows: usize,
    /// The most bytes of rows and of their large bodies that are read from one pinned view for a session: see
    /// [`PINNED_BYTES`]. 0 pins none.
    pub pinned_bytes: u64,
    /// The largest difference between two clocks that are right, in milliseconds. 500 is a good value.
    pub max_clock_skew_ms: u64,
}

impl Config {
    /// Creates a configuration with default bounds. `incarnation` is a random number that differs at each
    /// start, and not 0.
    #[must_use]
    pub fn new(cluster: [u8; 16], member: MemberId, incarnation: u64) -> Config {
        Config {
            cluster,
            member,
            incarnation,
            software: crate::software(),
            backlog_bytes: 8 << 20,
            batch_rows: 4_096,
            pinned_bytes: PINNED_BYTES,
            max_clock_skew_ms: 500,
        }
    }
}
