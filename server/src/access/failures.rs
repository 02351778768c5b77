//! Clients that send tokens which are not accepted: each address may do so a few times a minute. Beyond that, each
//! response is late.
//!
//! The counters are those of [`ratelimit`], in a memory of fixed size, so that no number of addresses takes more. A token
//! that is accepted is never slowed: clients behind one proxy share its address.

use std::{net::IpAddr, sync::Arc, time::Duration};

use ratelimit::{Limit, Limiter, Request};
use tokio::{sync::Semaphore, time::sleep};

/// How many tokens of an address may be refused in a period without delay.
const FREE: u32 = 10;
/// The period.
const PERIOD: Duration = Duration::from_secs(60);
/// How long each further response takes.
const DELAY: Duration = Duration::from_secs(1);
/// The memory of the counters, in bytes: about two thousand addresses a minute.
const MEMORY_BYTES: usize = 64 << 10;
/// The most responses that are late at a time. Further ones are refused at once.
const MAX_LATE: usize = 1024;

/// The counters of refused tokens.
#[derive(Debug)]
pub(super) struct Failures {
    /// The counters, by address.
    limiter: Limiter,
    /// The limit of each address.
    limit: Limit,
    /// The responses that may be late.
    late: Arc<Semaphore>,
}

/// Too many responses are late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Default for Failures {
    fn default() -> Self {
        let limiter = Limiter::builder().memory_bytes(MEMORY_BYTES).build();
        Failures {
            limiter: limiter.expect("the memory is small"),
            limit: Limit::fixed(FREE, PERIOD).expect("the limit is small"),
            late: Arc::new(Semaphore::new(MAX_LATE)),
        }
    }
}

impl Failures {
    /// Counts a refused token of an address, and waits if there were too many.
    ///
    /// # Errors
    /// If too many responses wait already.
    pub(super) async fn count(&self, ip: IpAddr) -> Result<(), TooMany> {
        let Some(delay) = self.delay(ip) else { return Ok(()) };
        let _late = self.late.try_acquire().map_err(|_none| TooMany)?;
        sleep(delay).await;
        Ok(())
    }

    /// Counts a refused token of an address, and returns how late its response is.
    fn delay(&self, ip: IpAddr) -> Option<Duration> {
        let network = network(ip);
        let request = Request::new(&b"auth"[..], &network[..], self.limit);
        (!self.limiter.check(&request).allowed).then_some(DELAY)
    }
}

/// The part of an address that one customer of a provider has: all of an IPv4 address, half of an IPv6 address.
fn network(ip: IpAddr) -> [u8; 8] {
    let mut network = [0; 8];
    match ip {
        IpAddr::V4(ip) => network[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => network.copy_from_slice(&ip.octets()[..8]),
    }
    network
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn an_address_is_slowed_after_some_failures_and_no_other_is() {
        let failures = Failures::default();
        for _ in 0..FREE {
            assert_eq!(failures.delay(ip("2001:db8::1")), None);
        }
        assert_eq!(failures.delay(ip("2001:db8::2")), Some(DELAY), "it is the same network");
        assert_eq!(failures.delay(ip("2001:db8:0:1::1")), None);
        assert_eq!(failures.delay(ip("192.0.2.1")), None);
    }

    #[tokio::test]
    async fn no_more_than_the_bound_wait_at_a_time() {
        let failures = Failures::default();
        for _ in 0..FREE {
            failures.count(ip("192.0.2.1")).await.expect("it is within the limit");
        }
        let _all = failures.late.try_acquire_many(u32::try_from(MAX_LATE).expect("few"));
        assert_eq!(failures.count(ip("192.0.2.1")).await, Err(TooMany));
    }
}
