//! Counters of packets and bytes.

use std::ops::AddAssign;

use crate::Way;

/// The packets that entered one direction. Bytes are those of the datagrams, without the headers of
/// UDP and IP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// The packets that were delivered, including duplicates.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The packets that were dropped: lost, cut off, beyond the queue, or rejected by the system.
    pub dropped_packets: u64,
    /// Their bytes.
    pub dropped_bytes: u64,
}

impl Count {
    pub(crate) fn pass(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    pub(crate) fn drop(&mut self, bytes: usize) {
        self.dropped_packets += 1;
        self.dropped_bytes += bytes as u64;
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.dropped_packets += other.dropped_packets;
        self.dropped_bytes += other.dropped_bytes;
    }
}

/// The counters of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// To the location.
    pub to: Count,
    /// From the location.
    pub from: Count,
}

impl Counts {
    pub(crate) fn of(&mut self, way: Way) -> &mut Count {
        match way {
            Way::To => &mut self.to,
            Way::From => &mut self.from,
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.to += other.to;
        self.from += other.from;
    }
}
