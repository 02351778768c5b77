//! The plan of a run: its operations, its faults, and the conditions.

use kv_replicate::PINNED_BYTES;
use waypost_disk_tests::rng::Rng;

/// The plan of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The number of locations at the beginning.
    pub nodes: usize,
    /// The number of client operations.
    pub operations: u64,
    /// The mean time between two operations, in milliseconds.
    pub pause_ms: u64,
    /// The number of faults, spread over the operations.
    pub faults: u64,
    /// The kinds of faults, with their weights.
    pub kinds: Vec<(u64, Fault)>,
    /// The percentage of messages that are lost.
    pub loss: u64,
    /// The percentage of messages that are duplicated.
    pub repeat: u64,
    /// Whether messages overtake each other.
    pub reorders: bool,
    /// The greatest one-way latency between two locations, in milliseconds.
    pub latency_ms: u64,
    /// The greatest error of a clock that is right, in milliseconds.
    pub skew_ms: u64,
    /// Whether a clock may be wrong from the start on.
    pub steps_at_start: bool,
    /// The size of a backlog in bytes.
    pub backlog_bytes: usize,
    /// The number of rows in a batch.
    pub batch_rows: usize,
    /// The most bytes that are read from a pinned view for a session.
    pub pinned_bytes: u64,
    /// The percentage of values that are large.
    pub large: u64,
    /// The greatest time that a store takes for a request of its core, in milliseconds; 0 for no
    /// time.
    pub store_ms: u64,
    /// The number of keys.
    pub keys: u64,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A location loses power, now or within the next calls of its disk.
    Crash,
    /// A call of a disk fails.
    DiskFails,
    /// A disk is full for a while.
    DiskFull,
    /// One direction of a link is cut for a while.
    OneWayCut,
    /// The locations are partitioned in two groups for a while.
    Partition,
    /// A clock steps by seconds to years, and is set right later.
    ClockStep,
    /// The link to one location is slow for a while.
    SlowPeer,
    /// A location joins.
    Join,
    /// A location leaves for good.
    Leave,
    /// A location restarts from an old image of its disk.
    OldImage,
    /// A data directory is copied, and both copies run.
    Copy,
    /// A member reports to another one that it was removed, which is not true.
    Lie,
    /// A bit of a row, of a chunk of a large value, of a row of the dot index or of an opening row flips on a disk.
    Damage,
    /// The locations are partitioned, and drop, create and write to one namespace.
    NamespaceRace,
}

/// The number of locations that may join in addition to the initial ones.
pub const SPARE_NODES: usize = 3;

impl Fault {
    /// All kinds of faults.
    pub const ALL: [Fault; 14] = [
        Fault::Crash,
        Fault::DiskFails,
        Fault::DiskFull,
        Fault::OneWayCut,
        Fault::Partition,
        Fault::ClockStep,
        Fault::SlowPeer,
        Fault::Join,
        Fault::Leave,
        Fault::OldImage,
        Fault::Copy,
        Fault::Lie,
        Fault::Damage,
        Fault::NamespaceRace,
    ];
}

impl Plan {
    /// A random mix of all faults and conditions.
    #[must_use]
    pub fn mixed(rng: &mut Rng) -> Plan {
        // The last value stretches the run to about a day, in which even an idle link sends many
        // messages.
        let pause_ms = rng.weighted(&[(100, 2), (200, 20), (100, 100), (1, 300_000)]);
        let nodes = rng.weighted(&[(3, 2), (8, 3), (3, 4), (2, 5), (1, 7)]);
        Plan {
            nodes: if pause_ms > 1_000 { nodes.min(3) } else { nodes },
            operations: rng.between(200, 300),
            pause_ms,
            faults: rng.between(3, 12),
            kinds: vec![
                (4, Fault::Crash),
                (2, Fault::DiskFails),
                (1, Fault::DiskFull),
                (2, Fault::OneWayCut),
                (2, Fault::Partition),
                (3, Fault::ClockStep),
                (1, Fault::SlowPeer),
                (1, Fault::Join),
                (1, Fault::Leave),
                (1, Fault::OldImage),
                (1, Fault::Copy),
                (1, Fault::Lie),
                (2, Fault::Damage),
                (2, Fault::NamespaceRace),
            ],
            loss: rng.weighted(&[(4, 0), (3, 1), (2, 5), (1, 20)]),
            repeat: rng.weighted(&[(4, 0), (2, 2), (1, 10)]),
            reorders: rng.chance(50),
            latency_ms: rng.weighted(&[(2, 2), (4, 50), (2, 200)]),
            skew_ms: rng.weighted(&[(1, 0), (3, 100), (1, 240)]),
            steps_at_start: true,
            backlog_bytes: rng.weighted(&[(2, 0), (4, 2_000), (3, 20_000), (3, 8 << 20)]),
            batch_rows: rng.weighted(&[(2, 3), (3, 8), (3, 20), (2, 128)]),
            large: rng.weighted(&[(3, 0), (3, 4), (1, 15)]),
            store_ms: rng.weighted(&[(2, 0), (4, 3), (2, 40)]),
            keys: rng.weighted(&[(2, 6), (4, 24), (2, 300)]),
            pinned_bytes: rng.weighted(&[(1, 0), (2, 2_000), (3, PINNED_BYTES)]),
        }
    }

    /// A mixed plan in which many processes run on copies of one directory.
    #[must_use]
    pub fn with_copies(rng: &mut Rng) -> Plan {
        let mut plan = Plan::mixed(rng);
        plan.kinds.push((5, Fault::Copy));
        plan
    }

    /// A mixed plan with one kind of fault only.
    #[must_use]
    pub fn only(fault: Fault, rng: &mut Rng) -> Plan {
        let mut plan = Plan::mixed(rng);
        plan.kinds = vec![(1, fault)];
        plan
    }
}
