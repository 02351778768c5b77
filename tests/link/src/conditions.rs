//! The conditions of a network.

use std::{num::NonZeroU64, time::Duration};

/// The effect of one direction of a leg on packets. By default it passes them on unchanged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// The one-way delay of each packet, in addition to the time that the rate costs.
    pub delay: Duration,
    /// The variation of the delay: any delay from `delay - jitter` to `delay + jitter` is equally
    /// likely, so packets overtake each other.
    pub jitter: Duration,
    /// The probability that a packet is lost, from 0 to 1.
    pub loss: f64,
    /// The probability that a packet is duplicated, from 0 to 1. Each copy has its own delay.
    pub duplication: f64,
    /// The rate in bits per second, including the headers of UDP and IPv4; unlimited if none.
    pub bits_per_second: Option<NonZeroU64>,
    /// The number of bytes that may wait in the queue at that rate. Further packets are dropped.
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
            // 20 ms at 100 Mbit/s, as in a router without bufferbloat.
            queue_bytes: 256 << 10,
        }
    }
}

impl Conditions {
    /// A delay without other effects.
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

/// A set of directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// Only to the location.
    To,
    /// Only from the location.
    From,
    /// Both directions.
    Both,
}

impl Ways {
    /// Whether the set contains a direction.
    #[must_use]
    pub fn has(self, way: Way) -> bool {
        match self {
            Ways::To => way == Way::To,
            Ways::From => way == Way::From,
            Ways::Both => true,
        }
    }

    /// The same directions as the other end sees them.
    #[must_use]
    pub fn turned(self) -> Ways {
        match self {
            Ways::To => Ways::From,
            Ways::From => Ways::To,
            Ways::Both => Ways::Both,
        }
    }
}
