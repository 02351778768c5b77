//! Tests of the real server, in one binary, so that the server is linked once.

mod cluster;
mod crash;
mod dependencies;
mod envoy;
mod limits;
mod malformed;
#[cfg(target_os = "linux")]
mod memory;
mod nginx;
mod operators;
mod rest;
mod workers;

use std::path::Path;

use waypost_tests::Home;

/// A directory for servers.
fn home() -> Home {
    Home::new(binary())
}

/// The server under test.
fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_waypost-under-test"))
}
