//! Rate limiters in a fixed memory, exact under any concurrency.
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
//! A [`Limiter`] holds the counters. A [`Limit`] is a count per period. A [`Request`] has a key, a limit and
//! a cost, and [`Limiter::check`] returns a [`Decision`].
//!
//! # Algorithms and their bounds
//!
//! `L` is the count and `W` the period. Only allowed requests count, so a client that keeps retrying is
//! not locked out.
//!
//! | | sliding (default) | fixed | GCRA |
//! |---|---|---|---|
//! | state | the counts of this window and the previous one | the count of this window | the time at which the bucket is empty (TAT) |
//! | allows a cost of n iff | `prev·(W−e) + (cur+n)·W ≤ L·W`, `e` ms into the window | `cur + n ≤ L` | `max(TAT,t) + n·W/L − t ≤ B·W/L` |
//! | at most in any interval `d ≤ W` | `L·(1 + d/W)` | `2L` | `B + L·d/W` |
//! | worst case | `2L − 1`, spread over `W` | `2L` at once, around a boundary | `B` at once |
//! | wrong denials | up to the share of the previous window: a client that sends `L` at each start gets half | none in a window | none at its rate |
//! | largest L | 2,097,151 | 4,294,967,295 | 1,024 for each ms of `W` |
//! | use it | unless there is a reason not to | if people must be able to check the count ("100 a day") | for a steady rate with a small burst |
//! | source | Cloudflare, 2017 | | ITU-T I.371 |
//!
//! The bounds are exact for keys that are not evicted, with many threads too. The tests of this crate
//! compare each algorithm with a model. Two events lose a request, and both are as rare as an eviction or
//! rarer: more threads insert new keys into one set at one moment than the set has slots (the request is
//! allowed and counted in [`Stats::evictions`]); or a thread stands still for exactly as long as its slot
//! is assigned 64 times. Periods are whole milliseconds, up to two years. Windows begin at multiples of
//! the period since the Unix epoch.
//!
//! # Memory
//!
//! A limiter allocates its memory when it is created and never more: 16 bytes a slot, two slots for each
//! key of its capacity. Keys are not kept, only a keyed hash: about one new key in 10^13 shares its
//! counter with another. Expired counters are reused when a slot is needed; no thread cleans up.
//!
//! A limiter knows 2,558 kinds of window limits: algorithm, period, and count to within a fifth. Counters of
//! further kinds work, but they are evicted first and are not saved.
//!
//! **Floods.** If all eight slots of a key's set are taken, the counter that weighs least is evicted, and of
//! equals the newest. A counter weighs the square of the share that it holds of its limit, times the time
//! that it still lasts. So random keys with one request each evict each other, and not a key that has used
//! more of its limit; and a flood of short periods does not evict a counter of a long one. A flood defeats
//! that if its keys weigh as much as the key to be evicted: it uses up the limit for each random key. With
//! a limit of 1 all keys are equal, and a key that arrived when its set was nearly full may be evicted. A
//! key that is evicted has its whole limit again. [`Stats::evictions`] counts evictions.
//!
//! **Guests.** If clients name limits, periods or namespaces themselves, make those limits guests
//! ([`Limit::guest`]) and give guests a half of the table ([`Builder::guests`]): whatever clients name then
//! evicts no counter of your own limits. Guests also have 1,024 kinds of limits of their own.
//!
//! # Clocks and restarts
//!
//! Time is an argument ([`Limiter::check_at`]) or comes from a [`Clock`]. The [`SystemClock`] reads the wall
//! clock once and then the monotonic clock, with the time that the system was suspended. A limiter's time
//! never goes back. [`Limiter::save`] and
//! [`Builder::restore`] keep counters over a clean restart. Without them a new process begins at zero, so
//! a key may be allowed its whole limit again.
//!
//! A sliding window keeps 16 bits of its index (a fixed window 26 bits; GCRA covers 8.7 years). A key that
//! returns after exactly 65,536 or 65,537 periods, or a multiple (18 hours for a second, 45 days for a
//! minute), to a slot that no other key took meanwhile, is compared with its old counts for the rest of
//! that window. It is never allowed more.
//!
//! # Beside governor
//!
//! [governor](https://docs.rs/governor) 0.10 is the usual choice in Rust. These are facts of its
//! documentation and of this crate's:
//!
//! | | governor 0.10 | this crate |
//! |---|---|---|
//! | algorithms | GCRA | sliding window, fixed window, GCRA |
//! | limits of a limiter | one quota | any number: a limit comes with each request, and may change |
//! | keys | any `Clone + Hash + Eq` type, kept | bytes, hashed and not kept |
//! | memory | grows with the keys, until `retain_recent` and `shrink_to_fit` are called | fixed when the limiter is created; a full table evicts the counter that weighs least |
//! | a limiter without keys | `RateLimiter::direct` | a key that is always the same |
//! | cost above 1 | `check_n`, `check_key_n` | `check_n`, [`Request::cost`] |
//! | usage known afterwards | | [`Limiter::record`] |
//! | look, give back, forget | | [`peek`](Limiter::peek), [`refund`](Limiter::refund), [`reset`](Limiter::reset) |
//! | several limits, all or none | | [`Limiter::check_all`] |
//! | a denial has | the earliest time of the next request | that, what remains, and the time until all is free |
//! | wait until allowed | `until_ready` with any runtime, optionally with jitter | `until_ready` with tokio, feature `tokio` |
//! | stored without a lifetime | `Arc<RateLimiter>` | [`OwnedLimit`], `Arc<Limiter>` |
//! | state | nanoseconds since the limiter was created | windows and times since the Unix epoch, which [`save`](Limiter::save) keeps over a restart |
//! | `no_std` | yes, with the feature `no_std` | no |
//! | other stores | a trait, `StateStore` | no |
//!
//! `benches` in the repository compares their costs in one run.
//!
//! # Features
//!
//! `calendar`, off by default: `Limit::calendar_windows` counts in days, weeks, months or years of a time zone, for quotas.
//! `tower`, off by default: `RateLimitLayer` for tower services, which answers 429 with the fields of
//! [`headers`]. `tokio`, off by default: `until_ready`. The example `axum` shows both a layer and `record`.

mod algorithm;
#[cfg(feature = "calendar")]
mod calendar;
mod class;
mod clock;
mod decide;
mod decision;
mod global;
pub mod headers;
mod identity;
#[cfg(feature = "tower")]
mod layer;
mod limit;
mod limiter;
mod named;
#[cfg(not(feature = "calendar"))]
mod no_calendar;
mod owned;
#[cfg(feature = "tokio")]
mod ready;
mod request;
mod stats;
mod sync;
mod table;

#[cfg(not(feature = "calendar"))]
use no_calendar as calendar;

#[cfg(feature = "calendar")]
pub use calendar::{Calendar, CalendarError, CalendarUnit};
pub use clock::{Clock, ManualClock, SystemClock};
pub use decision::{AllDecision, Decision};
pub use global::{GlobalStats, Merged, StateCursor, UsageError};
#[cfg(feature = "tower")]
pub use layer::{RateLimitLayer, RateLimited};
pub use limit::{Algorithm, Limit, LimitError};
pub use limiter::{BuildError, Builder, Damage, Limiter, RestoreError};
pub use named::NamedLimit;
pub use owned::OwnedLimit;
#[cfg(feature = "tokio")]
pub use ready::NeverReady;
pub use request::Request;
pub use stats::Stats;
