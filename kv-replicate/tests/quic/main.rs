//! Replicas over real sockets.
#![expect(clippy::unwrap_used, reason = "tests")]

mod addresses;
mod authority;
mod converge;
mod identity;
mod location;
mod raw;
mod refuse;
mod relay;
mod stop;
