//! Reads the source of the shipped crates and reports its structure.
//!
//! ARCHITECTURE.md states that a lower layer never names an upper one. This crate checks it: it parses the
//! source with [`syn`], follows `use` declarations, re-exports and paths to the file that defines each
//! name ([`resolve`]), and finds circles in the imports ([`circles`]). It also counts what CONTRIBUTING.md
//! bounds: lines of documentation, long files, long functions, errors without a type ([`metrics`]).
//!
//! Only shipped code counts: modules under `#[cfg(test)]` are left out. Method calls are not resolved,
//! because they need no import: a circle shows in the names of types, functions and traits.

pub mod circles;
pub mod metrics;
pub mod resolve;
pub mod source;

use std::path::{Path, PathBuf};

/// The shipped crates: the name of each folder.
pub const CRATES: [&str; 5] = ["client", "kv-core", "kv-replicate", "ratelimit", "server"];

/// Returns the root of the repository.
///
/// # Panics
/// If this crate is not two folders below it.
#[must_use]
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("tests/structure is two folders below the root").to_path_buf()
}
