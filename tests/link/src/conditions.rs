//! What a network does to packets.

use std::{num::NonZeroU64, time::Duration};

/// What one direction of a leg does to packets. The default does nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// How long each packet is under way, one way, beside what the rate costs.
    pub delay: Duration,
    /// By how much that differs from packet to packet: any time from `delay - jitter` to
    /// `delay + jitter` is equally likely, so that packets overtake each other.
    pub jitter: Duration,
    /// How likely a packet is lost, from 0 to 1.
    pub loss: f64,
    /// How likely a packet comes twice, from 0 to 1. Each comes in its own time.
    pub duplication: f64,
    /// How many bits pass in a second, the heads of UDP and IPv4 among them; none for as many as come.
    pub bits_per_second: Option<NonZeroU64>,
    /// How many bytes may wait for their turn at that rate; what comes on top is dropped.
    pub queue_bytes: usize,
}

impl Default for Conditions {
    fn default() -> Self {
        Conditions {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            duplication: 0.0,
            bits_per_second: None,
            // 20 ms at 100 Mbit/s: a router's, not a bloated one.
            queue_bytes: 256 << 10,
        }
    }
}

impl Conditions {
    /// Nothing but a delay.
    #[must_use]
    pub fn delayed(delay: Duration) -> Conditions {
        Conditions { delay, ..Conditions::default() }
    }
}

/// A direction, as the location behind the proxy sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From a peer to the location.
    To,
    /// From the location to a peer.
    From,
}

/// Which directions are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// To the location alone.
    To,
    /// From the location alone.
    From,
    /// Both.
    Both,
}

impl Ways {
    /// Whether a direction is among them.
    #[must_use]
    pub fn has(self, way: Way) -> bool {
        match self {
            Ways::To => way == Way::To,
            Ways::From => way == Way::From,
            Ways::Both => true,
        }
    }

    /// The same as the one at the other end sees them.
    #[must_use]
    pub fn turned(self) -> Ways {
        match self {
            Ways::To => Ways::From,
            Ways::From => Ways::To,
            Ways::Both => Ways::Both,
        }
    }
}
