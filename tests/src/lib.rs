//! What the tests of real processes are made of: a server that can be killed, clients that are
//! installed on demand, an HTTP client that can also speak badly, a cluster with a bad network.
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
//! Nothing here is for use outside tests: what goes wrong panics, with the server's log.

pub mod clients;
pub mod clock;
pub mod cluster;
pub mod envoy;
pub mod http;
pub mod process;
pub mod random;
pub mod server;
pub mod settings;
pub mod wait;
pub mod workerd;

pub use server::{Address, Home, Server};
