//! Clients that send tokens which are not accepted: each address may do so a few times a minute. Beyond that, each
//! response is late.
//!
//! The counters are those of [`ratelimit`], in a memory of fixed size, so that no number of addresses takes more. A token
//! that is accepted is never slowed: clients behind one proxy share its address.

use std::{net::IpAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use ratelimit::{Limit, Limiter, Request};
use tokio::{sync::Semaphore, time::sleep};

use crate::admission::{Shares, client_of};

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
/// The most of them that are late for one address.
const MAX_LATE_OF_ADDRESS: NonZeroUsize = NonZeroUsize::new(MAX_LATE / 16).expect("not 0");

/// The counters of refused tokens.
#[derive(Debug)]
pub(super) struct Failures {
    /// The counters, by address.
    limiter: Limiter,
    /// The limit of each address.
    limit: Limit,
    /// The responses that may be late.
    late: Semaphore,
    /// Those of each address.
    shares: Arc<Shares>,
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
            late: Semaphore::new(MAX_LATE),
            shares: Shares::new(MAX_LATE_OF_ADDRESS),
        }
    }
}

impl Failures {
    /// Counts a refused token of an address, and waits if there were too many.
    ///
    /// # Errors
    /// If too many responses wait already, in all or for this address.
    pub(super) async fn count(&self, ip: IpAddr) -> Result<(), TooMany> {
        let Some(delay) = self.delay(ip) else { return Ok(()) };
        let _share = self.shares.try_admit(ip).ok_or(TooMany)?;
        let _late = self.late.try_acquire().map_err(|_none| TooMany)?;
        sleep(delay).await;
        Ok(())
    }

    /// Counts a refused token of an address, and returns how late its response is.
    fn delay(&self, ip: IpAddr) -> Option<Duration> {
        let network = client_of(ip).to_string();
        let request = Request::new(&b"auth"[..], network.as_bytes(), self.limit);
        (!self.limiter.check(&request).allowed).then_some(DELAY)
    }
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

    #[tokio::test]
    async fn an_address_that_fills_its_share_leaves_the_late_responses_of_others() {
        let failures = Failures::default();
        for address in ["192.0.2.1", "192.0.2.2"] {
            for _ in 0..FREE {
                failures.count(ip(address)).await.expect("it is within the limit");
            }
        }
        let mine = failures.shares.try_admit(ip("192.0.2.1"));
        let mut mine = vec![mine];
        mine.extend(
            (1..MAX_LATE_OF_ADDRESS.get()).map(|_| failures.shares.try_admit(ip("192.0.2.1"))),
        );
        assert!(mine.iter().all(Option::is_some));
        assert_eq!(failures.count(ip("192.0.2.1")).await, Err(TooMany));
        let other = failures.count(ip("192.0.2.2"));
        assert!(tokio::time::timeout(Duration::ZERO, other).await.is_err(), "it is late");
    }
}
