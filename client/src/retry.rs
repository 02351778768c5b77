//! When a call is repeated.

use std::time::Duration;

/// When a call is repeated: after an error that a [retry may help](crate::Error::is_retryable), if the request can be sent a
/// second time and performing it twice is harmless.
///
/// The client waits for the time of `Retry-After`, but at least for a time that doubles with each attempt and of which up to
/// half is random, so that clients that failed together do not return together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often a call is sent at most; 1 means that it is never repeated. By default 5.
    pub attempts: u32,
    /// The wait before the first repetition. By default 100 ms.
    pub first_wait: Duration,
    /// The longest wait. If a server names a longer time, the call is not repeated. By default 10 s.
    pub longest_wait: Duration,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            attempts: 5,
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(10),
        }
    }
}

impl Retry {
    /// Never repeats a call.
    #[must_use]
    pub fn never() -> Retry {
        Retry { attempts: 1, ..Retry::default() }
    }

    /// How long to wait after attempt number `attempt`, from 1; none if there is no other one. `random` is any number.
    pub(crate) fn wait(
        &self,
        attempt: u32,
        retry_after: Option<Duration>,
        random: u32,
    ) -> Option<Duration> {
        let least = retry_after.unwrap_or_default();
        if attempt >= self.attempts || least > self.longest_wait {
            return None;
        }
        let factor = 2_u32.saturating_pow(attempt - 1);
        let wait = self.first_wait.saturating_mul(factor).min(self.longest_wait);
        let share = f64::from(random) / f64::from(u32::MAX);
        Some(wait.mul_f64(0.5 + share / 2.0).max(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_last_as_long_as_the_server_says() {
        let retry = Retry { attempts: 9, ..Retry::default() };
        let wait = |attempt, after, random| {
            retry
                .wait(attempt, after, random)
                .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(0))
        };
        assert_eq!(wait(1, None, u32::MAX), Some(100));
        assert_eq!(wait(1, None, 0), Some(50));
        assert_eq!(wait(3, None, u32::MAX), Some(400));
        assert_eq!(wait(8, None, u32::MAX), Some(10_000));
        assert_eq!(wait(9, None, 0), None);
        assert_eq!(wait(1, Some(Duration::from_secs(2)), 0), Some(2000));
        assert_eq!(wait(1, Some(Duration::from_secs(11)), 0), None);
        assert_eq!(Retry::never().wait(1, None, 0), None);
    }
}
