//! Helpers for tests and benchmarks that run real processes: a server that can be killed, clients that
//! are installed on demand, an HTTP client that can send invalid requests, a cluster on a bad network.
//!
//! ```no_run
//! use waypost_tests::{Home, http::Connection};
//!
//! let home = Home::new("target/debug/waypost".as_ref());
//! let server = home.serve(&[]);
//! let health = Connection::to(server.address())?.get("/healthz")?;
//! assert_eq!(health.status, 200);
//! server.kill();
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Every failure is a panic, with the end of the server's log.

pub mod clients;
pub mod clock;
pub mod cluster;
pub mod envoy;
pub mod http;
mod pip;
pub mod process;
pub mod proxies;
pub mod random;
pub mod server;
pub mod settings;
pub mod wait;
pub mod workerd;

pub use server::{Address, Home, Server};
