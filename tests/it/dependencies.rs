//! The licences and sources of our dependencies, and crates that must not be among them.
//!
//! These are the checks of `cargo deny check`, on the output of `cargo metadata`, so that `cargo
//! test` runs them without another tool. Security advisories are not checked here: RustSec's
//! database is a git repository, and a test may depend on the registry only.

use std::{collections::BTreeMap, process::Command};

use serde::Deserialize;

/// Licences that permit any use of the binary. Each part of a crate must be available under one of
/// them.
const LICENCES: [&str; 11] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "CC0-1.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that must never be built, each with the reason.
const BANNED: [(&str, &str); 7] = [
    ("openssl-sys", "TLS is rustls with ring"),
    ("native-tls", "TLS is rustls with ring"),
    ("aws-lc-sys", "one crypto provider, ring; and its build needs cmake"),
    ("cmake", "no build script calls cmake"),
    ("prost-build", "no build script calls protoc"),
    ("protobuf-src", "no build script calls protoc"),
    ("libsqlite3-sys", "redb is the engine"),
];

/// Crates that may occur in two versions while their users migrate: syn; hashbrown, below the
/// dashmap of governor (benches only); getrandom and, on Windows, windows-sys, below ring, on which
/// all TLS depends; bit-vec, below rcgen; and base64, below rcgen's pem.
const IN_TWO_VERSIONS: [&str; 6] =
    ["base64", "bit-vec", "getrandom", "hashbrown", "syn", "windows-sys"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    assert!(metadata.packages.len() > 50, "cargo metadata lists all crates");
    metadata.packages
}

/// Whether our licences satisfy an SPDX expression: each of its `AND` parts by one of its `OR`
/// parts.
fn is_met(expression: &str) -> bool {
    expression.split(" AND ").all(|part| {
        let part = part.trim_matches(['(', ')', ' ']);
        part.replace('/', " OR ").split(" OR ").any(|licence| LICENCES.contains(&licence.trim()))
    })
}

#[test]
fn every_crate_has_an_accepted_licence() {
    for package in packages() {
        let licence = package.license.unwrap_or_default();
        assert!(is_met(&licence), "{} {}: {licence:?}", package.name, package.version);
    }
}

#[test]
fn every_crate_comes_from_this_repository_or_the_registry() {
    for package in packages() {
        let is_known = match &package.source {
            None => ["waypost"].iter().any(|ours| package.name.starts_with(ours)),
            Some(source) => source.starts_with("registry+") || source.starts_with("sparse+"),
        };
        assert!(is_known, "{} comes from {:?}", package.name, package.source);
    }
}

#[test]
fn no_banned_crate_is_a_dependency() {
    for package in packages() {
        for (name, reason) in BANNED {
            assert_ne!(package.name, name, "{reason}");
        }
    }
}

#[test]
fn only_known_crates_occur_in_two_versions() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages() {
        versions.entry(package.name).or_default().push(package.version);
    }
    for (name, versions) in versions {
        let is_known = versions.len() == 1 || IN_TWO_VERSIONS.contains(&name.as_str());
        assert!(is_known, "{name} occurs in the versions {versions:?}");
    }
}

/// The names of all crates that one of ours depends on, including for its tests.
fn needed_by(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--package", package, "--no-default-features"])
        .args(["--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names are text");
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn the_replication_core_depends_on_no_runtime_and_no_network() {
    let needed = needed_by("waypost-replicate");
    assert!(needed.iter().any(|name| name == "redb"), "{needed:?}");
    for name in ["tokio", "quinn", "quinn-proto", "rustls", "mio", "socket2"] {
        assert!(!needed.iter().any(|needed| needed == name), "{name} is a dependency");
    }
}

#[test]
fn an_unaccepted_licence_is_detected() {
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("MIT/Apache-2.0", true),
        ("", false),
    ] {
        assert_eq!(is_met(expression), met, "{expression}");
    }
}
