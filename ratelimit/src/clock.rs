//! The clock and the default secret. Only this module reads them from the operating system.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A source of time in milliseconds since the Unix epoch, which should never go back.
///
/// If a clock goes back nevertheless, the limiter's time stands still until the clock has caught up, so
/// no key gets a second window.
pub trait Clock: Send + Sync {
    /// Returns the current time in milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now_ms(&self) -> u64 {
        (**self).now_ms()
    }
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now_ms(&self) -> u64 {
        (**self).now_ms()
    }
}

/// The wall clock at the start, advanced by the monotonic clock. A step of the wall clock does not reach
/// a running limiter.
///
/// On Linux it reads the kernel's coarse monotonic clock, `CLOCK_MONOTONIC_COARSE` of `clock_gettime(2)`. That clock
/// advances with the timer tick (every 1 to 10 ms, by kernel configuration; 4 ms is common). It costs a
/// quarter of the fine clock, and a limiter reads the time at every request. It may be late by one
/// tick and is never early.
///
/// That clock stands still while the system is suspended. The time that it missed is the difference between
/// `CLOCK_BOOTTIME`, which counts it, and `CLOCK_MONOTONIC`; it is measured again once 20 ms have passed. So a
/// window that ended during a suspend is over 20 ms after the system resumes, at the latest. While a
/// virtual machine is paused, its monotonic clock goes on or stands still, as the hypervisor decides.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Duration,
    wall_ms: u64,
}

impl SystemClock {
    /// Creates a clock. Reads the wall clock once.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn new() -> SystemClock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        SystemClock { start: monotonic(), wall_ms: millis(wall) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    #[inline]
    fn now_ms(&self) -> u64 {
        self.wall_ms.saturating_add(millis(monotonic().saturating_sub(self.start)))
    }
}

/// Returns the time since some fixed moment, with the time that the system was suspended. It never goes
/// back.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
fn monotonic() -> Duration {
    let running = suspend::read(suspend::Clock::MonotonicCoarse);
    running + suspend::time(millis(running))
}

/// The time that the system was suspended.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod suspend {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    pub(super) use rustix::time::ClockId as Clock;
    use rustix::time::clock_gettime;

    /// How long a measurement holds.
    const FRESH_MS: u64 = 20;

    /// The coarse time of the last measurement.
    static MEASURED_MS: AtomicU64 = AtomicU64::new(0);
    /// Its result. It only grows.
    static SUSPENDED_MS: AtomicU64 = AtomicU64::new(0);

    pub(super) fn read(clock: Clock) -> Duration {
        let now = clock_gettime(clock);
        Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
    }

    /// Returns the time that the system was suspended, as measured at most 20 ms of running time ago.
    #[inline]
    pub(super) fn time(running_ms: u64) -> Duration {
        if running_ms.saturating_sub(MEASURED_MS.load(Ordering::Relaxed)) >= FRESH_MS {
            measure(running_ms);
        }
        Duration::from_millis(SUSPENDED_MS.load(Ordering::Relaxed))
    }

    #[cold]
    fn measure(running_ms: u64) {
        MEASURED_MS.fetch_max(running_ms, Ordering::Relaxed);
        // In this order: a delay between the two makes the result too small, and the next one corrects it.
        let with = read(Clock::Boottime);
        let without = read(Clock::Monotonic);
        SUSPENDED_MS.fetch_max(difference_ms(with, without), Ordering::Relaxed);
    }

    fn difference_ms(with: Duration, without: Duration) -> u64 {
        super::millis(with.saturating_sub(without))
    }

    #[cfg(all(test, not(ratelimit_loom)))]
    mod tests {
        use super::*;

        #[test]
        fn the_time_of_a_suspend_is_counted_and_never_too_much_of_it() {
            let seconds = Duration::from_secs;
            assert_eq!(difference_ms(seconds(100), seconds(40)), 60_000);
            assert_eq!(difference_ms(seconds(40), seconds(40) + Duration::from_nanos(1)), 0);
            let earlier = super::super::monotonic();
            assert!(earlier <= read(Clock::Boottime), "it is never early");
            assert!(earlier <= super::super::monotonic(), "it never goes back");
        }
    }
}

/// Returns the time since the first call. It never goes back.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
fn monotonic() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// A clock that stands still until it is moved, for tests and simulations. Clones share one time.
///
/// ```
/// use std::time::Duration;
/// use ratelimit::{Clock, ManualClock};
///
/// let clock = ManualClock::at(1_700_000_000_000);
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(clock.now_ms(), 1_700_000_001_000);
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    now_ms: Arc<AtomicU64>,
}

impl ManualClock {
    /// Creates a clock that stands at `now_ms` milliseconds since the Unix epoch.
    #[must_use]
    pub fn at(now_ms: u64) -> ManualClock {
        ManualClock { now_ms: Arc::new(AtomicU64::new(now_ms)) }
    }

    /// Moves the clock forward by whole milliseconds; a fraction is dropped.
    pub fn advance(&self, by: Duration) {
        self.now_ms.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// Sets the clock to any time, an earlier one included.
    pub fn set(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }
}

/// Returns sixteen random bytes from the operating system.
pub(crate) fn random_secret() -> Result<[u8; 16], std::io::Error> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).map_err(|error| match error.raw_os_error() {
        Some(code) => std::io::Error::from_raw_os_error(code),
        None => std::io::Error::other(error.to_string()),
    })?;
    Ok(secret)
}

#[inline]
fn millis(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1000).saturating_add(u64::from(duration.subsec_millis()))
}
