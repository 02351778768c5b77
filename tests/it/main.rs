//! Tests of the real server, in one binary: they link it once.

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
mod workers;

use std::path::Path;

use waypost_tests::Home;

/// A place for servers.
fn home() -> Home {
    Home::new(binary())
}

/// The server that is tested.
fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_waypost-under-test"))
}
