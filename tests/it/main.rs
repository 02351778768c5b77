//! Tests of the real server, in one binary, so that the server is linked once.

mod cluster;
mod crash;
mod dependencies;
mod envoy;
mod global_limits;
mod limits;
mod malformed;
#[cfg(target_os = "linux")]
mod memory;
mod nginx;
mod operators;
mod proxies;
mod rest;
mod workers;

use std::path::Path;

use waypost_tests::Home;

/// A directory for servers.
fn home() -> Home {
    Home::new(binary())
}

/// A token that clients have in their configurations. Only the tests' servers accept it.
const ADMIN_TOKEN: &str = "wpt_aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbxxbh7dua";

/// Writes that token into a file, for `--admin-token-file`.
fn admin_token_file(home: &Home) -> String {
    let path = home.directory().join("admin-token");
    std::fs::write(&path, ADMIN_TOKEN).expect("the file can be written");
    path.to_str().expect("the path is UTF-8").to_owned()
}

/// The server under test.
fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_waypost-under-test"))
}
