//! Rate limiters with a fixed memory, exact under any concurrency.
//!
//! ```
//! use std::time::Duration;
//! use ratelimit::{Limit, Limiter};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limiter = Limiter::builder().capacity(100_000).build()?;
//! let login = limiter.limit("login", Limit::sliding(2, Duration::from_secs(60))?);
//! assert!(login.check("ip:192.0.2.1").allowed);
//! assert_eq!(login.check("ip:192.0.2.1").remaining, 0);
//! assert!(!login.check("ip:192.0.2.1").allowed);
//! assert!(login.check("ip:192.0.2.2").allowed);
//! # Ok(())
//! # }
//! ```
//!
//! # What each algorithm promises
//!
//! `L` hits a period `W`. Only allowed hits count, so who keeps asking is not locked out.
//!
//! | | sliding (default) | fixed | GCRA |
//! |---|---|---|---|
//! | keeps | the counts of this window and the one before | the count of this window | the time at which the bucket is empty |
//! | allows a hit of cost n if | `prev·(W−e) + (cur+n)·W ≤ L·W`, `e` ms into the window | `cur + n ≤ L` | `max(TAT,t) + n·W/L − t ≤ B·W/L` |
//! | at most in any interval `d ≤ W` | `L·(1 + d/W)` | `2L` | `B + L·d/W` |
//! | the worst case | `2L − 1`, spread over `W` | `2L` at once, over a boundary | `B` at once |
//! | wrong denials | up to the share of the window before: a client that sends `L` at each start gets half | none in a window | none, at its rate |
//! | largest L | 2,097,151 | 4,294,967,295 | 1,024 for each ms of `W` |
//! | choose it | unless there is a reason not to | when people must be able to check the count ("100 a day") | to smooth: a rate with a small burst |
//!
//! The bounds are exact for keys that are not evicted, also under many threads; the crate's tests against
//! models hold them. Two things lose a hit, and both are as rare as an eviction or rarer: more threads that
//! bring new keys to one set at one moment than it has places (the hit is allowed, and counted in
//! [`Stats::evictions`]); and a thread that stands still for exactly as long as its place is given away 64
//! times. Periods are whole milliseconds, up to two years; windows begin at multiples of the period since
//! the Unix epoch.
//!
//! # Memory
//!
//! A limiter's memory is fixed when it is built: 16 bytes a place, two places for each key of its
//! capacity, and never more. Keys are not kept, only a keyed hash: about one new key in 10^13 shares its
//! counter with another.
//! A limiter knows 2,048 pairs of a window's period and algorithm; counters of later ones work, but are the
//! first to go when a place is needed, and are not saved.
//! Counters whose time has passed are reused where a place is needed; nothing sweeps.
//!
//! **Floods.** When the eight places in which a key may be are all taken, the counter that holds the
//! fewest hits goes, of equals the newest. So random keys, hit once each, push out each other, and not
//! a key that holds more. What defeats that: keys that hold as many hits as the one to be forgotten. A
//! flood can have that if it hits each random key as often (or once at that cost); with a limit of 1 all
//! keys are equal, and a key that came when its set was nearly full may go. A key that is evicted has its
//! whole limit again. [`Stats::evictions`] counts them.
//!
//! # Clocks and restarts
//!
//! Time is an argument ([`Limiter::check_at`]) or a [`Clock`]. The [`SystemClock`] reads the wall once and
//! then the monotonic clock; a limiter's time never goes back. [`Limiter::save`] and [`Builder::restore`]
//! carry counters over a clean restart; without them a new process begins at zero, and a key may be
//! allowed its whole limit again.
//!
//! A sliding window is known by 16 bits of its index (a fixed one by 26, GCRA by 8.7 years). A key that comes
//! back after exactly 65,536 or 65,537 periods, or a multiple (18 hours for a second, 45 days for a minute), to a
//! place that no other key took meanwhile, is held to its old counts for the rest of that window. It is
//! never allowed more.
//!
//! # Features
//!
//! `tower`: `RateLimitLayer`, which answers 429 with the fields of [`headers`].

mod algorithm;
mod class;
mod clock;
mod decision;
pub mod headers;
mod hit;
mod identity;
#[cfg(feature = "tower")]
mod layer;
mod limit;
mod limiter;
mod named;
mod stats;
mod sync;
mod table;

pub use clock::{Clock, ManualClock, SystemClock};
pub use decision::{AllDecision, Decision};
pub use hit::Hit;
#[cfg(feature = "tower")]
pub use layer::{RateLimitLayer, RateLimited};
pub use limit::{Algorithm, Limit, LimitError};
pub use limiter::{BuildError, Builder, Limiter, RestoreError};
pub use named::NamedLimit;
pub use stats::Stats;
